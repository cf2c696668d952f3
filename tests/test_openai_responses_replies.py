"""What an upstream answers in the Responses format, and what a client of it gets."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_schema import available as schema_available
from openai_schema import faults
from recordings import available, recording
from responses_words import (
    FRONT,
    HEAD,
    UPSTREAM,
    USAGE,
    as_stream,
    events_in,
    events_of,
    function_call,
    message,
    reasoning,
    response,
    target,
)

from modelbridge.errors import (
    SpendingLimitReached,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
)
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    ReasoningDelta,
    Reply,
    ReplyHead,
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

JSONDict = dict[str, Any]
COUNTED = Usage(input=6, cache_read=4, output=5, reasoning=2)
REFUSED = {"type": "refusal", "refusal": "No."}
INCOMPLETE: JSONDict = {
    "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"},
}
recorded = pytest.mark.skipif(not available, reason="recordings not present")


def replayed(stream: bytes, size: int = 1 << 20) -> list[StreamEvent]:
    """The events of a stream that arrives in pieces of `size` bytes."""
    frames, reader = FrameReader(), UPSTREAM.read_stream()
    found: list[StreamEvent] = []
    for at in range(0, len(stream), size):
        for frame in frames.feed(stream[at : at + size]):
            found += reader.feed(frame)
    return [*found, *reader.end()]


def written(events: list[StreamEvent], head: ReplyHead = HEAD, cost: str | None = "0.01") -> bytes:
    """What our writer makes of a whole stream."""
    writer = FRONT.write_stream(head, include_usage=True)
    usage = next((e.usage for e in reversed(events) if isinstance(e, UsageReported)), None)
    return b"".join(map(writer.write, events)) + writer.end(usage, cost)


# Read


@recorded
@pytest.mark.parametrize("size", [1, 100_000])
def test_the_recorded_stream_folds_into_the_reply_that_it_ends_with(size: int) -> None:
    body = recording("openai-responses-stream-tool-call").body
    reply = fold(replayed(body, size))
    assert reply == UPSTREAM.read_reply(json.loads(body.split(b"data: ")[-1])["response"])
    assert reply.tool_calls == [
        ToolCallMade("call_kL0PCQV7M2WMoVX8V8OtYSAL", "get_capital", '{"country":"France"}')
    ]
    assert (reply.finish_reason, reply.usage) == ("tool_calls", Usage(input=255, output=16))


@recorded
def test_the_recorded_reply_is_read() -> None:
    reply = UPSTREAM.read_reply(recording("openai-responses-text").json())
    assert reply.text == "The capital of France is Paris."
    assert (reply.finish_reason, reply.usage) == ("stop", Usage(input=14, output=8))


@pytest.mark.parametrize(
    "told",
    [
        response(message("Hello dear Alice")),
        response(reasoning(), message("Hello"), function_call()),
        response(function_call(""), function_call(id="fc_2", call_id="call_2")),
        response({**reasoning(), "summary": [{"type": "summary_text", "text": t} for t in "ab"]}),
        response(reasoning("", "signed:c2ln"), reasoning("", "redacted:c2Vj"), message("Hi")),
        response({**message(""), "content": [REFUSED]}),
        response(message("Hello"), **INCOMPLETE),
        response({"type": "web_search_call", "id": "ws_1", "arguments": ""}, message("Hello")),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_stream_folds_into_what_the_reply_says(told: JSONDict, size: int) -> None:
    reply = UPSTREAM.read_reply(told)
    assert fold(replayed(as_stream(events_of(told)), size)) == reply
    assert reply.usage == COUNTED
    untold = [e for e in events_of(told) if "delta" not in e["type"]]  # some servers tell no pieces
    assert fold(replayed(as_stream(untold))).text == reply.text
    assert fold(replayed(as_stream(untold))).tool_calls == reply.tool_calls


def test_reasons_and_seals_are_read() -> None:
    thought = UPSTREAM.read_reply(response(reasoning(), message("Hi")))
    assert thought.reasoning == "Hm."
    signature = "openai:rs_1:gAAAA"
    assert thought.thinking == [{"type": "thinking", "thinking": "Hm.", "signature": signature}]
    refused = UPSTREAM.read_reply(response({**message(""), "content": [REFUSED]}))
    assert (refused.refusal, refused.finish_reason) == ("No.", "content_filter")
    assert (refused.text, refused.said) == ("", "No.")
    assert UPSTREAM.read_reply(response(message("Hi"), **INCOMPLETE)).finish_reason == "length"
    open_ = {"id": "r", "type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm"}]}
    assert UPSTREAM.read_reply(response({**open_, "summary": []})).reasoning == "Hm"


@pytest.mark.parametrize(
    "events",
    [
        [],
        events_of(response(message("Hello")))[:-1],
        [{"type": "error", "code": "server_error", "message": "It broke", "param": None}],
        [{"type": "error", "error": {"message": "It broke", "code": "x"}}],
        [{"type": "response.failed", "response": {"error": {"message": "It broke"}}}],
        [{"type": "response.failed", "response": {"error": None}}],
    ],
)
def test_a_stream_that_breaks_off_or_fails_is_told_so_to_whoever_reads_it(
    events: list[JSONDict],
) -> None:
    last = replayed(as_stream(events))[-1]
    assert isinstance(last, StreamFailed)
    assert isinstance(last.error, UpstreamError)
    assert last.error.may_have_billed
    if "It broke" in str(events):
        assert "It broke" in last.error.message
        assert FRONT.inspect(Frame(b"", json.dumps(events[0]).encode())).error is not None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"output": None},
        response(status="failed", error={"code": "x", "message": "It broke"}, usage=None),
        response(status="cancelled", usage=None),
        {"error": {"message": "It broke"}},
        {"choices": [{"message": {"content": "Hi"}}]},
    ],
)
def test_a_body_that_is_no_reply_is_the_upstreams_failure(body: JSONDict) -> None:
    with pytest.raises(UpstreamError):
        UPSTREAM.read_reply(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = ["delta", "output_index", "item", "response", "error", "summary_index"]
TYPES = [event["type"] for event in events_of(response(reasoning(), message("a"), function_call()))]


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), JSON) | JSON), st.sampled_from(TYPES))
def test_nothing_that_strangers_send_escapes_as_an_exception(sent: list[Any], kind: str) -> None:
    reader = UPSTREAM.read_stream()
    for one in sent:
        body = {"type": kind, **one} if isinstance(one, dict) else one
        frame = Frame(b"", json.dumps(body).encode(), kind)
        list(reader.feed(frame))
        FRONT.inspect(frame)
        FRONT.mend_stream().mend(frame)
        FRONT.write_usage_frame(frame, "0.01", include_usage=True)
        FRONT.find_usage(frame.data or b"")
    list(reader.end())


# Errors


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "bad", "param": "temperature"}}, UpstreamRejected),
        (401, {"error": {"message": "bad key"}}, UpstreamAuthFailed),
        (429, {"error": {"message": "slow down"}}, UpstreamRateLimited),
        (429, {"error": {"message": "no money", "code": "insufficient_quota"}}, UpstreamAuthFailed),
        (404, {"error": {"message": "no such model", "code": "model_not_found"}}, UpstreamRejected),
        (500, {}, UpstreamError),
    ],
)
def test_an_upstreams_refusal_is_understood(
    status: int, body: JSONDict, kind: type[UpstreamError]
) -> None:
    error = UPSTREAM.read_error(status, {}, json.dumps(body).encode(), target())
    assert type(error) is kind


@recorded
def test_a_recorded_refusal_names_the_clients_field() -> None:
    found = recording("openai-responses-error-400")
    error = UPSTREAM.read_error(found.status, {}, found.body, target())
    assert (error.status, error.param) == (400, "temperature")


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_the_format_has_done_nothing(status: int) -> None:
    error = UPSTREAM.read_error(status, {}, b"<html>Not found</html>", target())
    assert error.refused
    assert "has no Responses API" in error.message


def test_an_error_in_mid_stream_is_an_event_that_sdks_raise_on_and_a_failed_response() -> None:
    error = SpendingLimitReached("The limit is reached.")
    first, failed = events_in(FRONT.write_stream_error(error, "req_1"))
    assert (first["type"], first["code"]) == ("error", "spending_limit_exceeded")
    assert first["error"]["message"] == first["message"] == "The limit is reached."
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["id"] == "resp_1"
    assert failed["sequence_number"] > first["sequence_number"]


def test_a_response_that_failed_and_tells_what_it_cost_costs_that() -> None:
    failed = response(status="failed", error={"message": "It broke"}, usage=USAGE)
    for body in (failed, response(status="cancelled", usage=USAGE)):
        reply = UPSTREAM.read_reply(body)
        assert reply.usage == COUNTED
        assert isinstance(reply.error, UpstreamError)
    event = {"type": "response.failed", "response": failed}
    *_, told, last = replayed(as_stream([*events_of(response(message("Hello")))[:-1], event]))
    assert told == UsageReported(COUNTED)
    assert isinstance(last, StreamFailed)
    seen = FRONT.inspect(Frame(b"", json.dumps(event).encode()))
    assert (seen.usage, seen.error is None) == (COUNTED, False)


# What passes through


def test_frames_that_pass_tell_the_meter_what_was_produced() -> None:
    told = response(reasoning(), message("Grüße"), function_call())
    body = as_stream(events_of(told))
    seen = [FRONT.inspect(frame) for frame in FrameReader().feed(body)]
    expected = len("Hm." + "weather" + '{"city":"Perth"}') + len("Grüße".encode())
    assert sum(one.text_bytes for one in seen) == expected
    assert [one.done for one in seen] == [False] * (len(seen) - 1) + [True]
    last = seen[-1]
    assert (last.usage, last.final, last.finished) == (COUNTED, True, True)
    assert FRONT.find_usage(json.dumps(told).encode()) == COUNTED


def test_the_last_event_says_the_cost_and_never_somebody_elses() -> None:
    told = response(message("Hi"), usage={**USAGE, "cost": 99})
    frame = FrameReader().feed(as_stream(events_of(told)[-1:]))[0]
    (event,) = events_in(FRONT.write_usage_frame(frame, "0.01", include_usage=False))
    assert event["response"]["usage"] == {**USAGE, "cost": "0.01"}
    (event,) = events_in(FRONT.write_usage_frame(frame, None, include_usage=False))
    assert event["response"]["usage"] == USAGE


# Written


EVENTS: list[StreamEvent] = [
    ReasoningDelta("Hm"),
    ReasoningDelta("."),
    ReasoningDelta(signature="c2ln"),
    ReasoningDelta(redacted="c2Vj"),
    TextDelta("Hello "),
    TextDelta("Alice"),
    ToolCallStart(0, "call_1", "weather"),
    ToolCallStart(1, "call_2", "time"),
    ToolCallDelta(0, '{"city":'),
    ToolCallDelta(0, '"Perth"}'),
    Finish("tool_calls"),
    UsageReported(COUNTED),
]


def test_a_stream_is_numbered_and_ends_with_the_whole_response() -> None:
    events = events_in(written(EVENTS))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    last = events[-1]
    assert last["type"] == "response.completed"
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert last["response"]["output"] == sorted(done, key=lambda item: item["id"][-1])
    assert last["response"]["usage"].pop("cost") == "0.01"
    assert last["response"] == FRONT.write_reply(fold(EVENTS), HEAD)
    begun = [event["item"]["id"] for event in events if event["type"].endswith("item.added")]
    assert begun == [item["id"] for item in last["response"]["output"]]


def test_calls_that_are_told_by_turns_are_complete_before_they_are_done() -> None:
    events = events_in(written(EVENTS))
    done = [e for e in events if e["type"] == "response.function_call_arguments.done"]
    assert [e["arguments"] for e in done] == ['{"city":"Perth"}', "{}"]
    assert [e["name"] for e in done] == ["weather", "time"]


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_how_it_ended_is_told(reason: Any, status: str, why: JSONDict | None) -> None:
    (*_, done, last) = events_in(written([TextDelta("Hi"), Finish(reason)]))
    assert last["type"] == f"response.{status}"
    assert (last["response"]["status"], last["response"]["incomplete_details"]) == (status, why)
    assert done["item"]["status"] == status
    whole = FRONT.write_reply(Reply(text="Hi", finish_reason=reason), HEAD)
    assert (whole["status"], whole["incomplete_details"]) == (status, why)


def test_a_refusal_in_words_is_a_complete_response_of_its_own_kind() -> None:
    events = events_in(
        written([TextDelta("I am ", True), TextDelta("sorry.", True), Finish("content_filter")])
    )
    last = events[-1]
    assert (last["type"], last["response"]["status"]) == ("response.completed", "completed")
    (item,) = last["response"]["output"]
    assert item["content"] == [{"type": "refusal", "refusal": "I am sorry."}]
    kinds = [event["type"] for event in events[2:-1]]
    assert kinds == [
        "response.output_item.added", "response.content_part.added", "response.refusal.delta",
        "response.refusal.delta", "response.refusal.done", "response.content_part.done",
        "response.output_item.done",
    ]  # fmt: skip
    reply = Reply(refusal="I am sorry.", finish_reason="content_filter")
    whole = FRONT.write_reply(reply, HEAD)
    assert whole["output"] == last["response"]["output"]
    assert (whole["status"], whole["incomplete_details"]) == ("completed", None)
    if schema_available:
        assert [fault for event in events for fault in faults("ResponseStreamEvent", event)] == []
        assert faults("Response", whole) == []


def test_nothing_follows_a_failure() -> None:
    error = UpstreamError("It broke", may_have_billed=True)
    body = written([TextDelta("Hi"), StreamFailed(error), TextDelta("more")])
    assert [event["type"] for event in events_in(body)][-2:] == ["error", "response.failed"]


def test_a_response_says_again_what_was_asked_and_that_nothing_is_stored() -> None:
    asked = {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "tools": [{"type": "function", "name": "weather"}],
        "tool_choice": "required",
        "temperature": 0.5,
        "max_output_tokens": 9,
        "text": {"verbosity": "low"},
        "reasoning": {"effort": "low"},
        "user": "alice",
        "store": True,
    }
    told = FRONT.write_reply(Reply(text="Hi"), ReplyHead("chatcmpl-1", "m", 5, asked))
    for name in ("instructions", "metadata", "tool_choice", "temperature", "max_output_tokens"):
        assert told[name] == asked[name]
    assert told["store"] is False
    assert told["tools"][0]["name"] == "weather"
    assert told["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert told["reasoning"] == {"effort": "low", "summary": None}
    assert told["user"] == "alice"


def test_a_call_of_a_function_in_a_namespace_is_told_by_its_own_name() -> None:
    tool = {"type": "function", "name": "weather"}
    asked = {"tools": [{"type": "namespace", "name": "sky", "tools": [tool]}]}
    head = ReplyHead("chatcmpl-1", "m", 5, asked)
    events: list[StreamEvent] = [ToolCallStart(0, "call_1", "sky__weather"), Finish("tool_calls")]
    (item,) = events_in(written(events, head))[-1]["response"]["output"]
    assert (item["namespace"], item["name"]) == ("sky", "weather")


@pytest.mark.skipif(not schema_available, reason="OpenAI's interface document is not present")
def test_every_event_and_reply_is_as_openais_document_says() -> None:
    streams: list[list[StreamEvent]] = [[], EVENTS, [TextDelta("Hi"), Finish("length")]]
    for events in streams:
        for event in events_in(written(events)):
            assert faults("ResponseStreamEvent", event) == []
    assert faults("Response", FRONT.write_reply(fold(EVENTS), HEAD)) == []
    for event in events_in(FRONT.write_stream_error(UpstreamError("It broke"), "req_1")):
        assert faults("ResponseStreamEvent", event) == []


@recorded
@pytest.mark.skipif(not schema_available, reason="OpenAI's interface document is not present")
def test_openais_own_recorded_reply_differs_from_its_document_where_we_know() -> None:
    found = faults("Response", recording("openai-responses-text").json())
    assert sorted(fault.split(":")[0] for fault in found) == ["usage.input_tokens_details", "user"]


# Round trips

TEXT = st.text(min_size=1, max_size=8)
SIGNED = st.builds(
    lambda thought, signature: {"type": "thinking", "thinking": thought, "signature": signature},
    st.text(max_size=8),
    TEXT,
)
REDACTED = st.builds(lambda data: {"type": "redacted_thinking", "data": data}, TEXT)
USAGES = st.builds(
    lambda fresh, cached, written, out: Usage(
        input=fresh, cache_read=cached, cache_write=written, output=out, reasoning=out // 2
    ),
    *(st.integers(0, 1_000) for _ in range(4)),
)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    thinking: list[dict[str, str]] = draw(st.lists(SIGNED | REDACTED, max_size=3))
    if draw(st.booleans()):
        thinking.append({"type": "thinking", "thinking": draw(TEXT), "signature": ""})
    calls = draw(st.lists(st.builds(ToolCallMade, TEXT, TEXT, TEXT), max_size=3))
    reasons: list[Any] = ["length", "content_filter", "tool_calls" if calls else "stop"]
    refusal = draw(st.text(max_size=4))
    return Reply(
        text=draw(st.text(max_size=8)),
        refusal=refusal,
        reasoning="".join(block.get("thinking", "") for block in thinking),
        thinking=thinking,
        tool_calls=calls,
        finish_reason=draw(st.sampled_from(reasons[:2] if refusal else reasons)),
        usage=draw(USAGES),
    )


def told_in_pieces(reply: Reply) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    for block in reply.thinking:
        if "data" in block:
            events.append(ReasoningDelta(redacted=block["data"]))
            continue
        events += [ReasoningDelta(letter) for letter in block["thinking"]]
        if block["signature"]:
            events.append(ReasoningDelta(signature=block["signature"]))
    events += [TextDelta(letter) for letter in reply.text]
    events += [TextDelta(letter, refusal=True) for letter in reply.refusal]
    for number, call in enumerate(reply.tool_calls):
        events.append(ToolCallStart(number, call.id, call.name))
    for number, call in enumerate(reply.tool_calls):
        events += [ToolCallDelta(number, letter) for letter in call.arguments]
    assert reply.finish_reason is not None
    assert reply.usage is not None
    return [*events, Finish(reply.finish_reason), UsageReported(reply.usage)]


@given(replies())
def test_a_reply_goes_there_and_back_unchanged(reply: Reply) -> None:
    assert UPSTREAM.read_reply(FRONT.write_reply(reply, HEAD)) == reply


@given(replies())
def test_a_stream_goes_there_and_back_unchanged(reply: Reply) -> None:
    events = told_in_pieces(reply)
    assert fold(events) == reply
    assert fold(replayed(written(events))) == reply


@given(replies())
def test_thoughts_come_back_to_who_sealed_them_through_a_client_of_this_format(
    reply: Reply,
) -> None:
    output = FRONT.write_reply(reply, HEAD)["output"]
    body = {"model": "m", "input": [{"role": "user", "content": "Hi"}, *output]}
    messages = FRONT.read_request(body)["messages"]
    blocks = [block for one in messages for block in one.get("thinking_blocks") or []]
    assert blocks == [block for block in reply.thinking if "data" in block or block["signature"]]


def test_openais_seal_comes_back_to_it_through_clients_of_other_formats() -> None:
    (block,) = UPSTREAM.read_reply(response(reasoning(), message("Hi"))).thinking
    answer: Any = {"role": "assistant", "content": "Hi", "thinking_blocks": [block]}
    user: Any = {"role": "user", "content": "So?"}
    wire = UPSTREAM.build_request({"model": "m", "messages": [user, answer, user]}, target(), 512)
    assert wire.body["input"][1] == reasoning()
