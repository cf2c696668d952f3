"""Replies and frames that pass through untouched: what they tell the meter, and the usage frame.

Reading a chunk with orjson takes 1.5 µs, less than searching it with regular expressions.
"""

from collections.abc import Callable

from modelbridge import jsonio
from modelbridge.dialects.base import Seen
from modelbridge.dialects.openai_chat_calls import CallMender
from modelbridge.dialects.openai_chat_read import texts
from modelbridge.dialects.openai_errors import find_error
from modelbridge.dialects.openai_usage import read_usage, usage_object
from modelbridge.errors import UpstreamError
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.wire.sse import Frame, data_frame


def find_usage(payload: bytes) -> Usage | None:
    """The usage in a reply that is passed on untouched, or None."""
    if b'"usage"' not in payload:
        return None
    try:
        body = jsonio.loads(payload)
    except ValueError:
        return None
    return read_usage(usage_object(body)) if isinstance(body, dict) else None


def mend_stream() -> CallMender:
    """A mender for one stream: the indexes of its tool calls."""
    return CallMender()


def inspect(frame: Frame) -> Seen:
    """What a frame says. Never raises: bytes that are no JSON object are an error of the upstream.

    `final` is set where a usage object stands in the chunk without choices or beside a finish
    reason. `usage` is None even then if its counts are absurd.
    """
    if not frame.data:
        return Seen()
    if frame.data == b"[DONE]":
        return Seen(done=True)
    try:
        chunk = jsonio.loads(frame.data)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        return Seen(error=_broken("sent an event that is not a JSON object"))
    error = find_error(chunk, frame.event)
    if error is not None:
        return Seen(error=error, usage=read_usage(usage_object(chunk)))
    return _inspect_chunk(chunk)


def write_usage_frame(frame: Frame, cost: str | None, *, include_usage: bool) -> bytes:
    """The usage frame for the client: with the cost in it, without the usage, or no bytes.

    An upstream's own `cost` (OpenRouter's, in USD) never stands where ours is expected.
    """
    body = jsonio.loads(frame.data) if frame.data else None
    if not isinstance(body, dict):
        return frame.raw
    if include_usage:
        usage = usage_object(body)
        told: JSONDict = dict(usage) if isinstance(usage, dict) else {}
        told.pop("cost", None)
        body["usage"] = told if cost is None else {**told, "cost": cost}
        return data_frame(jsonio.dumps(body))
    if not body.get("choices"):
        return b""
    body.pop("usage", None)
    if isinstance(groq := body.get("x_groq"), dict):
        groq.pop("usage", None)
    return data_frame(jsonio.dumps(body))


def _inspect_chunk(chunk: JSONDict) -> Seen:
    seen = Seen()
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        if isinstance(delta := choice.get("delta"), dict):
            seen.text_bytes += _produced_bytes(delta)
        reason = choice.get("finish_reason")
        if reason:
            seen.finished = True
        if reason == "error":
            seen.error = _broken("gave up in mid-answer")
    usage = usage_object(chunk)
    if isinstance(usage, dict):
        seen.usage = read_usage(usage)
        seen.final = seen.finished or not choices
    return seen


def _produced_bytes(delta: JSONDict) -> int:
    """UTF-8 bytes of everything in a delta that the model wrote, and that is billed."""
    produced = 0
    for name, value in delta.items():
        if value and (measure := _MEASURES.get(name)):
            produced += measure(value)
    if "reasoning" in delta and delta.get("reasoning_content"):
        produced -= _size(delta["reasoning"])  # the same thought under both names
    return produced


def _content_bytes(content: object) -> int:
    return sum(_size(text) for _, text in texts(content))


def _calls_bytes(calls: object) -> int:
    if not isinstance(calls, list):
        return 0
    return sum(
        _call_bytes(call.get("function")) + _call_bytes(call.get("custom"))
        for call in calls
        if isinstance(call, dict)
    )


def _call_bytes(call: object) -> int:
    if not isinstance(call, dict):
        return 0
    return _size(call.get("name")) + _size(call.get("arguments")) + _size(call.get("input"))


def _size(text: object) -> int:
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode())


_MEASURES: dict[str, Callable[[object], int]] = {
    "content": _content_bytes,
    "reasoning_content": _size,
    "reasoning": _size,
    "refusal": _size,
    "tool_calls": _calls_bytes,
    "function_call": _call_bytes,
}


def _broken(what: str) -> UpstreamError:
    return UpstreamError(f"The upstream {what}.", may_have_billed=True)
