"""Anthropic's format in front, piece by piece: what its streams and requests are made of."""

import json
from typing import Any

from modelbridge.dialects.anthropic_messages import read_request, write_stream
from modelbridge.dialects.anthropic_messages_turns import build_turns
from modelbridge.dialects.openai_chat_foreign import without_anthropic
from modelbridge.errors import UpstreamError
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    ReasoningDelta,
    ReplyHead,
    StreamEvent,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)

HELLO: Any = [{"role": "user", "content": "Hello"}]


def events(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Each frame's name and data."""
    lines = [frame.split("\n") for frame in body.decode().strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data[6:])) for name, data in lines]


def written(*made: StreamEvent) -> list[tuple[str, dict[str, Any]]]:
    writer = write_stream(ReplyHead("chatcmpl-1", "m", 0), include_usage=False)
    body = b"".join(writer.write(event) for event in made)
    return events(body + writer.end(Usage(input=3, output=4), "0.01"))


def test_blocks_never_overlap_even_where_tool_calls_do() -> None:
    told = written(
        ReasoningDelta("Hm"),
        ReasoningDelta(signature="c2ln"),
        ReasoningDelta(redacted="eA=="),
        TextDelta("I "),
        TextDelta("look."),
        ToolCallStart(0, "a", "first"),
        ToolCallStart(1, "b", "second"),
        ToolCallDelta(0, '{"x":'),
        ToolCallDelta(1, '{"y":2}'),
        ToolCallDelta(0, "1}"),
        ToolCallStart(2, "c", "third"),
        Finish("stop"),
    )
    open_block: int | None = None
    kinds: list[str] = []
    arguments: dict[int | None, str] = {}
    for name, data in told:
        if name == "content_block_start":
            assert open_block is None
            open_block = data["index"]
            assert open_block == len(kinds)
            kinds.append(data["content_block"]["type"])
        elif name == "content_block_delta":
            assert data["index"] == open_block
            piece = data["delta"].get("partial_json", "")
            arguments[open_block] = arguments.get(open_block, "") + piece
        elif name == "content_block_stop":
            assert data["index"] == open_block
            open_block = None
    assert kinds == ["thinking", "redacted_thinking", "text", *["tool_use"] * 3]
    assert [arguments.get(at) for at in (3, 4, 5)] == ['{"x":1}', '{"y":2}', None]
    (name, last), (end, _) = told[-2:]
    assert (name, end) == ("message_delta", "message_stop")
    assert last["delta"]["stop_reason"] == "tool_use"
    assert (last["usage"]["output_tokens"], last["usage"]["cost"]) == (4, "0.01")


def test_nothing_follows_a_failure() -> None:
    writer = write_stream(ReplyHead("chatcmpl-1", "m", 0), include_usage=False)
    assert b"event: error" in writer.write(StreamFailed(UpstreamError("It broke.")))
    assert writer.write(TextDelta("more")) + writer.end(None, None) == b""


def test_thinking_between_texts_keeps_its_place() -> None:
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    told = [{"type": "text", "text": "One"}, signed, {"type": "text", "text": "Two"}]
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [*HELLO, {"role": "assistant", "content": told}, *HELLO],
    }
    request = read_request(body)
    assert [message["role"] for message in request["messages"]] == [
        "user", "assistant", "assistant", "user",
    ]  # fmt: skip
    turns = build_turns(request["messages"], keep_thinking=True)
    assert turns.messages[1] == {"role": "assistant", "content": told}


def test_documents_are_sent_on_in_each_formats_way() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Be kind."}
    rules = {"type": "document", "title": "Rules", "source": source, "context": "law"}
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [rules]}]}
    request = read_request(body)
    assert build_turns(request["messages"], keep_thinking=False).messages[0]["content"] == [rules]
    plain, dropped = without_anthropic({**request})
    assert plain["messages"] == [{"role": "user", "content": "Rules\n\nBe kind."}]
    assert dropped == ["document.context"]
