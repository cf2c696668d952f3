"""The official SDK reads what the sandbox says, without a server between them."""

import json
from collections.abc import Iterator

import httpx2
import pytest
from openai import APIError, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from openai_words import FRONT, HEAD, WEATHER
from pydantic import BaseModel

from modelbridge.upstream import sandbox
from modelbridge.wire.chat import wants_usage
from modelbridge.wire.reply import fold

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]


class City(BaseModel):
    name: str
    inhabitants: int | None


def respond(request: httpx2.Request) -> httpx2.Response:
    asked = FRONT.read_request(json.loads(request.content))
    answer = sandbox.answer(asked)
    if not asked.get("stream"):
        whole = fold(event for _, event in answer.events())
        return httpx2.Response(200, json=FRONT.write_reply(whole, HEAD))
    writer = FRONT.write_stream(HEAD, include_usage=wants_usage(asked))
    data = b"".join(writer.write(event) for _, event in answer.events())
    data += writer.end(answer.usage, "0.00")
    return httpx2.Response(200, content=data, headers={"content-type": "text/event-stream"})


@pytest.fixture
def client() -> Iterator[OpenAI]:
    http = httpx2.Client(transport=httpx2.MockTransport(respond))
    with OpenAI(
        api_key="mb_test_x",
        base_url="http://bridge/v1",
        http_client=http,
        _strict_response_validation=True,
    ) as made:
        yield made


def test_a_completion_and_its_stream_say_the_same(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="gpt-4o", messages=HELLO)
    stream = client.chat.completions.create(
        model="gpt-4o", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert chunks[-1].usage.model_extra == {"cost": "0.00"}


def test_parse_gives_the_object_that_was_asked_for(client: OpenAI) -> None:
    done = client.chat.completions.parse(model="gpt-4o", messages=HELLO, response_format=City)
    assert done.choices[0].message.parsed == City(name="text", inhabitants=1)


def test_the_stream_helper_puts_a_tool_call_together(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="sandbox-tool-call",
        messages=HELLO,
        tools=[WEATHER],  # type: ignore[list-item]
    ) as stream:
        done = stream.get_final_completion()
    (call,) = done.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "text"}
    assert done.choices[0].finish_reason == "tool_calls"


def test_a_failure_in_mid_stream_is_raised_by_the_sdk(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sandbox-stream-error", messages=HELLO, stream=True
    )
    with pytest.raises(APIError, match="as you asked it to"):
        list(stream)
