"""What Anthropic answers, and what Alice gets of it."""

import json
from typing import Any

import pytest
from anthropic_words import (
    DIALECT,
    STOP,
    block,
    delta,
    events_of,
    pieces,
    start,
    target,
    words,
)
from hypothesis import given
from hypothesis import strategies as st
from recordings import available, recording

from modelbridge.errors import (
    UpstreamError,
    UpstreamRejected,
)
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    ReasoningDelta,
    Reply,
    StreamEvent,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallMade,
    ToolCallStart,
    UsageReported,
    fold,
)
from modelbridge.wire.sse import Frame, FrameReader

recorded = pytest.mark.skipif(not available, reason="recordings not present")


def body_of(name: str) -> bytes:
    return recording(name).body


def replayed(stream: bytes, size: int) -> list[StreamEvent]:
    """The events of a recorded stream that arrives in pieces of `size` bytes."""
    frames, reader = FrameReader(), DIALECT.read_stream()
    found: list[StreamEvent] = []
    for at in range(0, len(stream), size):
        for frame in frames.feed(stream[at : at + size]):
            found += reader.feed(frame)
    return [*found, *reader.end()]


# Recordings


@recorded
@pytest.mark.parametrize(
    ("name", "usage", "begins"),
    [
        ("anthropic-text", Usage(input=8, output=21), "Hi there!"),
        ("anthropic-cache-write", Usage(input=3, cache_read=1111, output=406), "# What is Python?"),
        ("anthropic-document-pdf-base64", Usage(input=1615, output=28), "The document simply"),
        ("anthropic-thinking", Usage(input=43, output=321), "Here's how to cross"),
        ("anthropic-redacted-thinking", Usage(input=92, output=196), "I notice that your"),
        ("anthropic-parallel-tool-use", Usage(input=423, output=202), "I'll help you find"),
    ],
)
def test_recorded_replies_are_read(name: str, usage: Usage, begins: str) -> None:
    reply = DIALECT.read_reply(json.loads(body_of(name)))
    assert reply.usage == usage
    assert reply.text.startswith(begins)
    assert reply.finish_reason == ("tool_calls" if reply.tool_calls else "stop")


@recorded
def test_recorded_thinking_is_kept_for_the_way_back() -> None:
    reply = DIALECT.read_reply(json.loads(body_of("anthropic-thinking")))
    assert reply.reasoning.startswith("This is a straightforward question")
    assert [kept["type"] for kept in reply.thinking] == ["thinking"]
    assert reply.thinking[0]["signature"].startswith("Eq8CCkYICxgC")
    redacted = DIALECT.read_reply(json.loads(body_of("anthropic-redacted-thinking")))
    assert [kept["type"] for kept in redacted.thinking] == ["redacted_thinking"]
    assert redacted.reasoning == ""


@recorded
def test_recorded_parallel_calls_stay_apart() -> None:
    calls = DIALECT.read_reply(json.loads(body_of("anthropic-parallel-tool-use"))).tool_calls
    assert [made.arguments for made in calls] == [
        '{"name":"Alice"}', '{"name":"Bob"}', '{"name":"Charlie"}', '{"name":"Daisy"}',
    ]  # fmt: skip
    assert {made.name for made in calls} == {"retrieve_entity_info"}
    assert len({made.id for made in calls}) == 4


@recorded
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_recorded_streams_are_read_however_they_are_cut(size: int) -> None:
    text = fold(replayed(body_of("aisdk-anthropic-stream-text"), size))
    assert text.text == (
        "Hello! I'm doing well, thank you for asking. How are you doing today? Is there anything"
        " I can help you with?"
    )
    assert text.usage == Usage(input=12, output=30)
    tools = fold(replayed(body_of("aisdk-anthropic-stream-tool-no-args"), size))
    made = ToolCallMade("toolu_01QE1WLsSVp5hy5Q3GmGTmjP", "updateIssueList", "{}")
    assert (tools.tool_calls, tools.finish_reason) == ([made], "tool_calls")
    thinking = fold(replayed(body_of("anthropic-stream-thinking"), size))
    assert thinking.reasoning.startswith("This is a straightforward question about pedestrian")
    assert len(thinking.thinking) == 1
    assert thinking.thinking[0]["signature"]
    assert thinking.usage == Usage(input=43, output=282)
    assert all(reply.error is None for reply in (text, tools, thinking))


@recorded
@pytest.mark.parametrize("name", ["aisdk-anthropic-stream-text", "anthropic-stream-thinking"])
def test_a_recorded_stream_that_is_cut_short_never_looks_finished(name: str) -> None:
    stream = body_of(name)
    for cut in range(0, len(stream) - 40, max(1, len(stream) // 60)):
        reply = fold(replayed(stream[:cut], 4096))
        assert isinstance(reply.error, UpstreamError)
        assert reply.error.may_have_billed


@recorded
def test_the_recorded_refusal_keeps_its_status_and_words() -> None:
    error = DIALECT.read_error(400, {}, body_of("anthropic-error-400"), target())
    assert isinstance(error, UpstreamRejected)
    assert (error.status, error.code) == (400, "invalid_request_error")
    assert error.message.startswith("This model does not support effort level 'xhigh'.")


# Replies


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
        (None, None),
    ],
)
def test_every_reason_to_stop_is_told(reason: str | None, expected: str | None) -> None:
    assert DIALECT.read_reply({"content": [], "stop_reason": reason}).finish_reason == expected
    assert fold(events_of(delta(reason), STOP)).finish_reason == expected


@pytest.mark.parametrize(
    "body",
    [{}, [], None, {"content": None}, {"content": "x"}, {"content": [{}]}, {"content": ["x"]},
     {"content": [{"type": "text", "text": 5}]}, {"content": [{"type": "tool_use", "id": "x"}]},
     {"type": "error", "error": {"type": "api_error", "message": "oops"}}],
)  # fmt: skip
def test_what_is_no_message_may_still_be_on_the_bill(body: Any) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.read_reply(body)
    assert caught.value.may_have_billed


def test_blocks_of_the_providers_own_tools_are_left_out() -> None:
    body = {"content": [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "Found.", "citations": [{"type": "char_location"}]},
    ]}  # fmt: skip
    assert DIALECT.read_reply(body) == Reply(text="Found.")


# Streams


def test_a_stream_with_everything_in_it() -> None:
    events = events_of(
        start(input_tokens=5, output_tokens=1, cache_read_input_tokens=2),
        {"type": "ping"},
        *block(
            0,
            {"type": "thinking_delta", "thinking": "h"},
            {"type": "thinking_delta", "thinking": "m"},
            {"type": "signature_delta", "signature": "s1"},
            {"type": "signature_delta", "signature": "s2"},
            type="thinking",
            thinking="",
            signature="",
        ),
        *block(1, type="redacted_thinking", data="xyz"),
        *block(2, words("He"), {"type": "citations_delta"}, words("llo"), type="text", text=""),
        *block(3, pieces("{}"), type="server_tool_use", id="s", name="web_search", input={}),
        *block(4, pieces(""), pieces('{"a"'), pieces(":1}"), type="tool_use", id="c1", name="f"),
        *block(5, pieces(""), type="tool_use", id="c2", name="g", input={}),
        *block(6, type="tool_use", id="c3", name="h", input={"b": 2}),
        {"type": "invented_tomorrow"},
        delta("tool_use", output_tokens=40),
        STOP,
        b"[DONE]",
    )
    assert events == [
        UsageReported(Usage(input=5, cache_read=2, output=1), final=False),
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        ReasoningDelta(signature="s1s2"),
        ReasoningDelta(redacted="xyz"),
        TextDelta("He"),
        TextDelta("llo"),
        ToolCallStart(0, "c1", "f"),
        ToolCallDelta(0, '{"a"'),
        ToolCallDelta(0, ":1}"),
        ToolCallStart(1, "c2", "g"),
        ToolCallDelta(1, "{}"),
        ToolCallStart(2, "c3", "h"),
        ToolCallDelta(2, '{"b":2}'),
        Finish("tool_calls"),
        UsageReported(Usage(input=5, cache_read=2, output=40), final=True),
    ]


def test_blocks_that_were_never_closed_are_closed_before_the_finish() -> None:
    begun = block(0, type="tool_use", id="c", name="f", input={})[:1]
    events = events_of(start(), *begun, delta("tool_use"), STOP)
    assert events[-2:] == [ToolCallDelta(0, "{}"), Finish("tool_calls")]


def test_text_in_the_opening_of_a_block_is_not_lost() -> None:
    events = events_of(*block(0, words("b"), type="text", text="a"), delta(), STOP)
    assert fold(events).text == "ab"
    thought = block(0, type="thinking", thinking="hm", signature="s")
    assert fold(events_of(*thought, delta(), STOP)).thinking == [
        {"type": "thinking", "thinking": "hm", "signature": "s"}
    ]


def test_a_stream_without_its_end_has_failed() -> None:
    failed = events_of(start(), *block(0, words("Hel"), type="text", text=""))[-1]
    assert isinstance(failed, StreamFailed)
    assert isinstance(failed.error, UpstreamError)
    assert failed.error.may_have_billed


@pytest.mark.parametrize(
    "broken",
    [b"{", b"[]", b"7", b"null", b'"x"', b"\xff", b'{"type":"content_block_delta"}',
     b'{"type":"content_block_delta","index":0,"delta":null}',
     b'{"type":"content_block_delta","index":[],"delta":{"type":"text_delta","text":"x"}}',
     b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":7}}',
     b'{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{"}}',
     b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use"}}',
     b'{"type":"message_start"}', b'{"type":"message_delta","delta":{"stop_reason":7}}'],
)  # fmt: skip
def test_a_broken_event_fails_the_stream_once_and_for_all(broken: bytes) -> None:
    events = events_of(start(), broken, *block(0, words("x"), type="text"), delta(), STOP)
    assert len(events) == 1
    assert isinstance(events[0], StreamFailed)


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("overloaded_error", "Overloaded", "The upstream is overloaded while it was answering."),
        ("api_error", "secret internals", "The upstream failed while it was answering."),
        ("authentication_error", "bad sk-ant-1", "The upstream failed while it was answering."),
        ("rate_limit_error", "x", "The upstream's rate limit was reached."),
        ("invalid_request_error", "too many images", "too many images"),
        (None, None, "The upstream failed while it was answering."),
    ],
)
def test_an_error_after_the_200_is_told_in_the_stream(
    kind: Any, message: Any, expected: str
) -> None:
    broken = {"type": "error", "error": {"type": kind, "message": message}}
    events = events_of(start(), *block(0, words("x"), type="text", text=""), broken, STOP)
    failed = events[-1]
    assert isinstance(failed, StreamFailed)
    assert isinstance(failed.error, UpstreamError)
    assert (failed.error.message, failed.error.may_have_billed) == (expected, True)


def test_the_name_of_the_event_stands_in_for_a_missing_type() -> None:
    reader = DIALECT.read_stream()
    assert list(reader.feed(Frame(b"", b"{}", event="message_stop"))) == []
    assert list(reader.end()) == []
    assert list(reader.feed(Frame(b": comment", None))) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "index", "delta", "content_block", "message", "usage", "text"]
            ),
            inner | st.sampled_from(["text", "text_delta", "tool_use", "message_delta", "error"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON | st.binary(max_size=9), max_size=6))
def test_no_stream_whatever_raises_and_all_end_or_fail(payloads: list[Any]) -> None:
    frames = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in payloads]
    events = events_of(*frames)
    failures = [event for event in events if isinstance(event, StreamFailed)]
    assert len(failures) <= 1
    assert not failures or events[-1] is failures[0]
    assert all(isinstance(e.text, str) for e in events if isinstance(e, TextDelta | ReasoningDelta))


@given(JSON)
def test_no_reply_whatever_breaks_the_reader(body: Any) -> None:
    refusal: UpstreamError | None = None
    try:
        DIALECT.read_reply(body)
    except UpstreamError as error:
        refusal = error
    assert refusal is None or refusal.may_have_billed


CONTENT = st.lists(
    st.builds(lambda t: {"type": "text", "text": t}, st.text())
    | st.builds(
        lambda t, s: {"type": "thinking", "thinking": t, "signature": s},
        st.text(),
        st.text("abc", min_size=1),
    )
    | st.builds(lambda d: {"type": "redacted_thinking", "data": d}, st.text("xyz", min_size=1))
    | st.builds(
        lambda i, n, a: {"type": "tool_use", "id": i, "name": n, "input": a},
        st.text(), st.text(), st.dictionaries(st.text(), st.integers(-9, 9) | st.text()),
    ),
    max_size=6,
)  # fmt: skip
COUNTS = st.fixed_dictionaries(
    {"input_tokens": st.integers(0, 2**53), "output_tokens": st.integers(0, 2**53)},
    optional={"cache_read_input_tokens": st.integers(0, 99) | st.none()},
)


def streamed(content: list[dict[str, Any]], reason: str, usage: Any, cut: int) -> list[Any]:
    """What Anthropic would stream for a message, its texts cut after `cut` characters."""
    events: list[Any] = [start(**{**usage, "output_tokens": 1})]
    for index, whole in enumerate(content):
        halves: list[Any] = []
        opening = dict(whole)
        for field, kind in (("text", "text"), ("thinking", "thinking"), ("signature", "signature")):
            if field in whole:
                opening[field] = ""
                parts = [whole[field]] if field == "signature" else cut_at(whole[field], cut)
                halves += [{"type": f"{kind}_delta", field: part} for part in parts]
        if whole["type"] == "tool_use":
            opening["input"] = {}
            halves += [pieces(p) for p in cut_at(json.dumps(whole["input"], separators=(",", ":"),
                                                            ensure_ascii=False), cut)]  # fmt: skip
        events += block(index, *halves, **opening)
    return [*events, delta(reason, output_tokens=usage["output_tokens"]), STOP]


def cut_at(text: str, cut: int) -> list[str]:
    return [text[:cut], text[cut:]]


@given(CONTENT, st.sampled_from(["end_turn", "tool_use", "refusal"]), COUNTS, st.integers(0, 5))
def test_folding_a_stream_gives_the_reply(content: Any, reason: str, usage: Any, cut: int) -> None:
    reply = DIALECT.read_reply({"content": content, "stop_reason": reason, "usage": usage})
    assert fold(events_of(*streamed(content, reason, usage, cut))) == reply
