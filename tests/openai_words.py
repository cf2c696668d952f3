"""Words to build chat requests, targets and streams with, in OpenAI's format."""

import json
from collections.abc import Iterable
from typing import Any

from modelbridge.dialects import openai_chat
from modelbridge.dialects.base import Front, UpstreamDialect
from modelbridge.wire.chat import ChatRequest
from modelbridge.wire.reply import ReplyHead, StreamEvent, UsageReported
from modelbridge.wire.sse import FrameReader
from modelbridge.wire.target import Quirks, Target

FRONT: Front = openai_chat
UPSTREAM: UpstreamDialect = openai_chat
HEAD = ReplyHead("chatcmpl-1", "gpt-4o", 1_760_000_000)
HELLO = {"role": "user", "content": "Hello"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def target(model: str = "gpt-4o", **quirks: Any) -> Target:
    return Target(
        upstream_id="up_1",
        upstream="acme",
        provider="openai",
        dialect="openai_chat",
        base_url="https://api.acme.test/v1",
        auth="bearer",
        model=model,
        quirks=Quirks(**quirks),
    )


def ask(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": list(messages or (HELLO,)), **fields}


def read(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    request: ChatRequest = FRONT.read_request(ask(*messages, **fields))
    return request


def events_of(data: bytes) -> list[StreamEvent]:
    """What the upstream half reads in a whole stream."""
    frames, stream = FrameReader(), UPSTREAM.read_stream()
    found = [event for frame in frames.feed(data) for event in stream.feed(frame)]
    if rest := frames.rest():
        found += stream.feed(rest)
    return [*found, *stream.end()]


def chunks(data: bytes) -> list[dict[str, Any]]:
    """The JSON of every frame but `[DONE]`."""
    frames = [frame.data for frame in FrameReader().feed(data)]
    return [json.loads(text) for text in frames if text and text != b"[DONE]"]


def stream_of(*deltas: dict[str, Any], finish: str | None = "stop", **last: Any) -> bytes:
    """A recorded-looking stream of these deltas, a finish chunk and `[DONE]`."""
    bodies: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": d}]} for d in deltas]
    bodies.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **last})
    return as_frames({"id": "c1", **body} for body in bodies) + b"data: [DONE]\n\n"


def as_frames(bodies: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)


def write(events: list[StreamEvent], *, include_usage: bool, cost: str | None = None) -> bytes:
    """What our writer makes of a whole stream."""
    writer = FRONT.write_stream(HEAD, include_usage=include_usage)
    usage = next((e.usage for e in reversed(events) if isinstance(e, UsageReported)), None)
    return b"".join(map(writer.write, events)) + writer.end(usage, cost)
