"""Words for canonical requests and for Gemini's replies, and what each is turned into."""

from typing import Any

from modelbridge.dialects import gemini
from modelbridge.dialects.base import UpstreamDialect
from modelbridge.jsonio import dumps
from modelbridge.wire.reply import StreamEvent
from modelbridge.wire.sse import Frame
from modelbridge.wire.target import Quirks, Target, WireRequest

DIALECT: UpstreamDialect = gemini
FLASH, PRO, NEW = "gemini-2.5-flash", "gemini-2.5-pro", "gemini-3.8-flash"
HELLO: Any = [{"role": "user", "content": "Hello"}]


def target(model: str = FLASH, **more: Any) -> Target:
    known: Any = {"upstream_id": "up_1", "upstream": "gemini", "provider": "gemini"}
    return Target(
        **known,
        dialect=DIALECT.NAME,
        base_url="https://g.test",
        auth="x-goog-api-key",
        model=model,
        **more,
    )


def build(*messages: Any, model: str = FLASH, cap: int = 4096, **fields: Any) -> WireRequest:
    request: Any = {"model": "public", "messages": list(messages) or HELLO, **fields}
    return DIALECT.build_request(request, target(model), cap)


def contents(*messages: Any, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = build(*messages, **fields).body["contents"]
    return found


def config(**fields: Any) -> dict[str, Any]:
    """`generationConfig`, without the cap that is always there."""
    found: dict[str, Any] = build(**fields).body["generationConfig"]
    return {name: value for name, value in found.items() if name != "maxOutputTokens"}


def part(kind: str, **fields: Any) -> dict[str, Any]:
    """The one part that Gemini gets for this one."""
    message = {"role": "user", "content": [{"type": kind, kind: fields}]}
    found: dict[str, Any] = contents(message)[0]["parts"][0]
    return found


def call(id_: str, name: str, arguments: str = "{}", **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": id_, "type": "function", "function": function, **more}


def calls(*made: dict[str, Any], content: Any = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(made), **more}


def result(id_: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content, **more}


def function(name: str = "weather", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


# Replies


def chunk(*parts: Any, reason: str | None = None, **usage: int) -> dict[str, Any]:
    """A whole reply, or a piece of one: they have the same shape."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    found: dict[str, Any] = {"candidates": [candidate], "responseId": "r1"}
    return {**found, "usageMetadata": usage} if usage else found


def events_of(*payloads: Any, end: bool = True) -> list[StreamEvent]:
    """The events of payloads, each a frame of its own; bytes are sent as they are."""
    reader = DIALECT.read_stream()
    found: list[StreamEvent] = []
    for payload in payloads:
        data = payload if isinstance(payload, bytes) else dumps(payload)
        found += reader.feed(Frame(b"", data))
    return [*found, *reader.end()] if end else found


def quirky(**quirks: Any) -> Target:
    return target(quirks=Quirks(**quirks))
