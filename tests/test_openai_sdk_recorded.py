"""What OpenAI and compatible servers were recorded to answer, through a bridge, and the bill."""

import json
from dataclasses import replace
from typing import Any

import openai
import pytest
import requests
from pydantic import BaseModel
from recordings import Recording, available, recording
from replay import Replay
from running import HELLO, RunningBridge, cost_nanos, nanos

pytestmark = pytest.mark.skipif(not available, reason="recordings not present")
CAPITAL: Any = {
    "type": "function",
    "function": {
        "name": "get_capital",
        "description": "",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"country": {"type": "string"}},
            "required": ["country"],
            "additionalProperties": False,
        },
    },
}
WEATHER: Any = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture(autouse=True)
def upstreams(running: RunningBridge, replay: Replay) -> None:
    """The providers of these recordings, with nothing configured but their credentials."""
    running.upstream("openai", "openai", f"{replay.base_url}/v1", "sk-openai")
    running.upstream("groq", "groq", f"{replay.base_url}/v1", "sk-groq")
    running.upstream("mistral", "mistral", f"{replay.base_url}/v1", "sk-mistral")
    running.upstream("deepseek", "deepseek", replay.base_url, "sk-deepseek")
    running.upstream("openrouter", "openrouter", f"{replay.base_url}/v1", "sk-openrouter")


def test_a_reply_is_relayed_byte_for_byte_and_billed(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("openai-chat-text")
    answer = requests.post(
        f"{running.url}/v1/chat/completions",
        json={"model": "gpt-4o", "messages": HELLO},
        headers={"Authorization": f"Bearer {running.key()}"},
        timeout=30,
    )
    assert answer.content == recording("openai-chat-text").body
    expected = cost_nanos("gpt-4o", "openai", input=14, output=7)
    assert nanos(answer.headers["x-modelbridge-cost"]) == expected
    assert running.receipt(answer.headers["x-request-id"])["cost_nanos"] == expected
    assert replay.last.path == "/v1/chat/completions"
    assert replay.last.headers["authorization"] == "Bearer sk-openai"
    assert replay.last.body["service_tier"] == "default"


def test_a_tool_call_in_a_stream_is_put_together_and_billed(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("openai-chat-stream-tool-call")
    asked = recording("openai-chat-stream-tool-call").request
    assert asked is not None
    with (
        running.openai() as client,
        client.chat.completions.stream(
            model="gpt-4o-mini",
            messages=asked["messages"],
            tools=[CAPITAL],
            stream_options={"include_usage": True},
        ) as stream,
    ):
        done = stream.get_final_completion()
    (call,) = done.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"country": "UK"}
    assert done.usage is not None
    assert done.usage.model_extra is not None
    expected = cost_nanos(
        "gpt-4o-mini",
        "openai",
        input=done.usage.prompt_tokens,
        output=done.usage.completion_tokens,
    )
    assert nanos(done.usage.model_extra["cost"]) == expected > 0
    assert running.newest_receipt()["cost_nanos"] == expected
    assert replay.last.body["tools"] == asked["tools"]
    assert replay.last.body["messages"] == asked["messages"]


def test_a_stream_is_relayed_byte_for_byte_but_for_the_cost_in_its_usage(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("openai-chat-stream-tool-call")
    options = {"stream": True, "stream_options": {"include_usage": True}}
    answer = requests.post(
        f"{running.url}/v1/chat/completions",
        json={"model": "gpt-4o-mini", "messages": HELLO, **options},
        headers={"Authorization": f"Bearer {running.key()}"},
        timeout=30,
    )
    ours = answer.content.split(b"\n\n")
    theirs = recording("openai-chat-stream-tool-call").body.split(b"\n\n")
    assert len(ours) == len(theirs)
    (changed,) = [at for at, frame in enumerate(ours) if frame != theirs[at]]
    told, recorded = (
        json.loads(frames[changed].removeprefix(b"data: ")) for frames in (ours, theirs)
    )
    assert nanos(told["usage"].pop("cost")) == running.newest_receipt()["cost_nanos"]
    assert told == recorded


def test_a_picture_reaches_the_upstream_as_it_was_sent(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("openai-chat-text")
    image = {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
    content: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": image},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    with running.openai() as client:
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": content}]
        )
    assert replay.last.body["messages"] == [{"role": "user", "content": content}]


def test_usage_is_asked_of_the_upstream_though_the_client_did_not(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("openai-chat-stream-tool-call")
    with running.openai() as client:
        chunks = list(
            client.chat.completions.create(
                model="gpt-4o-mini", messages=HELLO, tools=[CAPITAL], stream=True
            )
        )
    assert replay.last.body["stream_options"] == {"include_usage": True}
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)
    assert running.newest_receipt()["usage_source"] == "reported"


class City(BaseModel):
    city: str
    country: str


def test_parse_gives_the_recorded_object(running: RunningBridge, replay: Replay) -> None:
    replay.plays("openai-chat-json-schema")
    with running.openai() as client:
        raw = client.chat.completions.with_raw_response.parse(
            model="gpt-4o", messages=HELLO, response_format=City
        )
    done = raw.parse()
    assert done.choices[0].message.parsed == City(city="Mexico City", country="Mexico")
    expected = cost_nanos("gpt-4o", "openai", input=92, output=15)
    assert nanos(raw.headers["x-modelbridge-cost"]) == expected
    assert replay.last.body["response_format"]["json_schema"]["name"] == "City"


def test_a_refusal_keeps_its_status_code_param_and_words(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("openai-chat-error-400-unsupported-role")
    with running.openai() as client, pytest.raises(openai.BadRequestError) as refusal:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert (refusal.value.code, refusal.value.param) == ("unsupported_value", "messages[0].role")
    assert "does not support 'developer'" in refusal.value.message
    replay.plays("groq-chat-error-404")
    with running.openai() as client, pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    assert len(replay.seen) == 2


# Compatible servers


def test_groqs_reasoning_and_tool_call_are_streamed_and_billed(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("groq-chat-stream-reasoning-tool-call")
    model = "openai/gpt-oss-120b"
    running.flask("model", "add", "gpt-oss", "--upstream", "groq", "--upstream-model", model)
    with running.openai() as client:
        stream = client.chat.completions.create(
            model="gpt-oss",
            messages=HELLO,
            tools=[WEATHER],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks: list[Any] = list(stream)
    calls = [c for chunk in chunks for c in (chunk.choices[0].delta.tool_calls or [])]
    assert [(call.index, call.function.name) for call in calls] == [(0, "get_something_by_name")]
    assert json.loads(calls[0].function.arguments) == {"name": "example"}
    assert replay.last.body["model"] == model
    expected = cost_nanos(model, "groq", input=304, output=49)
    assert nanos(chunks[-1].usage.cost) == expected
    receipt = running.newest_receipt()
    assert (receipt["reasoning_tokens"], receipt["cost_nanos"]) == (23, expected)


def test_deepseeks_reasoning_is_billed_once(running: RunningBridge, replay: Replay) -> None:
    replay.plays("deepseek-chat-reasoning-content")
    with running.openai() as client:
        raw = client.chat.completions.with_raw_response.create(
            model="deepseek-reasoner", messages=HELLO
        )
    message: Any = raw.parse().choices[0].message
    assert message.reasoning_content
    expected = cost_nanos("deepseek-reasoner", "deepseek", input=12, output=789)
    assert nanos(raw.headers["x-modelbridge-cost"]) == expected
    assert running.receipt(raw.headers["x-request-id"])["reasoning_tokens"] == 415


def test_openrouters_own_cost_never_stands_where_ours_is_expected(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("openrouter-chat-stream-reasoning")
    with running.openai() as client:
        stream = client.chat.completions.create(
            model="anthropic/claude-sonnet-4.5",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks: list[Any] = list(stream)
    expected = cost_nanos("anthropic/claude-sonnet-4.5", "openrouter", input=43, output=36)
    assert nanos(chunks[-1].usage.cost) == expected
    assert running.newest_receipt()["cost_nanos"] == expected
    assert running.newest_receipt()["usage_source"] == "reported"


def test_a_tool_call_without_an_index_reaches_the_sdk_with_one(
    running: RunningBridge, replay: Replay
) -> None:
    replay.plays("aisdk-mistral-stream-tool-call")
    with (
        running.openai() as client,
        client.chat.completions.stream(
            model="mistral-small-latest", messages=HELLO, tools=[WEATHER]
        ) as stream,
    ):
        done = stream.get_final_completion()
    (call,) = done.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"location": "San Francisco"}
    assert done.choices[0].finish_reason == "tool_calls"
    expected = cost_nanos("mistral-small-latest", "mistral", input=124, output=22)
    assert running.newest_receipt()["cost_nanos"] == expected


@pytest.fixture
def old_gemini(running: RunningBridge, replay: Replay) -> str:
    """A Gemini behind Google's OpenAI-compatible endpoint, as an operator may set it up."""
    base_url = f"{replay.base_url}/v1beta/openai"
    running.upstream("google", "openai_compatible", base_url, "sk-gemini")
    prices = ("--input", "1.25", "--output", "10")
    running.flask(
        "model", "add", "old-gemini", "--upstream", "google", *prices,
        "--upstream-model", "gemini-2.5-pro",
    )  # fmt: skip
    return "old-gemini"


def gemini_stream() -> Recording:
    """Two calls in one chunk, each with the index 0 and an empty id, as Gemini tells them."""
    calls = [
        {"index": 0, "id": "", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for name in ("time", "weather")
    ]
    delta = {"role": "assistant", "tool_calls": calls, "extra_content": {"google": {"x": 1}}}
    head = {"id": "g", "object": "chat.completion.chunk", "created": 1, "model": "gemini"}
    usage = {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}
    chunks = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage},
    ]
    frames = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)
    return Recording(None, 200, {"content-type": "text/event-stream"}, frames + b"data: [DONE]\n\n")


def test_two_tool_calls_of_geminis_are_not_merged_into_one(
    running: RunningBridge, replay: Replay, old_gemini: str
) -> None:
    replay.answers(gemini_stream())
    with running.openai() as client:
        stream = client.chat.completions.create(
            model=old_gemini, messages=HELLO, tools=[WEATHER], stream=True
        )
        first: Any = next(iter(stream)).choices[0].delta
        stream.close()
    assert [(call.index, call.function.name) for call in first.tool_calls] == [
        (0, "time"),
        (1, "weather"),
    ]
    assert first.extra_content == {"google": {"x": 1}}  # Gemini wants its signatures back


def test_geminis_nameless_thinking_is_billed_as_output(
    running: RunningBridge, replay: Replay, old_gemini: str
) -> None:
    replay.plays("gemini-openai-compat-tool-call-without-id")
    with running.openai() as client:
        raw = client.chat.completions.with_raw_response.create(
            model=old_gemini, messages=HELLO, tools=[WEATHER]
        )
    assert raw.parse().choices[0].message.tool_calls
    assert replay.last.path == "/v1beta/openai/chat/completions"
    expected = cost_nanos("gemini-2.5-pro", "google", input=35, output=109 - 35)
    assert nanos(raw.headers["x-modelbridge-cost"]) == expected


def test_mistrals_own_reply_is_billed(running: RunningBridge, replay: Replay) -> None:
    replay.plays("mistral-chat-text")
    asked = recording("mistral-chat-text").request
    assert asked is not None
    with running.openai() as client:
        raw = client.chat.completions.with_raw_response.create(**asked, max_completion_tokens=99)
    assert "😊" in (raw.parse().choices[0].message.content or "")
    expected = cost_nanos("mistral-large-latest", "mistral", input=4, output=36)
    assert nanos(raw.headers["x-modelbridge-cost"]) == expected
    assert replay.last.body["max_tokens"] == 99
    assert "max_completion_tokens" not in replay.last.body


def test_a_stream_with_windows_line_ends_is_read_alike(
    running: RunningBridge, replay: Replay
) -> None:
    recorded = recording("openai-chat-stream-tool-call")
    replay.answers(replace(recorded, body=recorded.body.replace(b"\n", b"\r\n")))
    with (
        running.openai() as client,
        client.chat.completions.stream(
            model="gpt-4o-mini", messages=HELLO, tools=[CAPITAL]
        ) as stream,
    ):
        done = stream.get_final_completion()
    assert done.choices[0].message.tool_calls
    assert running.newest_receipt()["usage_source"] == "reported"
