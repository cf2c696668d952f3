"""Canonical form → a wire format → canonical form: nothing changes that the format can say.

Replies: what a front writes, an upstream half of the same format reads back, whole and streamed.
Gemini has no front, so its replies are said here, as its reference has them. Requests: what an
upstream half builds, the front of the same format reads back; for Gemini the parts are compared.
"""

import json
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelbridge.dialects import anthropic_messages, gemini, openai_chat
from modelbridge.dialects.base import UpstreamDialect
from modelbridge.dialects.gemini_signatures import END, mark, place_of
from modelbridge.jsonio import JSONDict, dumps
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    ReasoningDelta,
    Reply,
    ReplyHead,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    ToolCallMade,
    ToolCallStart,
    UsageReported,
    fold,
)
from modelbridge.wire.sse import FrameReader
from modelbridge.wire.target import Auth, Target, WireRequest

# A busy machine is no fault of the formats'.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
HEAD = ReplyHead("chatcmpl-1", "public", 1)
WORDS = st.text(min_size=1, max_size=12)
VISIBLE = WORDS.map(lambda words: f"a{words}z")
COUNT = st.integers(0, 10_000)
ARGUMENTS = st.dictionaries(
    st.text(max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=2),
        max_leaves=3,
    ),
    max_size=3,
)
NAMES = st.from_regex(r"\A[a-z_][a-z0-9_]{0,8}\Z")
SIGNATURES = st.from_regex(r"\A[A-Za-z0-9+/]{4,12}\Z")


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """A reply that a model may give: thoughts, then text, then calls, and its count."""
    text = draw(st.just("") | WORDS)
    made = [
        ToolCallMade(f"call_{number}", name, dumps(arguments).decode())
        for number, (name, arguments) in enumerate(
            draw(st.lists(st.tuples(NAMES, ARGUMENTS), max_size=3))
        )
    ]
    thought = draw(st.just("") | WORDS)
    output = draw(COUNT)
    usage = Usage(
        input=draw(COUNT),
        cache_read=draw(COUNT),
        output=output,
        reasoning=draw(st.integers(0, output)),
    )
    reason = "tool_calls" if made else draw(st.sampled_from(["stop", "length", "content_filter"]))
    thinking = [{"type": "thinking", "thinking": thought, "signature": draw(SIGNATURES)}]
    return Reply(
        text=text,
        reasoning=thought,
        thinking=thinking if thought else [],
        tool_calls=made,
        finish_reason=cast(Any, reason),
        usage=usage,
    )


def events_of(reply: Reply, cut: int) -> list[StreamEvent]:
    """A stream that adds up to this reply, its texts in two pieces."""
    events: list[StreamEvent] = []
    for block in reply.thinking:
        thought = block["thinking"]
        events += [ReasoningDelta(piece) for piece in (thought[:cut], thought[cut:]) if piece]
        events.append(ReasoningDelta(signature=block["signature"]))
    events += [TextDelta(piece) for piece in (reply.text[:cut], reply.text[cut:]) if piece]
    for number, call in enumerate(reply.tool_calls):
        events.append(ToolCallStart(number, call.id, call.name))
        pieces = (call.arguments[:cut], call.arguments[cut:])
        events += [ToolCallDelta(number, piece) for piece in pieces if piece]
    assert reply.finish_reason is not None
    assert reply.usage is not None
    return [*events, Finish(reply.finish_reason), UsageReported(reply.usage)]


def read_back(dialect: UpstreamDialect, stream: bytes) -> Reply:
    """What the dialect makes of a stream."""
    frames, reader = FrameReader(), dialect.read_stream()
    events = [event for frame in frames.feed(stream) for event in reader.feed(frame)]
    assert frames.rest() is None
    return fold([*events, *reader.end()])


def without_reasoning_count(reply: Reply) -> Reply:
    """Anthropic's usage, as it is written for clients, has no count of thoughts."""
    assert reply.usage is not None
    counted = reply.usage
    reply.usage = Usage(input=counted.input, cache_read=counted.cache_read, output=counted.output)
    return reply


def as_said(reply: Reply) -> Reply:
    """The calls' arguments as values: a format may write the same object with other spaces."""
    for call in reply.tool_calls:
        call.arguments = json.dumps(json.loads(call.arguments), sort_keys=True)
    return reply


# Replies


@patiently
@given(replies(), st.integers(0, 9))
def test_a_reply_survives_openais_chat_format(reply: Reply, cut: int) -> None:
    body = openai_chat.write_reply(reply, HEAD)
    assert openai_chat.read_reply(body) == reply
    writer = openai_chat.write_stream(HEAD, include_usage=True)
    stream = b"".join(writer.write(event) for event in events_of(reply, cut))
    assert read_back(openai_chat, stream + writer.end(reply.usage, None)) == reply


@patiently
@given(replies(), st.integers(0, 9))
def test_a_reply_survives_anthropics_format(reply: Reply, cut: int) -> None:
    body = anthropic_messages.write_reply(reply, HEAD)
    writer = anthropic_messages.write_stream(HEAD, include_usage=True)
    stream = b"".join(writer.write(event) for event in events_of(reply, cut))
    stream += writer.end(reply.usage, None)
    expected = as_said(without_reasoning_count(reply))
    assert as_said(anthropic_messages.read_reply(body)) == expected
    assert as_said(read_back(anthropic_messages, stream)) == expected


def geminis(reply: Reply) -> JSONDict:
    """The reply in Gemini's words: https://ai.google.dev/api/generate-content."""
    parts: list[JSONDict] = []
    for block in reply.thinking:
        signature = block["signature"].removeprefix("gemini:thought:")
        parts.append({"text": block["thinking"], "thought": True, "thoughtSignature": signature})
    if reply.text:
        parts.append({"text": reply.text})
    for call in reply.tool_calls:
        made = {"id": call.id, "name": call.name, "args": json.loads(call.arguments)}
        parts.append({"functionCall": made})
    usage = reply.usage or Usage()
    reasons = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}
    candidate = {
        "content": {"role": "model", "parts": parts},
        "finishReason": reasons.get(reply.finish_reason or "", "STOP"),
    }
    counts = {
        "promptTokenCount": usage.total_input,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": usage.total_input + usage.output,
    }
    return {"candidates": [candidate], "usageMetadata": counts, "responseId": "r"}


@patiently
@given(replies(), st.integers(0, 9))
def test_a_reply_survives_geminis_format(reply: Reply, cut: int) -> None:
    for block in reply.thinking:
        block["signature"] = mark("thought", block["signature"])
    body = geminis(reply)
    assert gemini.read_reply(body) == reply
    content = body["candidates"][0].pop("content")
    pieces = [
        {"content": {"parts": part}} for part in (content["parts"][:cut], content["parts"][cut:])
    ]
    chunks = [*({"candidates": [piece], "responseId": "r"} for piece in pieces), body]
    stream = b"".join(b"data: " + dumps(chunk) + b"\r\n\r\n" for chunk in chunks)
    assert read_back(gemini, stream) == reply


# Requests


def target(dialect: str, model: str) -> Target:
    auth: Auth = "bearer"
    return Target("up_1", "u", dialect, dialect, "https://u.test", auth, model)


def sent(wire: WireRequest) -> JSONDict:
    """The body as the upstream reads it."""
    return cast(JSONDict, json.loads(dumps(wire.body)))


@st.composite
def conversations(draw: st.DrawFn) -> list[JSONDict]:
    """System, then rounds of user, assistant, calls and their results, and the user again."""
    messages: list[JSONDict] = [{"role": "system", "content": draw(VISIBLE)}]
    for number in range(draw(st.integers(0, 3))):
        messages.append({"role": "user", "content": draw(VISIBLE)})
        made = draw(st.lists(st.tuples(NAMES, ARGUMENTS), max_size=2))
        answer: JSONDict = {"role": "assistant", "content": draw(VISIBLE)}
        if made:
            answer["tool_calls"] = [
                {
                    "id": f"call_{number}_{at}",
                    "type": "function",
                    "function": {"name": name, "arguments": dumps(arguments).decode()},
                }
                for at, (name, arguments) in enumerate(made)
            ]
        messages.append(answer)
        for call in answer.get("tool_calls", ()):
            result = {"role": "tool", "tool_call_id": call["id"], "content": draw(VISIBLE)}
            messages.append(result)
    return [*messages, {"role": "user", "content": draw(VISIBLE)}]


@st.composite
def requests(draw: st.DrawFn) -> JSONDict:
    """A chat request of what all formats can say."""
    request: JSONDict = {"model": "public", "messages": draw(conversations())}
    request["max_completion_tokens"] = draw(st.integers(16, 4096))
    if draw(st.booleans()):
        request["temperature"] = draw(st.sampled_from([0, 0.25, 0.5]))
    if draw(st.booleans()):
        request["stop"] = draw(st.lists(VISIBLE, min_size=1, max_size=3))
    if names := draw(st.lists(NAMES, max_size=2, unique=True)):
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        request["tools"] = [
            {
                "type": "function",
                "function": {"name": name, "description": "d", "parameters": schema},
            }
            for name in names
        ]
        one = {"type": "function", "function": {"name": names[0]}}
        request["tool_choice"] = draw(st.sampled_from(["auto", "none", "required", one]))
    return request


def plain(message: JSONDict) -> JSONDict:
    """The message with its text as one string, and the arguments of its calls as values."""
    found = dict(message)
    if isinstance(found.get("content"), list):
        found["content"] = "".join(part["text"] for part in found["content"])
    if "tool_calls" in found:
        found["tool_calls"] = [
            {**call, "function": {**made, "arguments": json.loads(made["arguments"])}}
            for call in found["tool_calls"]
            if (made := call["function"])
        ]
    return found


@patiently
@given(requests())
def test_a_request_survives_openais_chat_format(request: JSONDict) -> None:
    cap = request["max_completion_tokens"]
    wire = openai_chat.build_request(cast(Any, request), target("openai_chat", "public"), cap)
    assert openai_chat.read_request(wire.body) == request
    assert wire.dropped == ()


@patiently
@given(requests())
def test_a_request_survives_anthropics_format(request: JSONDict) -> None:
    cap = request["max_completion_tokens"]
    model = target("anthropic_messages", "claude-sonnet-4-5")
    wire = anthropic_messages.build_request(cast(Any, request), model, cap)
    found = cast(JSONDict, anthropic_messages.read_request({**sent(wire), "model": "public"}))
    called = {c["function"]["name"] for m in request["messages"] for c in m.get("tool_calls", ())}
    if called and "tools" not in request:  # which the format cannot say: none of them is to be used
        assert {tool["function"]["name"] for tool in found.pop("tools")} == called
        assert found.pop("tool_choice") == "none"
    assert [plain(m) for m in found["messages"]] == [plain(m) for m in request["messages"]]
    for name in ("model", "max_completion_tokens", "temperature", "stop", "tools", "tool_choice"):
        assert found.get(name) == request.get(name), name
    assert wire.dropped == ()


def read_geminis(body: JSONDict) -> list[JSONDict]:
    """The conversation that a body of Gemini's says, in canonical messages."""
    messages: list[JSONDict] = []
    if system := body.get("systemInstruction"):
        messages.append({"role": "system", "content": system["parts"][0]["text"]})
    for turn in body["contents"]:
        for part in turn["parts"]:
            if answer := part.get("functionResponse"):
                said = {"tool_call_id": answer["id"], "content": answer["response"]["output"]}
                messages.append({"role": "tool", **said})
            elif call := part.get("functionCall"):
                function = {"name": call["name"], "arguments": call["args"]}
                made = {"id": call["id"], "type": "function", "function": function}
                messages[-1].setdefault("tool_calls", []).append(made)
            else:
                role = "assistant" if turn["role"] == "model" else "user"
                messages.append({"role": role, "content": part["text"]})
    return messages


@patiently
@given(requests())
def test_a_request_survives_geminis_format(request: JSONDict) -> None:
    cap = request["max_completion_tokens"]
    wire = gemini.build_request(cast(Any, request), target("gemini", "gemini-2.5-flash"), cap)
    assert read_geminis(sent(wire)) == [plain(m) for m in request["messages"]]
    config = wire.body["generationConfig"]
    assert config["maxOutputTokens"] == cap
    assert config.get("temperature") == request.get("temperature")
    assert config.get("stopSequences") == request.get("stop")
    declared = wire.body.get("tools", [{"functionDeclarations": []}])[0]["functionDeclarations"]
    tools = [tool["function"] for tool in request.get("tools", ())]
    assert [
        {
            "name": d["name"],
            "description": d["description"],
            "parameters": d["parametersJsonSchema"],
        }
        for d in declared
    ] == tools
    assert wire.dropped == ()


# An answer that goes back into the conversation


@pytest.mark.parametrize("front", [openai_chat, anthropic_messages])
@settings(patiently, max_examples=50)
@given(text=WORDS, thought=WORDS, made=st.tuples(NAMES, ARGUMENTS), signature=SIGNATURES)
def test_what_gemini_signed_goes_back_as_it_was_through_either_client(
    front: Any, text: str, thought: str, made: Any, signature: str
) -> None:
    parts = [
        {"text": f"a{text}"},
        {"text": "", "thoughtSignature": f"{signature}1"},
        {
            "functionCall": {"id": "c1", "name": made[0], "args": made[1]},
            "thoughtSignature": f"{signature}2",
        },
    ]
    candidate = {"content": {"parts": parts}, "finishReason": "STOP"}
    reply = gemini.read_reply({"candidates": [candidate]})
    assert [block["signature"] for block in reply.thinking] == [
        mark(END, f"{signature}1"), mark(place_of("c1"), f"{signature}2"),
    ]  # fmt: skip
    written = front.write_reply(reply, HEAD)
    hello: JSONDict = {"role": "user", "content": "Hello"}
    if front is openai_chat:
        answer: JSONDict = written["choices"][0]["message"]
        body: JSONDict = {"model": "m", "messages": [hello, answer]}
    else:
        answer = {"role": "assistant", "content": written["content"]}
        body = {"model": "m", "max_tokens": 9, "messages": [hello, answer]}
    request = front.read_request(body)
    wire = gemini.build_request(request, target("gemini", "gemini-3-flash-preview"), 99)
    assert sent(wire)["contents"][1]["parts"] == parts
    assert wire.dropped == ()
