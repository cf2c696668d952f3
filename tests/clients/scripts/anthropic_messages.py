"""Anthropic's SDK at messages."""

from anthropic import Anthropic
from scenario import DESCRIPTION, HELLO, MODEL, PARAMETERS, QUESTION, tell, weather

client = Anthropic(max_retries=0)
tools = [{"name": "weather", "description": DESCRIPTION, "input_schema": PARAMETERS}]
usual = {"model": MODEL, "max_tokens": 100}


def answer(message):
    """What the conversation goes on with after the model has called."""
    use = message.content[-1]
    result = {"type": "tool_result", "tool_use_id": use.id, "content": weather(**use.input)}
    said = {"role": "assistant", "content": message.content}
    return [*ask, said, {"role": "user", "content": [result]}]


def streamed(messages):
    """The message that a stream adds up to."""
    with client.messages.stream(messages=messages, tools=tools, **usual) as stream:
        return stream.get_final_message()


hello = [{"role": "user", "content": HELLO}]
ask = [{"role": "user", "content": QUESTION}]
reply = client.messages.create(messages=hello, **usual)
with client.messages.stream(messages=hello, **usual) as stream:
    pieces = list(stream.text_stream)
called = client.messages.create(messages=ask, tools=tools, **usual)
told = client.messages.create(messages=answer(called), tools=tools, **usual)
again = streamed(answer(streamed(ask)))
tell(reply.content[0].text, pieces, told.content[0].text, again.content[0].text)
