"""What Gemini answers, and what Alice gets of it."""

import json
from contextlib import suppress
from typing import Any

import pytest
from anthropic_words import JSON
from gemini_words import DIALECT, chunk, events_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import available, recording

from modelbridge.dialects.gemini_signatures import END, THOUGHT, mark, place_of
from modelbridge.errors import UpstreamError, UpstreamRateLimited
from modelbridge.jsonio import dumps
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
from modelbridge.wire.sse import FrameReader

# A busy machine is no fault of the format.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
recorded = pytest.mark.skipif(not available, reason="recordings not present")


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"text": words, **more}


def call(name: str, more: Any = None, **inner: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **inner}, **(more or {})}


# Recordings


@recorded
@pytest.mark.parametrize(
    ("name", "usage", "begins"),
    [
        ("gemini-text", Usage(input=9, output=43, reasoning=34), "Hello! How can I help"),
        ("gemini-json-schema", Usage(input=8, output=20), '{\n  "city": "Mexico City"'),
    ],
)
def test_recorded_replies_are_read(name: str, usage: Usage, begins: str) -> None:
    reply = DIALECT.read_reply(recording(name).json())
    assert (reply.usage, reply.finish_reason) == (usage, "stop")
    assert reply.text.startswith(begins)


@recorded
def test_a_recorded_call_of_a_tool_is_read() -> None:
    reply = DIALECT.read_reply(recording("gemini-tool-call").json())
    (made,) = reply.tool_calls
    assert (made.name, made.arguments, reply.finish_reason) == (
        "get_user_country",
        "{}",
        "tool_calls",
    )
    assert made.id.startswith("call_")
    again = DIALECT.read_reply(recording("gemini-tool-call").json())
    assert again == reply


@recorded
def test_a_recorded_block_is_a_filter_and_its_prompt_is_billed() -> None:
    reply = DIALECT.read_reply(recording("gemini-safety-settings").json())
    assert (reply.text, reply.finish_reason) == ("", "content_filter")
    assert reply.usage == Usage(input=14)


def replayed(stream: bytes, size: int) -> list[StreamEvent]:
    """The events of a recorded stream that arrives in pieces of `size` bytes."""
    frames, reader = FrameReader(), DIALECT.read_stream()
    found: list[StreamEvent] = []
    for at in range(0, len(stream), size):
        for frame in frames.feed(stream[at : at + size]):
            found += reader.feed(frame)
    return [*found, *reader.end()]


def as_one(stream: bytes) -> dict[str, Any]:
    """The reply that would have said what a stream said, with its parts as they came."""
    chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: ")]
    parts = [part for one in chunks for part in one["candidates"][0]["content"]["parts"]]
    whole: dict[str, Any] = chunks[-1]
    whole["candidates"][0]["content"]["parts"] = parts
    return whole


@recorded
@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("gemini-stream-text", Usage(input=13, output=8)),
        ("gemini-stream-tool-call", Usage(input=52, output=5)),
        ("aisdk-gemini-stream-reasoning", Usage(input=9, output=285, reasoning=256)),
    ],
)
def test_folding_a_recorded_stream_gives_the_reply(name: str, usage: Usage, size: int) -> None:
    stream = recording(name).body
    reply = fold(replayed(stream, size))
    assert reply == DIALECT.read_reply(as_one(stream))
    assert (reply.usage, reply.error) == (usage, None)


@recorded
@pytest.mark.parametrize("name", ["gemini-stream-text", "aisdk-gemini-stream-reasoning"])
def test_a_recorded_stream_that_is_cut_short_never_looks_finished(name: str) -> None:
    stream = recording(name).body
    last = stream.rstrip().rfind(b"data: ")
    events = replayed(stream[:last], 1000)
    assert isinstance(events[-1], StreamFailed)
    assert not any(isinstance(event, Finish) for event in events)
    assert not any(isinstance(event, UsageReported) and event.final for event in events)


# Parts


def test_a_stream_with_everything_in_it() -> None:
    events = events_of(
        chunk(text("Hm", thought=True), promptTokenCount=5, totalTokenCount=5),
        chunk(text("m.", thought=True), text("He")),
        chunk(text("llo", thoughtSignature="S1")),
        chunk(call("one", {"thoughtSignature": "S2"}, id="x", args={"a": "é"}), call("two")),
        chunk(reason="STOP", promptTokenCount=5, candidatesTokenCount=3, thoughtsTokenCount=4),
    )
    made = events[7].id if isinstance(events[7], ToolCallStart) else ""
    assert events == [
        ReasoningDelta("Hm"),
        UsageReported(Usage(input=5), final=False),
        ReasoningDelta("m."),
        TextDelta("He"),
        TextDelta("llo"),
        ReasoningDelta(signature=mark(END, "S1")),
        ReasoningDelta(signature=mark(place_of("x"), "S2")),
        ToolCallStart(0, "x", "one"),
        ToolCallDelta(0, '{"a":"é"}'),
        ToolCallStart(1, events[9].id if isinstance(events[9], ToolCallStart) else made, "two"),
        ToolCallDelta(1, "{}"),
        Finish("tool_calls"),
        UsageReported(Usage(input=5, output=7, reasoning=4), final=True),
    ]
    reply = fold(events)
    assert (reply.text, reply.reasoning) == ("Hello", "Hmm.")
    assert reply.thinking == [
        {"type": "thinking", "thinking": "Hmm.", "signature": mark(END, "S1")},
        {"type": "thinking", "thinking": "", "signature": mark(place_of("x"), "S2")},
    ]
    assert reply.tool_calls[0] == ToolCallMade("x", "one", '{"a":"é"}')


def test_a_thought_may_be_signed_itself_and_parts_of_googles_own_tools_say_nothing() -> None:
    ran = {"executableCode": {"code": "1"}}
    parts: Any = (ran, {"inlineData": {}}, text("T", thought=True, thoughtSignature="S"), text(""))
    assert events_of(chunk(*parts, reason="STOP")) == [
        ReasoningDelta("T", signature=mark(THOUGHT, "S")),
        Finish("stop"),
    ]


def test_calls_without_ids_get_different_ones_each_the_same_at_every_reading() -> None:
    body = chunk(call("one"), call("one"), reason="STOP")
    first, second = DIALECT.read_reply(body).tool_calls
    assert first.id != second.id
    assert [first, second] == DIALECT.read_reply(body).tool_calls
    apart = fold(events_of(chunk(call("one")), chunk(call("one")), chunk(reason="STOP")))
    assert apart.tool_calls == [first, second]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("OTHER", "content_filter"),
        ("INVENTED_TOMORROW", "content_filter"),
    ],
)
def test_every_reason_to_stop_is_told(theirs: str, ours: str) -> None:
    body = chunk(text("a"), reason=theirs, promptTokenCount=1)
    assert DIALECT.read_reply(body).finish_reason == ours
    assert fold(events_of(body)).finish_reason == ours


def test_a_prompt_that_is_blocked_is_a_filter() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}}
    expected = Reply(finish_reason="content_filter", usage=Usage(input=7))
    assert DIALECT.read_reply(body) == expected
    assert fold(events_of(body)) == expected


@pytest.mark.parametrize(
    "reason",
    ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"],
)
def test_an_answer_that_cannot_be_read_has_failed_and_is_billed_as_counted(reason: str) -> None:
    body = chunk(reason=reason, promptTokenCount=3, candidatesTokenCount=2)
    usage, failed = events_of(body)
    assert usage == UsageReported(Usage(input=3, output=2), final=True)
    assert isinstance(failed, StreamFailed)
    assert failed.error.message.startswith("The model ")
    reply = DIALECT.read_reply(body)
    assert reply.usage == Usage(input=3, output=2)
    assert isinstance(reply.error, UpstreamError)
    assert reply.error.may_have_billed
    with pytest.raises(UpstreamError, match="The model") as failure:
        DIALECT.read_reply(chunk(reason=reason))
    assert failure.value.may_have_billed


# Usage


def usage_of(**counts: Any) -> Usage | None:
    return DIALECT.read_reply({**chunk(text("a")), "usageMetadata": counts}).usage


def heard(tokens: int, modality: str = "AUDIO") -> list[dict[str, Any]]:
    return [{"modality": "TEXT", "tokenCount": 1}, {"modality": modality, "tokenCount": tokens}]


def test_usage_comes_in_disjoint_classes() -> None:
    assert usage_of(
        promptTokenCount=100,
        cachedContentTokenCount=30,
        candidatesTokenCount=7,
        thoughtsTokenCount=5,
        toolUsePromptTokenCount=11,
        totalTokenCount=123,
        promptTokensDetails=heard(50),
        cacheTokensDetails=heard(20),
    ) == Usage(input=51, cache_read=30, audio_input=30, output=12, reasoning=5)
    assert usage_of(promptTokenCount=9, promptTokensDetails=heard(9, "VIDEO")) == Usage(input=9)
    assert usage_of(
        promptTokenCount=2, candidatesTokenCount=9, candidatesTokensDetails=heard(8)
    ) == Usage(input=2, output=1, audio_output=8)


@pytest.mark.parametrize(
    ("counts", "output", "reasoning"),
    [
        ({"candidatesTokenCount": 9, "thoughtsTokenCount": 4, "totalTokenCount": 23}, 13, 4),
        ({"candidatesTokenCount": 9, "thoughtsTokenCount": 4, "totalTokenCount": 19}, 9, 4),
        ({"candidatesTokenCount": 9, "totalTokenCount": 25}, 15, 0),
        ({"thoughtsTokenCount": 4}, 4, 4),
        ({"totalTokenCount": 10}, 0, 0),
        ({}, 0, 0),
    ],
)
def test_thoughts_are_billed_once(counts: Any, output: int, reasoning: int) -> None:
    expected = Usage(input=10, output=output, reasoning=reasoning)
    assert usage_of(promptTokenCount=10, **counts) == expected


@pytest.mark.parametrize("absurd", [-1, "5", 1.5, True, 2**53 + 1, [], {}])
@pytest.mark.parametrize("name", ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"])
def test_an_absurd_count_makes_the_report_worth_nothing(name: str, absurd: Any) -> None:
    assert usage_of(**{"promptTokenCount": 1, name: absurd}) is None


def test_counts_that_contradict_each_other_are_absurd_and_none_is_not_zero() -> None:
    assert usage_of(promptTokenCount=1, cachedContentTokenCount=2) is None
    assert usage_of(promptTokenCount=1, promptTokensDetails="x") is None
    assert usage_of(promptTokenCount=1, promptTokensDetails=["x"]) is None
    assert usage_of(candidatesTokenCount=2) is None
    assert DIALECT.read_reply(chunk(text("a"))).usage is None


# What is broken


@pytest.mark.parametrize(
    "body", [{}, {"candidates": []}, {"candidates": [1]}, {"candidates": {"a": 1}}]
)
def test_what_is_no_reply_may_still_be_on_the_bill(body: Any) -> None:
    with pytest.raises(UpstreamError, match="no reply") as failure:
        DIALECT.read_reply(body)
    assert failure.value.may_have_billed


@pytest.mark.parametrize(
    "broken",
    [b"{", b"7", b"[]", b"null", b'{"candidates": 7}', b'{"candidates":[{"content":7}]}', b"\xff"],
)
def test_a_broken_event_fails_the_stream_once_and_for_all(broken: bytes) -> None:
    events = events_of(chunk(text("a")), broken, chunk(text("b"), reason="STOP"))
    assert events[0] == TextDelta("a")
    assert isinstance(events[1], StreamFailed)
    assert len(events) == 2


def test_an_error_after_the_200_is_told_without_googles_words() -> None:
    status = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "project 123"}
    (failed,) = events_of({"error": status})
    assert isinstance(failed, StreamFailed)
    assert isinstance(failed.error, UpstreamRateLimited)
    assert "123" not in failed.error.message
    with pytest.raises(UpstreamError, match="overloaded"):
        DIALECT.read_reply({"error": {"status": "UNAVAILABLE"}})


@patiently
@given(st.lists(JSON | st.binary(max_size=9), max_size=6))
def test_no_stream_whatever_raises_and_all_end_or_fail(payloads: list[Any]) -> None:
    fold(events_of(*payloads))


WORDS, SIGNATURES = st.text(max_size=5), st.text(max_size=3)
NAMES = st.text(min_size=1, max_size=3)
ARGUMENTS = st.dictionaries(st.text(max_size=2), st.integers(0, 9), max_size=2)
PARTS = st.one_of(
    st.builds(text, WORDS),
    st.builds(lambda words: text(words, thought=True), WORDS),
    st.builds(lambda words, s: text(words, thoughtSignature=s), WORDS, SIGNATURES),
    st.builds(lambda name, args: call(name, args=args), NAMES, ARGUMENTS),
    st.builds(lambda name, s: call(name, {"thoughtSignature": s}, id="x" + s), NAMES, SIGNATURES),
)


@patiently
@given(st.lists(PARTS, max_size=8), st.data())
def test_folding_a_stream_gives_the_reply_however_its_parts_are_cut(parts: Any, data: Any) -> None:
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 2}
    whole = chunk(*parts, reason="STOP", **counts)
    cut = data.draw(st.integers(0, len(parts)))
    pieces = [chunk(*parts[:cut]), chunk(*parts[cut:]), chunk(reason="STOP", **counts)]
    assert fold(events_of(*pieces)) == DIALECT.read_reply(whole)


@patiently
@given(st.dictionaries(st.sampled_from(["candidates", "promptFeedback", "usageMetadata"]), JSON))
def test_no_reply_whatever_breaks_the_reader(body: Any) -> None:
    with suppress(UpstreamError):
        DIALECT.read_reply(body)
    fold(events_of(dumps(body)))
