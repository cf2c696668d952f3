"""Anthropic's own SDK at /v1/messages, in front of upstreams of both formats and of the sandbox."""

import json
from typing import Any

import anthropic
import pytest
import requests
from hostile import HostileUpstream, cut_after, recorded, reply, status
from people import Key, Person, TestBridge
from recordings import available
from recordings import recording as recording_of

from modelbridge.money import parse_amount
from modelbridge.store.tables import BalanceTransaction

HELLO: Any = [{"role": "user", "content": "Hello"}]
WEATHER: Any = {
    "name": "weather",
    "description": "The weather somewhere",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    "cache_control": {"type": "ephemeral"},
}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PICTURE: Any = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
}
BOTH_FORMATS = pytest.mark.parametrize("model", ["claude-test", "gpt-test"])


def sdk(key: Key, **more: Any) -> anthropic.Anthropic:
    """The official SDK, pointed at the bridge; it sends the key as x-api-key."""
    return anthropic.Anthropic(
        api_key=key.secret, base_url=key.bridge.url, **{"max_retries": 0, **more}
    )


def post(key: Key, path: str = "/v1/messages", **more: Any) -> requests.Response:
    headers = {"x-api-key": key.secret, "anthropic-version": "2023-06-01"}
    body = {"model": "claude-test", "max_tokens": 100, "messages": HELLO} | more
    return requests.post(f"{key.bridge.url}{path}", json=body, headers=headers, timeout=60)


def events(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Each frame's name and data, none without a name."""
    found = []
    for frame in body.decode().strip().split("\n\n"):
        name, data = frame.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def charged(bridge: TestBridge) -> int:
    """What was taken from everybody, in nano-AUD."""
    rows = bridge.rows(BalanceTransaction)
    return -sum(int(row.amount_nanos) for row in rows if row.amount_nanos < 0)


# Replies and streams


@BOTH_FORMATS
def test_a_reply_reaches_the_sdk_and_is_paid_for(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, model: str
) -> None:
    upstream.will(reply("Hello Alice", prompt_tokens=10, completion_tokens=5))
    raw = sdk(key).messages.with_raw_response.create(model=model, max_tokens=100, messages=HELLO)
    message = raw.parse()
    assert message.type == "message"
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].text == "Hello Alice"  # type: ignore[union-attr]
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 5)
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    assert parse_amount(raw.headers["x-modelbridge-cost"]) == charged(bridge) > 0
    call = bridge.last_call()
    assert (call.endpoint, call.finish, call.usage_source) == ("messages", "answered", "reported")


@BOTH_FORMATS
def test_a_stream_reaches_the_sdk_and_its_last_usage_says_the_cost(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, model: str
) -> None:
    upstream.will(reply("Hello dear Alice", prompt_tokens=10, completion_tokens=5))
    with sdk(key).messages.stream(model=model, max_tokens=100, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == "Hello dear Alice"
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 5)
    bridge.settle_down()
    told = post(key, model=model, stream=True)
    names = [name for name, _ in events(told.content)]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    usage = dict(events(told.content))["message_delta"]["usage"]
    assert parse_amount(usage["cost"]) * 2 == charged(bridge)


@pytest.mark.skipif(not available, reason="recordings not present")
@pytest.mark.parametrize("name", ["aisdk-anthropic-stream-text", "anthropic-stream-thinking"])
def test_a_recorded_stream_passes_byte_for_byte_except_its_usage(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, name: str
) -> None:
    body = recording_of(name).body
    if not body.endswith(b"\n\n"):
        body = body.rstrip(b"\n") + b"\n\n"
    upstream.will(recorded(200, "text/event-stream", body))
    bridge.model("claude-test", "hostile-anthropic", max_output=64_000)
    told = post(key, stream=True, max_tokens=2_000).content
    theirs, ours = body.split(b"\n\n"), told.split(b"\n\n")
    changed = [(a, b) for a, b in zip(theirs, ours, strict=True) if a != b]
    assert len(changed) == 1
    before, after = (json.loads(part.split(b"data: ")[1]) for part in changed[0])
    assert changed[0][1].startswith(b"event: message_delta\n")
    assert parse_amount(after["usage"].pop("cost")) == charged(bridge)
    assert before["usage"].items() <= after["usage"].items()
    start = next(data for event, data in events(body) if event == "message_start")
    assert after["usage"]["input_tokens"] == start["message"]["usage"]["input_tokens"]
    call = bridge.last_call()
    assert call.input_tokens == after["usage"]["input_tokens"]
    assert call.output_tokens == after["usage"]["output_tokens"]


def test_a_last_usage_without_its_input_is_completed_from_the_first(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    first = {
        "input_tokens": 7,
        "cache_read_input_tokens": 30,
        "cache_creation_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 15},
        "output_tokens": 1,
    }
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    sent: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "model": "m", "usage": first}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]
    frames = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in sent]
    upstream.will(recorded(200, "text/event-stream", b"".join(frames)))
    told = events(post(key, stream=True).content)
    usage = told[1][1]["usage"]
    assert usage.pop("cost")
    assert usage == {**first, "output_tokens": 9}
    call = bridge.last_call()
    assert (call.input_tokens, call.cache_read_tokens) == (7, 30)
    assert (call.cache_write_tokens, call.cache_write_1h_tokens) == (5, 15)


# Tools


def test_tools_make_the_round_through_an_anthropic_upstream_as_they_were_sent(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Perth"}}
    said = {"type": "text", "text": "I look."}
    result = [{"type": "text", "text": "Look:"}, PICTURE]
    document = {
        "type": "document",
        "title": "Rules",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="},
        "citations": {"enabled": True},
    }
    messages: Any = [
        {"role": "user", "content": [document, {"type": "text", "text": "How warm?", **mark}]},
        {"role": "assistant", "content": [thinking, said, {**use, **mark}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": result,
                    "is_error": True,
                    **mark,
                },
                {"type": "text", "text": "Well?"},
            ],
        },
    ]
    system: Any = [
        {"type": "text", "text": "Be brief.", **mark},
        {"type": "text", "text": "Be kind."},
    ]
    config: Any = {"type": "enabled", "budget_tokens": 1024}
    bridge.model("claude-test", "hostile-anthropic", max_output=8_000, context_window=10_000)
    raw = sdk(key).messages.with_raw_response.create(
        model="claude-test",
        max_tokens=2_000,
        system=system,
        messages=messages,
        tools=[WEATHER],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        thinking=config,
        stop_sequences=["END"],
        metadata={"user_id": "alice"},
        extra_body={
            "output_config": {"effort": "low"},
            "context_management": {"edits": []},
        },
        extra_headers={"anthropic-beta": "context-management-2025-06-27"},
    )
    assert raw.headers["x-modelbridge-dropped"] == "context_management"
    sent = upstream.seen()[-1]["body"]
    assert sent["messages"] == messages
    assert sent["system"] == system
    assert sent["tools"] == [WEATHER]
    assert sent["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert sent["thinking"] == config
    assert sent["stop_sequences"] == ["END"]
    assert sent["metadata"] == {"user_id": "alice"}
    assert sent["output_config"] == {"effort": "low"}
    assert sent["max_tokens"] == 2_000


def test_tools_make_the_round_through_an_openai_upstream_in_its_words(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    call = {"name": "weather", "arguments": '{"city":"Perth"}'}
    message = {"tool_calls": [{"id": "call_1", "type": "function", "function": call}]}
    upstream.will(reply("", finish_reason="tool_calls", message=message), reply("Warm."))
    client = sdk(key)
    asked = client.messages.create(
        model="gpt-test",
        max_tokens=100,
        messages=HELLO,
        tools=[WEATHER],
        tool_choice={"type": "any"},
    )
    assert asked.stop_reason == "tool_use"
    use = asked.content[-1]
    assert (use.type, use.id, use.name, use.input) == (  # type: ignore[union-attr]
        "tool_use", "call_1", "weather", {"city": "Perth"},
    )  # fmt: skip
    result: Any = {
        "type": "tool_result",
        "tool_use_id": "call_1",
        "content": [{"type": "text", "text": "Look:"}, PICTURE],
        "is_error": True,
    }
    answer = client.messages.with_raw_response.create(
        model="gpt-test",
        max_tokens=100,
        system=[{"type": "text", "text": "Brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            *HELLO,
            {"role": "assistant", "content": asked.content},
            {"role": "user", "content": [result]},
        ],
        tools=[WEATHER],
        thinking={"type": "adaptive"},
        metadata={"user_id": "u" * 100},
        extra_body={"output_config": {"effort": "low"}, "top_k": 5},
    )
    assert answer.parse().content[0].text == "Warm."  # type: ignore[union-attr]
    dropped = answer.headers["x-modelbridge-dropped"].split(", ")
    assert set(dropped) == {
        "output_config", "thinking", "top_k", "metadata.user_id", "cache_control",
        "messages.is_error",
    }  # fmt: skip
    first, second = (one["body"] for one in upstream.seen())
    assert first["tool_choice"] == "required"
    assert first["max_completion_tokens"] == 100
    assert "anthropic_fields" not in second
    system, user, assistant, tool, shown = second["messages"]
    assert system == {"role": "system", "content": "Brief."}
    assert user == HELLO[0]
    assert assistant["tool_calls"][0]["function"] == call
    assert tool == {"role": "tool", "tool_call_id": "call_1", "content": "Look:"}
    assert shown["content"][0]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert "cache_control" not in json.dumps(second)


# The sandbox


def test_a_test_key_gets_every_scenario_in_anthropics_form(alice: Person) -> None:
    client = sdk(alice.key(test=True))
    echoed = client.messages.create(model="sandbox-echo", max_tokens=100, messages=HELLO)
    assert echoed.content[0].text == "Hello"  # type: ignore[union-attr]
    with client.messages.stream(
        model="sandbox-tool-call", max_tokens=100, messages=HELLO, tools=[WEATHER]
    ) as stream:
        called = stream.get_final_message()
    assert called.stop_reason == "tool_use"
    assert called.content[-1].name == "weather"  # type: ignore[union-attr]
    assert isinstance(called.content[-1].input, dict)  # type: ignore[union-attr]
    with client.messages.stream(
        model="sandbox-reasoning", max_tokens=500, messages=HELLO
    ) as stream:
        thought = stream.get_final_message()
    assert [block.type for block in thought.content] == ["thinking", "text"]
    again: Any = [*HELLO, {"role": "assistant", "content": thought.content}, *HELLO]
    client.messages.create(model="sandbox-reasoning", max_tokens=500, messages=again)
    refused = client.messages.create(model="sandbox-refusal", max_tokens=100, messages=HELLO)
    assert refused.stop_reason == "refusal"


def test_a_stream_that_fails_raises_in_the_sdk(alice: Person) -> None:
    client = sdk(alice.key(test=True))
    with (
        client.messages.stream(
            model="sandbox-stream-error", max_tokens=100, messages=HELLO
        ) as stream,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        stream.until_done()
    assert caught.value.body["error"]["type"] == "api_error"  # type: ignore[index]


@BOTH_FORMATS
def test_a_stream_that_is_cut_ends_with_an_error_and_without_its_stop(
    key: Key, upstream: HostileUpstream, model: str
) -> None:
    upstream.will(cut_after(4))
    told = events(post(key, model=model, stream=True).content)
    assert told[-1][0] == "error"
    assert told[-1][1]["error"]["type"] == "api_error"
    assert told[-1][1]["request_id"].startswith("req_")
    assert "message_stop" not in dict(told)


# Errors


def test_errors_are_told_in_anthropics_envelope(
    bridge: TestBridge, key: Key, charlie: Person
) -> None:
    url = f"{bridge.url}/v1/messages"
    stranger = Key(bridge, "", "mb_live_nonsense")
    answers = [
        (requests.post(url, json={}, timeout=60), 401, "authentication_error"),
        (post(stranger), 401, "authentication_error"),
        (post(key, model="claude-unknown"), 404, "not_found_error"),
        (post(key, max_tokens=None), 400, "invalid_request_error"),
        (post(key, path="/v1/messages/batches"), 404, "not_found_error"),
        (requests.get(url, timeout=60), 405, "invalid_request_error"),
        (post(charlie.key()), 429, "rate_limit_error"),
    ]
    for answer, code, kind in answers:
        body = answer.json()
        assert (answer.status_code, body["type"], body["error"]["type"]) == (code, "error", kind)
        assert body["error"].keys() == {"type", "message"}
        assert body["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("model", "raised", "kind"),
    [
        ("sandbox-rate-limit", anthropic.RateLimitError, "rate_limit_error"),
        ("sandbox-overloaded", anthropic.APIStatusError, "overloaded_error"),
        ("sandbox-error", anthropic.APIStatusError, "api_error"),
        ("sandbox-timeout", anthropic.APIStatusError, "timeout_error"),
    ],
)
def test_the_sdk_raises_what_it_raises_for_anthropic(
    alice: Person, model: str, raised: type[anthropic.APIStatusError], kind: str
) -> None:
    with pytest.raises(raised) as caught:
        sdk(alice.key(test=True)).messages.create(model=model, max_tokens=9, messages=HELLO)
    assert caught.value.type == kind
    assert caught.value.request_id


def test_an_upstreams_complaint_keeps_its_status_and_its_words(
    key: Key, upstream: HostileUpstream
) -> None:
    complaint = {"type": "error", "error": {"type": "invalid_request_error", "message": "Too odd."}}
    upstream.will(status(400, complaint))
    with pytest.raises(anthropic.BadRequestError, match="Too odd"):
        sdk(key).messages.create(model="claude-test", max_tokens=9, messages=HELLO)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": []}]}, "messages"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{**PICTURE, "source": {"type": "file"}}]}]},
         "messages[0].content[0].source.type"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"temperature": 2}, "temperature"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "y"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"mcp_servers": [{"url": "https://example.com"}]}, "mcp_servers"),
        ({"container": "c_1"}, "container"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_costs_nothing(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, fields: dict[str, Any], named: str
) -> None:
    answer = post(key, **fields)
    assert answer.status_code == 400
    assert f"'{named}'" in answer.json()["error"]["message"]
    assert upstream.seen() == []
    assert charged(bridge) == 0


# Counting


def test_tokens_are_counted_for_free(bridge: TestBridge, key: Key) -> None:
    few = sdk(key).messages.count_tokens(model="claude-test", messages=HELLO)
    long: Any = [{"role": "user", "content": "Hello " * 1_000}]
    many = sdk(key).messages.count_tokens(model="claude-test", messages=long, tools=[WEATHER])
    assert 0 < few.input_tokens < 100 < many.input_tokens
    assert charged(bridge) == 0
    url = f"{bridge.url}/v1/messages/count_tokens"
    assert requests.post(url, json={}, timeout=60).status_code == 401
