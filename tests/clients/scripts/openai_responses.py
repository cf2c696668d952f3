"""OpenAI's SDK at responses."""

import json

from openai import OpenAI
from scenario import DESCRIPTION, HELLO, MODEL, PARAMETERS, QUESTION, tell, weather

client = OpenAI(max_retries=0)
function = {"name": "weather", "description": DESCRIPTION, "parameters": PARAMETERS}
tools = [{"type": "function", "strict": True, **function}]


def answer(response):
    """What the conversation goes on with after the model has called."""
    call = response.output[-1]
    result = weather(**json.loads(call.arguments))
    output = {"type": "function_call_output", "call_id": call.call_id, "output": result}
    items = [item.model_dump(exclude_none=True) for item in response.output]
    for item in items:
        item.pop("parsed_arguments", None)
    return [{"role": "user", "content": QUESTION}, *items, output]


def streamed(asked):
    """The response that a stream adds up to."""
    with client.responses.stream(model=MODEL, input=asked, tools=tools) as stream:
        stream.until_done()
        return stream.get_final_response()


reply = client.responses.create(model=MODEL, input=HELLO)
events = client.responses.create(model=MODEL, input=HELLO, stream=True)
pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
called = client.responses.create(model=MODEL, input=QUESTION, tools=tools)
told = client.responses.create(model=MODEL, input=answer(called), tools=tools)
again = streamed(answer(streamed(QUESTION)))
tell(reply.output_text, pieces, told.output_text, again.output_text)
