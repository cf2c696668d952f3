"""Chat replies, streamed and not, as real servers send them and as odd ones do."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from openai_words import FRONT, UPSTREAM, as_frames, chunks, events_of, stream_of, write
from recordings import available, recording

from modelbridge.errors import UpstreamError
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    Reply,
    StreamFailed,
    TextDelta,
    ToolCallMade,
    UsageReported,
    fold,
)
from modelbridge.wire.sse import parse_frame

recorded = pytest.mark.skipif(not available, reason="recordings not present")


# Replies of real servers


@recorded
def test_a_plain_answer_is_read() -> None:
    reply = UPSTREAM.read_reply(recording("openai-chat-text").json())
    assert reply == Reply(
        text="The capital of France is Paris.",
        finish_reason="stop",
        usage=Usage(input=14, output=7),
    )


@recorded
def test_deepseeks_and_ollamas_thinking_is_read() -> None:
    deepseek = UPSTREAM.read_reply(recording("deepseek-chat-reasoning-content").json())
    assert deepseek.reasoning.startswith("Okay, the user is asking")
    assert deepseek.usage == Usage(input=12, output=789, reasoning=415)
    ollama = UPSTREAM.read_reply(recording("ollama-chat-tool-call").json())
    assert ollama.reasoning.startswith("We need to answer")
    assert ollama.text == "Paris."


@recorded
def test_geminis_tool_call_gets_an_id_and_its_hidden_thinking_is_counted() -> None:
    body = recording("gemini-openai-compat-tool-call-without-id").json()
    reply = UPSTREAM.read_reply(body)
    (call,) = reply.tool_calls
    assert (call.name, call.arguments) == ("get_current_time", "{}")
    assert call.id.startswith("call_")
    assert reply.usage == Usage(input=35, output=74, reasoning=62)
    assert UPSTREAM.read_reply(body) == reply


@recorded
def test_openais_streamed_tool_call_folds_into_one() -> None:
    reply = fold(events_of(recording("openai-chat-stream-tool-call").body))
    assert reply == Reply(
        tool_calls=[
            ToolCallMade("call_ZR5UUuTt3pf61kjwAJIYdVMj", "get_capital", '{"country":"UK"}')
        ],
        finish_reason="tool_calls",
        usage=Usage(input=53, output=15),
    )


@recorded
def test_groqs_reasoning_and_mistrals_call_without_index_are_read() -> None:
    groq = fold(events_of(recording("groq-chat-stream-reasoning-tool-call").body))
    assert groq.reasoning.startswith("We need to call the function")
    assert groq.tool_calls[0].arguments == '{"name":"example"}'
    assert groq.usage == Usage(input=304, output=49, reasoning=23)
    mistral = fold(events_of(recording("aisdk-mistral-stream-tool-call").body))
    assert mistral.tool_calls == [
        ToolCallMade("gSIMJiOkT", "weather", '{"location": "San Francisco"}')
    ]
    assert mistral.usage == Usage(input=124, output=22)


@recorded
def test_openrouters_usage_after_the_finish_is_final() -> None:
    events = events_of(recording("openrouter-chat-stream-reasoning").body)
    assert events[-1] == UsageReported(Usage(input=43, output=36, reasoning=13), final=True)
    assert fold(events).text.endswith("2 + 2 = 4")


STREAMS = [
    "openai-chat-stream-tool-call",
    "groq-chat-stream-reasoning-tool-call",
    "openrouter-chat-stream-reasoning",
    "aisdk-mistral-stream-tool-call",
]


@recorded
@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_read_written_and_read_again_says_the_same(name: str) -> None:
    events = events_of(recording(name).body)
    written = write(events, include_usage=True)
    for chunk in chunks(written):
        ChatCompletionChunk.model_validate(chunk, strict=True)
    assert fold(events_of(written)) == fold(events)


@recorded
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("dropped_bytes", [1, 40, 400])
def test_a_recorded_stream_that_is_cut_short_never_looks_finished(
    name: str, dropped_bytes: int
) -> None:
    body = recording(name).body.rstrip()
    finish = max(body.rfind(b'"finish_reason":"'), body.rfind(b'"native_finish_reason":"'))
    events = events_of(body[: min(finish, len(body)) - dropped_bytes])
    assert isinstance(events[-1], StreamFailed)
    assert not any(isinstance(event, Finish) for event in events)


# Odd streams


def calls_of(*deltas: dict[str, Any], finish: str = "tool_calls") -> list[ToolCallMade]:
    reply = fold(
        events_of(stream_of(*({"tool_calls": [delta]} for delta in deltas), finish=finish))
    )
    assert reply.error is None
    assert reply.finish_reason == "tool_calls"
    return reply.tool_calls


def function(arguments: Any, name: str | None = None) -> dict[str, Any]:
    return {"name": name, "arguments": arguments} if name else {"arguments": arguments}


def test_two_calls_that_share_index_and_empty_id_stay_two() -> None:
    first = {"index": 0, "id": "", "function": function('{"a":1}', "f")}
    second = {"index": 0, "id": "", "function": function('{"a":2}', "f")}
    found = calls_of(first, second, finish="stop")
    assert [call.arguments for call in found] == ['{"a":1}', '{"a":2}']
    assert found[0].id != found[1].id


def test_two_calls_that_share_an_index_but_not_an_id_stay_two() -> None:
    first = {"index": 0, "id": "x", "function": function("{}", "f")}
    second = {"index": 0, "id": "y", "function": function("{}", "g")}
    assert calls_of(first, second) == [ToolCallMade("x", "f", "{}"), ToolCallMade("y", "g", "{}")]


def test_parallel_calls_may_take_turns() -> None:
    found = calls_of(
        {"index": 0, "id": "x", "function": function("", "f")},
        {"index": 1, "id": "y", "function": function("", "g")},
        {"index": 0, "function": function('{"a":')},
        {"index": 1, "function": function("{}")},
        {"index": 0, "function": function("1}")},
    )
    assert [call.arguments for call in found] == ['{"a":1}', "{}"]


def test_pieces_without_index_belong_to_their_id_or_to_the_last_call() -> None:
    found = calls_of(
        {"id": "x", "function": function("{", "f")},
        {"id": "x", "function": function('"a"', "f")},
        {"function": function(":1}")},
        {"id": "y", "function": function({"b": 2}, "g")},
    )
    assert [call.arguments for call in found] == ['{"a":1}', '{"b":2}']


def test_a_repeated_name_does_not_begin_a_new_call() -> None:
    found = calls_of(
        {"index": 0, "id": "x", "function": function('{"a"', "f")},
        {"index": 0, "function": function(":1}", "f")},
    )
    assert found == [ToolCallMade("x", "f", '{"a":1}')]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("content_filter: RECITATION", "content_filter"),
        ("function_call", "tool_calls"),
    ],
)
def test_every_finish_reason_has_a_meaning(theirs: str, ours: str) -> None:
    assert fold(events_of(stream_of({"content": "x"}, finish=theirs))).finish_reason == ours


def test_a_refusal_is_no_text_and_a_content_filter() -> None:
    reply = fold(events_of(stream_of({"refusal": "I can't."})))
    assert (reply.text, reply.refusal) == ("", "I can't.")
    assert (reply.said, reply.finish_reason) == ("I can't.", "content_filter")


def test_mistrals_thinking_parts_are_reasoning() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}
    reply = fold(events_of(stream_of({"content": [thinking, {"type": "text", "text": "Hi"}]})))
    assert (reply.reasoning, reply.text) == ("Hm", "Hi")


def test_reasoning_told_under_both_names_is_told_once() -> None:
    reply = fold(events_of(stream_of({"reasoning": "Hm", "reasoning_content": "Hm"})))
    assert reply.reasoning == "Hm"


def test_a_stream_without_a_finish_reason_ends_with_its_end_mark() -> None:
    assert fold(events_of(stream_of({"content": "x"}, finish=None))).error is None


@pytest.mark.parametrize(
    "broken",
    [
        b'data: {"choices": [\n\n',
        b"data: <html>\n\n",
        b"data: []\n\n",
        b'data: {"error": {"message": "boom", "code": 500}}\n\n',
        b'data: {"error": "boom"}\n\n',
        b'event: error\ndata: {"message": "boom"}\n\n',
        b'data: {"object": "error", "message": "boom"}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}\n\n',
        b'data: {"choices": [], "error": {"message": "boom"}}\n\n',
        b"",
    ],
)
def test_a_broken_stream_fails_and_nothing_follows(broken: bytes) -> None:
    begin = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
    events = events_of(begin + broken + (stream_of({"content": "more"}) if broken else b""))
    assert events[0] == TextDelta("Hi")
    assert len(events) == 2
    assert isinstance(events[1], StreamFailed)
    error = events[1].error
    assert isinstance(error, UpstreamError)
    assert error.may_have_billed
    if b"boom" in broken:
        assert "boom" in error.message


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": []},
        {"choices": [{"message": None}]},
        {"error": {"message": "boom"}},
        {"choices": [{"message": {"content": "x"}, "finish_reason": "error"}]},
    ],
)
def test_a_body_that_is_no_reply_is_an_upstream_error(body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError) as caught:
        UPSTREAM.read_reply(body)
    assert caught.value.may_have_billed


NAMES = ["choices", "delta", "index", "content", "tool_calls", "function", "name", "arguments"]
NAMES += ["id", "finish_reason", "usage", "error", "reasoning", "thinking_blocks", "x_groq"]
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]),
    lambda inner: (
        st.dictionaries(st.sampled_from(NAMES), inner, max_size=4) | st.lists(inner, max_size=2)
    ),
    max_leaves=15,
)


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4), max_size=3))
def test_no_chunk_crashes_a_reader(bodies: list[dict[str, Any]]) -> None:
    data = as_frames({"choices": [{"delta": body}], **body} for body in bodies)
    fold(events_of(data))
    for frame in data.split(b"\n\n"):
        FRONT.inspect(parse_frame(frame + b"\n\n"))
