"""Messages and events that pass through untouched: what they tell the meter, and the usage event.

The first event of a stream counts the input, the last but one counts the output, and need not say
the input again. A mender puts what the first said into the last, so that each frame with a final
usage says all of it: to the meter, and to the client.
"""

from modelbridge import jsonio
from modelbridge.dialects.anthropic_front_errors import event_frame
from modelbridge.dialects.anthropic_messages_reply import counts_of, failure_of, usage_of
from modelbridge.dialects.base import Seen
from modelbridge.errors import UpstreamError
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.wire.sse import Frame

_INPUT_COUNTS = (
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
)


def find_usage(payload: bytes) -> Usage | None:
    """The usage in a reply that is passed on untouched, or None."""
    body = _object(payload)
    return None if body is None else usage_of(counts_of(body.get("usage")))


def mend_stream() -> "UsageMender":
    """A mender for one stream: the input's counts in its last usage."""
    return UsageMender()


class UsageMender:
    """Remembers the usage that a stream begins with."""

    __slots__ = ("_first",)

    def __init__(self) -> None:
        self._first: JSONDict = {}

    def mend(self, frame: Frame) -> Frame:
        """The same frame, or a `message_delta` whose usage says the input, too."""
        data = frame.data
        if data is None:
            return frame
        if b'"message_start"' in data:
            self._remember(data)
        elif self._first and b'"message_delta"' in data and b'"usage"' in data:
            return self._mended(frame, data)
        return frame

    def _remember(self, data: bytes) -> None:
        body = _object(data) or {}
        message = body.get("message")
        usage = message.get("usage") if isinstance(message, dict) else None
        if body.get("type") == "message_start" and isinstance(usage, dict):
            self._first = usage

    def _mended(self, frame: Frame, data: bytes) -> Frame:
        body = _object(data) or {}
        usage = body.get("usage")
        if body.get("type") != "message_delta" or not isinstance(usage, dict):
            return frame
        missing: JSONDict = {
            name: self._first[name]
            for name in _INPUT_COUNTS
            if self._first.get(name) is not None and usage.get(name) is None
        }
        if not missing:
            return frame
        body["usage"] = {**usage, **missing}
        return Frame(event_frame("message_delta", body), jsonio.dumps(body), "message_delta")


def inspect(frame: Frame) -> Seen:
    """What a frame says. Never raises: bytes that are no JSON object are an error of the upstream.

    `final` is set where a usage stands beside a stop reason; its counts may be absurd even then,
    and `usage` None.
    """
    if not frame.data or frame.data.strip() == b"[DONE]":
        return Seen()
    body = _object(frame.data)
    if body is None:
        return Seen(error=_broken())
    match body.get("type") or frame.event:
        case "message_start":
            message = body.get("message")
            usage = message.get("usage") if isinstance(message, dict) else None
            return Seen(usage=usage_of(counts_of(usage)))
        case "content_block_start":
            return Seen(text_bytes=_produced(body.get("content_block"), ("text", "name")))
        case "content_block_delta":
            kinds = ("text", "thinking", "partial_json")
            return Seen(text_bytes=_produced(body.get("delta"), kinds))
        case "message_delta":
            delta = body.get("delta")
            finished = isinstance(delta, dict) and delta.get("stop_reason") is not None
            usage = usage_of(counts_of(body.get("usage")))
            return Seen(usage=usage, final=finished and usage is not None, finished=finished)
        case "message_stop":
            return Seen(done=True)
        case "error":
            return Seen(error=failure_of(body))
    return Seen()


def write_usage_frame(frame: Frame, cost: str | None, *, include_usage: bool) -> bytes:
    """The event for the client with the cost in its usage; Anthropic's clients always see it."""
    del include_usage
    body = _object(frame.data or b"")
    usage = body.get("usage") if body else None
    if body is None or not isinstance(usage, dict):
        return frame.raw
    told = {name: value for name, value in usage.items() if name != "cost"}
    body["usage"] = told if cost is None else {**told, "cost": cost}
    return event_frame(str(body.get("type") or frame.event), body)


def _produced(block: object, names: tuple[str, ...]) -> int:
    """UTF-8 bytes of what the model wrote in a block or a delta."""
    if not isinstance(block, dict):
        return 0
    return sum(len(text.encode()) for name in names if isinstance(text := block.get(name), str))


def _object(data: bytes) -> JSONDict | None:
    try:
        body = jsonio.loads(data)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _broken() -> UpstreamError:
    return UpstreamError(
        "The upstream sent an event that is not a JSON object.", may_have_billed=True
    )
