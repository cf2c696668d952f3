"""What LiteLLM, as a client, is asked to do, whichever provider it takes the bridge for."""

import json
from typing import Any

import litellm
from scenario import DESCRIPTION, HELLO, MODEL, PARAMETERS, QUESTION, tell, weather

TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": DESCRIPTION, "parameters": PARAMETERS},
}


def run(provider: str) -> None:
    """Ask everything, and tell. `provider` is the word before the model's name."""
    usual = {"model": f"{provider}/{MODEL}", "max_retries": 0, "max_tokens": 100}
    hello = [{"role": "user", "content": HELLO}]
    ask = {"role": "user", "content": QUESTION}

    def history(message: Any) -> list[Any]:
        (call,) = message.tool_calls
        result = weather(**json.loads(call.function.arguments))
        return [ask, message, {"role": "tool", "tool_call_id": call.id, "content": result}]

    def whole(messages: list[Any]) -> Any:
        return litellm.completion(messages=messages, tools=[TOOL], **usual).choices[0].message

    def streamed(messages: list[Any]) -> Any:
        chunks = list(litellm.completion(messages=messages, tools=[TOOL], stream=True, **usual))
        return litellm.stream_chunk_builder(chunks).choices[0].message

    reply = litellm.completion(messages=hello, **usual).choices[0].message
    chunks = litellm.completion(messages=hello, stream=True, **usual)
    pieces = [chunk.choices[0].delta.content for chunk in chunks]
    told = whole(history(whole([ask])))
    again = streamed(history(streamed([ask])))
    tell(reply.content, pieces, told.content, again.content)
