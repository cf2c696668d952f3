"""Words for canonical requests and for Anthropic's streams, and what each is turned into."""

from typing import Any

from hypothesis import strategies as st

from modelbridge.dialects import anthropic_messages
from modelbridge.dialects.base import UpstreamDialect
from modelbridge.jsonio import dumps
from modelbridge.wire.reply import StreamEvent
from modelbridge.wire.sse import Frame
from modelbridge.wire.target import Target, WireRequest

DIALECT: UpstreamDialect = anthropic_messages
MARK = {"type": "ephemeral", "ttl": "1h"}
PNG = "iVBORw0KGgo="
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def target(model: str = "claude-sonnet-4-5", **more: Any) -> Target:
    known: Any = {"upstream_id": "up_1", "upstream": "anthropic", "provider": "anthropic"}
    return Target(
        **known,
        dialect=DIALECT.NAME,
        base_url="https://a.test",
        auth="x-api-key",
        model=model,
        **more,
    )


def build(
    *messages: dict[str, Any], model: str = "claude-sonnet-4-5", **fields: Any
) -> WireRequest:
    request: Any = {"model": "public", "messages": list(messages), **fields}
    return DIALECT.build_request(request, target(model), 4096)


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: Any = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: Any, role: str = "system", **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def call(id_: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id_: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content, **more}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def turns(*messages: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = build(*messages, **fields).body["messages"]
    return found


def content(*parts: Any, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = turns(user(list(parts)), **fields)[0]["content"]
    return found


def image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data, **more}}


# Streams


def events_of(*payloads: Any, end: bool = True) -> list[StreamEvent]:
    """The events of payloads, each a frame of its own; bytes are sent as they are."""
    reader = DIALECT.read_stream()
    found: list[StreamEvent] = []
    for payload in payloads:
        data = payload if isinstance(payload, bytes) else dumps(payload)
        found += reader.feed(Frame(b"", data))
    return [*found, *reader.end()] if end else found


def start(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"usage": usage}}


def block(index: int, *deltas: dict[str, Any], **content: Any) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def words(text: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": text}


def pieces(text: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": text}


def delta(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


STOP = {"type": "message_stop"}


# Whatever strangers send

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
