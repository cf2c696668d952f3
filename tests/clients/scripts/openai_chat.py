"""OpenAI's SDK at chat completions."""

import json

from openai import OpenAI
from scenario import DESCRIPTION, HELLO, MODEL, PARAMETERS, QUESTION, tell, weather

client = OpenAI(max_retries=0)
function = {"name": "weather", "description": DESCRIPTION, "parameters": PARAMETERS}
tools = [{"type": "function", "function": function}]


def answer(message):
    """What the conversation goes on with after the model has called."""
    (call,) = message.tool_calls
    result = weather(**json.loads(call.function.arguments))
    reply = message.model_dump(exclude_none=True, exclude={"parsed"})
    return [*ask, reply, {"role": "tool", "tool_call_id": call.id, "content": result}]


def streamed(messages):
    """The message that a stream adds up to."""
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools) as stream:
        stream.until_done()
        return stream.get_final_completion().choices[0].message


hello = [{"role": "user", "content": HELLO}]
ask = [{"role": "user", "content": QUESTION}]
reply = client.chat.completions.create(model=MODEL, messages=hello)
chunks = client.chat.completions.create(model=MODEL, messages=hello, stream=True)
pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
called = client.chat.completions.create(model=MODEL, messages=ask, tools=tools)
told = client.chat.completions.create(
    model=MODEL, messages=answer(called.choices[0].message), tools=tools
)
again = streamed(answer(streamed(ask)))
tell(reply.choices[0].message.content, pieces, told.choices[0].message.content, again.content)
