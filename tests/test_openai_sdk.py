"""The OpenAI SDK with a test key: a program's first hour, without a provider and without money."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from pydantic import BaseModel
from running import HELLO, RunningBridge

GREETING = "Hello from the ModelBridge sandbox!"
MODEL = "claude-sonnet-4-6"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}


class City(BaseModel):
    name: str
    inhabitants: int | None
    districts: list[str]


@pytest.fixture
def practice_key(running: RunningBridge) -> str:
    return running.key("ci", "--test")


@pytest.fixture
def client(running: RunningBridge, practice_key: str) -> Iterator[openai.OpenAI]:
    """Strict: an answer that is not what OpenAI's schema says raises."""
    with running.openai(practice_key, _strict_response_validation=True, max_retries=0) as made:
        yield made


def text_of(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_the_two_variables_are_all_that_a_program_needs(
    running: RunningBridge, practice_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", practice_key)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{running.url}/v1")
    with openai.OpenAI() as client:
        reply = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert (reply.choices[0].message.content or "").startswith(GREETING)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_base_url_may_end_in_a_slash(
    running: RunningBridge, practice_key: str, slash: str
) -> None:
    with openai.OpenAI(api_key=practice_key, base_url=f"{running.url}/v1{slash}") as client:
        assert client.chat.completions.create(model=MODEL, messages=HELLO).choices


def test_headers_say_what_happened(client: openai.OpenAI, running: RunningBridge) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-modelbridge-cost"] == "0.00"
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.parse()._request_id == raw.headers["x-request-id"]
    receipt = running.receipt(raw.headers["x-request-id"])
    assert (receipt["mode"], receipt["cost_nanos"], receipt["hold_id"]) == ("test", None, None)


def test_a_stream_says_what_the_whole_reply_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=HELLO)
    plain = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    counted = list(
        client.chat.completions.create(
            model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert text_of(plain) == text_of(counted) == whole.choices[0].message.content
    assert all(chunk.choices for chunk in plain)
    assert counted[-1].choices == []
    assert counted[-1].usage is not None
    assert whole.usage is not None
    assert counted[-1].usage.total_tokens == whole.usage.total_tokens
    assert counted[-1].usage.model_extra == {"cost": "0.00"}
    assert len({chunk.id for chunk in counted}) == 1


def test_a_raw_stream_has_its_headers_before_its_text(client: openai.OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(
        model=MODEL, messages=HELLO, stream=True
    ) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert raw.headers["cache-control"].startswith("no-cache")
        assert raw.headers["x-request-id"].startswith("req_")
        assert "x-modelbridge-cost" not in raw.headers
        lines = [line for line in raw.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_parse_gives_an_object(client: openai.OpenAI, stream: bool) -> None:
    if stream:
        with client.chat.completions.stream(
            model=MODEL, messages=HELLO, response_format=City
        ) as events:
            done = events.get_final_completion()
    else:
        done = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=City)
    parsed = done.choices[0].message.parsed
    assert isinstance(parsed, City)


def test_tools_go_round(client: openai.OpenAI) -> None:
    asked = client.chat.completions.create(
        model=MODEL, messages=HELLO, tools=[WEATHER], tool_choice="required"
    )
    message: Any = asked.choices[0].message
    (call,) = message.tool_calls or []
    assert call.type == "function"
    assert set(json.loads(call.function.arguments)) == {"city", "days"}
    assert asked.choices[0].finish_reason == "tool_calls"
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 °C"}
    answered = client.chat.completions.create(
        model=MODEL,
        messages=[*HELLO, message, result],
        tools=[WEATHER],
    )
    assert "sunny, 21 °C" in (answered.choices[0].message.content or "")


def test_a_streamed_tool_call_is_put_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="sandbox-tool-call", messages=HELLO, tools=[WEATHER]
    ) as stream:
        done = stream.get_final_completion()
    (call,) = done.choices[0].message.tool_calls or []
    assert set(json.loads(call.function.arguments)) == {"city", "days"}


def test_a_picture_may_be_shown(client: openai.OpenAI) -> None:
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
    ]
    reply = client.chat.completions.create(
        model="sandbox-echo", messages=[{"role": "user", "content": content}]
    )
    assert reply.choices[0].message.content == "What is this?"


def test_the_output_cap_and_stop_sequences_hold(client: openai.OpenAI) -> None:
    short = client.chat.completions.create(model=MODEL, messages=HELLO, max_completion_tokens=2)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens <= 2
    stopped = client.chat.completions.create(model=MODEL, messages=HELLO, stop=["sandbox"])
    assert stopped.choices[0].message.content == "Hello from the ModelBridge "
    assert stopped.choices[0].finish_reason == "stop"


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    listed = [model.id for model in client.models.list()]
    assert listed == sorted(listed)
    assert {MODEL, "gpt-4o", "sandbox-echo"} <= set(listed)
    for name in (MODEL, "anthropic/claude-sonnet-4.5", "sandbox-echo"):
        found = client.models.retrieve(name)
        assert (found.id, found.object) == (name, "model")
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("claude-sonet-4-6")
    assert unknown.value.code == "model_not_found"
    assert MODEL in unknown.value.message


# Failures


def counting(made: list[httpx2.Request]) -> httpx2.Client:
    """An HTTP client that notes each request that the SDK makes."""
    return openai.DefaultHttpxClient(event_hooks={"request": [made.append]})


Raise = type[openai.APIStatusError]


@pytest.mark.parametrize(
    ("scenario", "raised", "status", "code", "requests"),
    [
        ("rate-limit", openai.RateLimitError, 429, "upstream_rate_limited", 2),
        ("limit", openai.RateLimitError, 429, "spending_limit_exceeded", 1),
        ("error", openai.InternalServerError, 502, "upstream_error", 1),
        ("timeout", openai.InternalServerError, 504, "upstream_timeout", 1),
        ("overloaded", openai.InternalServerError, 503, "overloaded", 2),
    ],
)
def test_each_failure_is_its_own_class_and_is_retried_only_where_that_may_help(
    running: RunningBridge,
    practice_key: str,
    scenario: str,
    raised: Raise,
    status: int,
    code: str,
    requests: int,
) -> None:
    made: list[httpx2.Request] = []
    with (
        running.openai(practice_key, max_retries=1, http_client=counting(made)) as client,
        pytest.raises(raised) as caught,
    ):
        client.chat.completions.create(model=f"sandbox-{scenario}", messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert len(made) == requests
    assert caught.value.request_id
    wanted = "false" if requests == 1 else None
    assert caught.value.response.headers.get("x-should-retry") == wanted


@pytest.mark.parametrize(
    ("fields", "raised", "code", "param"),
    [
        ({"model": "no-such-model"}, openai.NotFoundError, "model_not_found", "model"),
        ({"temperature": 9}, openai.BadRequestError, "invalid_request", "temperature"),
        ({"n": 0}, openai.BadRequestError, "invalid_request", "n"),
        ({"messages": []}, openai.BadRequestError, "invalid_request", "messages"),
        (
            {"messages": [{"role": "user", "content": 5}]},
            openai.BadRequestError,
            "invalid_request",
            "messages[0].content",
        ),
        ({"web_search_options": {}}, openai.BadRequestError, "unsupported_parameter", None),
    ],
)
def test_a_mistake_is_told_once_and_by_name(
    running: RunningBridge,
    practice_key: str,
    fields: dict[str, Any],
    raised: Raise,
    code: str,
    param: str | None,
) -> None:
    made: list[httpx2.Request] = []
    with (
        running.openai(practice_key, http_client=counting(made)) as client,
        pytest.raises(raised) as caught,
    ):
        client.chat.completions.create(**({"model": MODEL, "messages": HELLO} | fields))
    assert caught.value.code == code
    assert caught.value.param == (param or next(iter(fields)))
    assert caught.value.type == "invalid_request_error"
    assert len(made) == 1


def test_a_wrong_key_is_an_authentication_error_that_does_not_repeat_it(
    running: RunningBridge, practice_key: str
) -> None:
    wrong = practice_key[:-1] + ("A" if practice_key[-1] != "A" else "B")
    with running.openai(wrong) as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model=MODEL, messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    assert wrong not in caught.value.response.text
    assert wrong[:14] not in caught.value.response.text


def test_a_failure_in_mid_stream_is_raised(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="sandbox-stream-error", messages=HELLO, stream=True
    )
    chunks: list[Any] = []
    with pytest.raises(openai.APIError, match="as you asked it to"):
        chunks.extend(iter(stream))
    assert text_of(chunks)
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)


# asyncio


@asynccontextmanager
async def connected(running: RunningBridge, key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with running.async_openai(key, _strict_response_validation=True, max_retries=0) as client:
        yield client


async def plain(client: openai.AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model=MODEL, messages=HELLO)
    assert (reply.choices[0].message.content or "").startswith(GREETING)


async def streamed(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert text_of(chunks).startswith(GREETING)
    assert chunks[-1].usage is not None


async def tooled(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
        model="sandbox-tool-call", messages=HELLO, tools=[WEATHER]
    ) as stream:
        done = await stream.get_final_completion()
    assert done.choices[0].message.tool_calls


async def parsed(client: openai.AsyncOpenAI) -> None:
    done = await client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=City)
    assert isinstance(done.choices[0].message.parsed, City)


async def listed(client: openai.AsyncOpenAI) -> None:
    assert MODEL in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve(MODEL)).id == MODEL


async def refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        await client.chat.completions.create(model="sandbox-limit", messages=HELLO)


@pytest.mark.parametrize("do", [plain, streamed, tooled, parsed, listed, refused])
def test_asyncio_does_the_same(
    running: RunningBridge, practice_key: str, do: Callable[[openai.AsyncOpenAI], Any]
) -> None:
    async def main() -> None:
        async with connected(running, practice_key) as client:
            await do(client)

    asyncio.run(main())


def test_test_keys_spend_nothing(running: RunningBridge, client: openai.OpenAI) -> None:
    before = running.balance_nanos()
    client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=10**9)
    assert running.balance_nanos() == before
