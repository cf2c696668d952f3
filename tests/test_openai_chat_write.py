"""Chat replies and chunks as we write them: what the official SDK reads, in every byte."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai_words import FRONT, HEAD, UPSTREAM, chunks, events_of, write

from modelbridge.errors import UpstreamError
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

CONVERSATION: list[StreamEvent] = [
    ReasoningDelta("Hm, "),
    ReasoningDelta("a city."),
    ReasoningDelta(signature="c2ln"),
    ReasoningDelta(redacted="eHg="),
    TextDelta("Let me \n“look” 😀"),
    ToolCallStart(0, "call_1", "weather"),
    ToolCallDelta(0, '{"city":'),
    ToolCallDelta(0, '"Oslo"}'),
    ToolCallStart(1, "call_2", "now"),
    Finish("tool_calls"),
    UsageReported(Usage(input=10, cache_read=5, cache_write=2, output=20, reasoning=8)),
]
USAGE = {
    "prompt_tokens": 17,
    "completion_tokens": 20,
    "total_tokens": 37,
    "prompt_tokens_details": {"cached_tokens": 5, "audio_tokens": 0, "cache_write_tokens": 2},
    "completion_tokens_details": {
        "reasoning_tokens": 8,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def test_a_written_reply_is_what_the_sdk_reads() -> None:
    body = FRONT.write_reply(fold(CONVERSATION), HEAD)
    ChatCompletion.model_validate(body, strict=True)
    assert body == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Let me \n“look” 😀",
                    "refusal": None,
                    "reasoning_content": "Hm, a city.",
                    "thinking_blocks": [
                        {"type": "thinking", "thinking": "Hm, a city.", "signature": "c2ln"},
                        {"type": "redacted_thinking", "data": "eHg="},
                    ],
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                        },
                        {
                            "id": "call_2",
                            "type": "function",
                            "function": {"name": "now", "arguments": "{}"},
                        },
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
        "usage": USAGE,
    }


def test_a_reply_with_tool_calls_alone_has_no_content() -> None:
    reply = Reply(tool_calls=[ToolCallMade("c", "f")], reasoning="Hm")
    message = FRONT.write_reply(reply, HEAD)["choices"][0]["message"]
    assert message["content"] is None
    assert "thinking_blocks" not in message
    assert FRONT.write_reply(Reply(), HEAD)["choices"][0]["message"]["content"] == ""


def test_a_reply_written_and_read_is_the_same_reply() -> None:
    reply = fold(CONVERSATION)
    reply.tool_calls[1].arguments = "{}"
    assert UPSTREAM.read_reply(FRONT.write_reply(reply, HEAD)) == reply


def test_a_written_stream_is_what_the_sdk_reads() -> None:
    data = write(CONVERSATION, include_usage=True, cost="0.0000123")
    assert data.endswith(b"\n\ndata: [DONE]\n\n")
    written = chunks(data)
    for chunk in written:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert {k: chunk[k] for k in ("id", "object", "created", "model")} == {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_760_000_000,
            "model": "gpt-4o",
        }
    *answer, usage = written
    assert usage["choices"] == []
    assert usage["usage"] == {**USAGE, "cost": "0.0000123"}
    assert all(chunk["usage"] is None for chunk in answer)
    assert [chunk["choices"][0]["delta"] for chunk in answer] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"reasoning_content": "Hm, "},
        {"reasoning_content": "a city."},
        {"thinking_blocks": [{"type": "thinking", "thinking": "Hm, a city.", "signature": "c2ln"}]},
        {"thinking_blocks": [{"type": "redacted_thinking", "data": "eHg="}]},
        {"content": "Let me \n“look” 😀"},
        call(0, id="call_1", type="function", function={"name": "weather", "arguments": ""}),
        call(0, function={"arguments": '{"city":'}),
        call(0, function={"arguments": '"Oslo"}'}),
        call(1, id="call_2", type="function", function={"name": "now", "arguments": ""}),
        call(1, function={"arguments": "{}"}),
        {},
    ]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in answer]
    assert reasons == [None] * 11 + ["tool_calls"]


def call(index: int, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **fields}]}


def test_the_usage_is_written_only_if_it_was_asked_for() -> None:
    assert b"usage" not in write(CONVERSATION, include_usage=False, cost="0.01")
    assert b"prompt_tokens" not in write([TextDelta("x")], include_usage=True)


def test_a_stream_that_opens_with_a_tool_call_has_no_content() -> None:
    data = write([ToolCallStart(0, "c", "f"), Finish("tool_calls")], include_usage=False)
    assert chunks(data)[0]["choices"][0]["delta"]["content"] is None


def test_a_failed_stream_ends_with_the_error_and_without_the_end_mark() -> None:
    error = UpstreamError("boom", may_have_billed=True)
    events: list[StreamEvent] = [TextDelta("x"), StreamFailed(error), Finish("stop")]
    data = write(events, include_usage=True)
    assert chunks(data)[-1] == {
        "error": {
            "message": "boom",
            "type": "server_error",
            "param": None,
            "code": "upstream_error",
        }
    }
    assert b"[DONE]" not in data
    assert b'"stop"' not in data
    assert FRONT.write_stream_error(error, "req_1") == data[data.rindex(b"data: ") :]


TEXTS = st.text(min_size=1, max_size=9)
EVENTS = st.lists(TEXTS.map(TextDelta) | TEXTS.map(ReasoningDelta), max_size=6).map(
    lambda events: [*events, Finish("length"), UsageReported(Usage(input=3, output=9, reasoning=1))]
)


@given(EVENTS, st.booleans())
def test_any_text_survives_being_streamed(events: list[Any], include_usage: bool) -> None:
    data = write(events, include_usage=include_usage)
    for chunk in chunks(data):
        ChatCompletionChunk.model_validate(chunk, strict=True)
    expected = fold(events)
    if not include_usage:
        expected.usage = None
    assert fold(events_of(data)) == expected


def test_a_frame_is_one_line_whatever_is_in_the_text() -> None:
    writer = FRONT.write_stream(HEAD, include_usage=False)
    data = writer.write(TextDelta("a\r\n\ndata: [DONE]\n\n\u2028"))
    assert data.count(b"\n\n") == 2
    assert json.loads(data.split(b"\n\n")[1][6:])["choices"][0]["delta"]["content"].startswith("a")


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter"])
def test_every_finish_reason_can_be_said(reason: Any) -> None:
    data = write([TextDelta("x"), Finish(reason)], include_usage=False)
    assert chunks(data)[-1]["choices"][0]["finish_reason"] == reason


def test_a_refusal_in_words_stands_in_its_own_field() -> None:
    reply = Reply(refusal="I am sorry.", finish_reason="content_filter")
    (choice,) = FRONT.write_reply(reply, HEAD)["choices"]
    assert (choice["message"]["content"], choice["message"]["refusal"]) == (None, "I am sorry.")
    assert choice["finish_reason"] == "stop"
    assert UPSTREAM.read_reply({"choices": [choice]}) == reply
    events: list[StreamEvent] = [TextDelta("No.", refusal=True), Finish("content_filter")]
    data = write(events, include_usage=False)
    assert b'"delta":{"refusal":"No."}' in data
    assert b'"finish_reason":"stop"' in data
