"""Frames and replies that pass untouched, and what the meter learns from them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from openai_words import FRONT, events_of
from recordings import available, recording

from modelbridge.dialects.base import Seen
from modelbridge.dialects.openai_usage import read_usage, write_usage
from modelbridge.gateway.relay import Passthrough
from modelbridge.money import Usage
from modelbridge.wire.reply import ReasoningDelta, TextDelta, ToolCallDelta
from modelbridge.wire.sse import Frame, FrameReader, data_frame, parse_frame

recorded = pytest.mark.skipif(not available, reason="recordings not present")
STREAMS = [
    "openai-chat-stream-tool-call",
    "groq-chat-stream-reasoning-tool-call",
    "openrouter-chat-stream-reasoning",
    "aisdk-mistral-stream-tool-call",
]
COUNTS = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def frame(body: Any) -> Frame:
    return parse_frame(data_frame(json.dumps(body).encode()))


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> Frame:
    return frame({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more})


# The meter


def test_text_is_counted_in_bytes_of_utf8_whatever_its_kind() -> None:
    function = {"name": "f", "arguments": '{"é"'}
    for delta, size in (
        ({"content": "héllo 😀"}, 11),
        ({"reasoning_content": "hm"}, 2),
        ({"reasoning": "hm"}, 2),
        ({"refusal": "nein"}, 4),
        ({"tool_calls": [{"index": 0, "function": function}]}, 6),
        ({"tool_calls": [{"index": 0, "custom": {"name": "s", "input": "ls"}}]}, 3),
        ({"function_call": {"arguments": "{}"}}, 2),
        ({"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}]}, 2),
        ({"role": "assistant", "content": None}, 0),
    ):
        assert FRONT.inspect(chunk(delta)) == Seen(text_bytes=size)


def test_every_choice_is_counted() -> None:
    choices = [{"index": at, "delta": {"content": "abc"}} for at in range(3)]
    assert FRONT.inspect(frame({"choices": choices})).text_bytes == 9


def test_end_marks_and_comments_are_known() -> None:
    assert FRONT.inspect(parse_frame(b"data: [DONE]\n\n")) == Seen(done=True)
    assert FRONT.inspect(parse_frame(b": ping\n\n")) == Seen()


def test_usage_is_final_without_choices_or_beside_a_finish_reason() -> None:
    usage = Usage(input=10, output=4)
    assert FRONT.inspect(frame({"choices": [], "usage": COUNTS})) == Seen(usage, final=True)
    assert FRONT.inspect(chunk({}, "stop", usage=COUNTS)) == Seen(usage, True, finished=True)
    assert FRONT.inspect(chunk({"content": "x"}, usage=COUNTS)) == Seen(usage, text_bytes=1)
    assert FRONT.inspect(chunk({}, "stop", usage=None)) == Seen(finished=True)


def test_a_final_usage_that_cannot_be_believed_is_final_all_the_same() -> None:
    seen = FRONT.inspect(frame({"choices": [], "usage": {**COUNTS, "prompt_tokens": -1}}))
    assert seen == Seen(usage=None, final=True)


@pytest.mark.parametrize(
    "raw",
    [
        b'data: {"error": {"message": "boom"}}\n\n',
        b'event: error\ndata: {"message": "boom"}\n\n',
        b'data: {"choices": [{"delta": {}}], "error": {"code": 502, "message": "boom"}}\n\n',
    ],
)
def test_an_error_in_mid_stream_is_seen_with_its_message(raw: bytes) -> None:
    error = FRONT.inspect(parse_frame(raw)).error
    assert error is not None
    assert "boom" in error.message
    assert error.retry is False


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b"null"])
def test_bytes_that_are_no_chunk_are_an_error(data: bytes) -> None:
    assert FRONT.inspect(parse_frame(data_frame(data))).error is not None


@recorded
@pytest.mark.parametrize("name", STREAMS)
def test_the_meter_counts_what_the_reader_reads(name: str) -> None:
    data = recording(name).body
    seen = [FRONT.inspect(frame) for frame in FrameReader().feed(data)]
    produced = 0
    names = 0
    for event in events_of(data):
        if isinstance(event, TextDelta | ReasoningDelta):
            produced += len(event.text.encode())
        elif isinstance(event, ToolCallDelta):
            produced += len(event.arguments.encode())
        names += len(getattr(event, "name", ""))
    assert sum(s.text_bytes for s in seen) == produced + names
    assert [s.usage for s in seen if s.usage]
    assert seen[-1].done
    assert any(s.finished for s in seen)
    assert not any(s.error for s in seen)


@recorded
@pytest.mark.parametrize("name", STREAMS)
def test_every_recorded_usage_waits_for_the_settlement_and_shows_the_cost(name: str) -> None:
    relay = Passthrough(FRONT, include_usage=True)
    frames = FrameReader().feed(recording(name).body)
    passed = b"".join(relay.frame(frame) for frame in frames)
    assert relay.meter.final
    assert b'"usage":{' not in passed
    assert b'"cost":"0.01"' in relay.tail("0.01")


# The usage frame


def test_the_cost_is_added_to_the_usage_that_was_asked_for() -> None:
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    sent = frame({**body, "usage": COUNTS, "unknown": 1})
    written = FRONT.write_usage_frame(sent, "0.000031", include_usage=True)
    told = json.loads(written[6:])
    assert told == {**body, "usage": {**COUNTS, "cost": "0.000031"}, "unknown": 1}
    ChatCompletionChunk.model_validate(told, strict=True)


def test_an_upstreams_own_cost_is_never_taken_for_ours() -> None:
    sent = frame({"choices": [], "usage": {**COUNTS, "cost": 0.5}})
    assert (
        json.loads(FRONT.write_usage_frame(sent, None, include_usage=True)[6:])["usage"] == COUNTS
    )


def test_a_usage_frame_that_nobody_asked_for_vanishes() -> None:
    sent = frame({"choices": [], "usage": COUNTS})
    assert FRONT.write_usage_frame(sent, "0.01", include_usage=False) == b""


def test_a_finish_chunk_only_loses_the_usage_that_nobody_asked_for() -> None:
    sent = chunk({}, "stop", usage=COUNTS, x_groq={"id": "r", "usage": COUNTS})
    written = FRONT.write_usage_frame(sent, "0.01", include_usage=False)
    assert json.loads(written[6:]) == {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "x_groq": {"id": "r"},
    }


def test_usage_that_groq_hides_is_shown_where_it_belongs() -> None:
    sent = chunk({}, "stop", x_groq={"usage": COUNTS})
    told = json.loads(FRONT.write_usage_frame(sent, "0.01", include_usage=True)[6:])
    assert told["usage"] == {**COUNTS, "cost": "0.01"}


# Counts


@recorded
def test_the_usage_of_an_untouched_reply_is_found() -> None:
    assert FRONT.find_usage(recording("openai-chat-text").body) == Usage(input=14, output=7)
    assert FRONT.find_usage(b'{"choices": []}') is None
    assert FRONT.find_usage(b'{"usage"') is None
    assert FRONT.find_usage(b'["usage"]') is None


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 6}}, Usage(input=4, cache_read=6, output=4)),
        ({"prompt_cache_hit_tokens": 6}, Usage(input=4, cache_read=6, output=4)),
        ({"cached_tokens": 6}, Usage(input=4, cache_read=6, output=4)),
        (
            {"cached_tokens": 6, "prompt_tokens_details": {"cached_tokens": 6}},
            Usage(input=4, cache_read=6, output=4),
        ),
        (
            {"prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 5}},
            Usage(input=3, cache_read=2, cache_write=5, output=4),
        ),
        ({"prompt_tokens_details": {"audio_tokens": 7}}, Usage(input=3, audio_input=7, output=4)),
        (
            {"completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 1}},
            Usage(input=10, output=3, audio_output=1, reasoning=3),
        ),
        # xAI: reasoning beside the completion; Gemini: nameless
        (
            {"total_tokens": 34, "completion_tokens_details": {"reasoning_tokens": 20}},
            Usage(input=10, output=24, reasoning=20),
        ),
        ({"total_tokens": 34}, Usage(input=10, output=24, reasoning=20)),
        ({"total_tokens": None}, Usage(input=10, output=4)),
        ({"prompt_tokens_details": None, "cost": 0.1}, Usage(input=10, output=4)),
        ({"completion_tokens": 0, "total_tokens": 10}, Usage(input=10)),
    ],
)
def test_counts_become_disjoint_classes(told: dict[str, Any], counted: Usage) -> None:
    assert read_usage({**COUNTS, **told}) == counted


@pytest.mark.parametrize("absurd", [-1, True, 1.0, "10", 2**53 + 1, [], {}])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_an_absurd_count_is_no_count(name: str, absurd: object) -> None:
    assert read_usage({**COUNTS, name: absurd}) is None


@pytest.mark.parametrize(
    "told",
    [
        {"prompt_tokens": None},
        {"completion_tokens": None},
        {"prompt_tokens_details": {"cached_tokens": 11}},
        {"prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens_details": []},
        {"completion_tokens_details": {"audio_tokens": 5}},
        {"completion_tokens_details": {"reasoning_tokens": 9}},
    ],
)
def test_counts_that_contradict_each_other_are_no_counts(told: dict[str, Any]) -> None:
    assert read_usage({**COUNTS, **told}) is None


COUNT = st.integers(0, 10**6)


@given(st.builds(Usage, COUNT, COUNT, COUNT, st.just(0), COUNT, COUNT, COUNT))
def test_usage_written_is_usage_read(usage: Usage) -> None:
    assert read_usage(write_usage(usage)) == usage
