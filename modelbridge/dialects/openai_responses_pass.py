"""Responses and events that pass through untouched: what they tell the meter, and the last event.

The event that ends a stream has the whole response in it, and in this the usage.
"""

from modelbridge import jsonio
from modelbridge.dialects.base import Seen
from modelbridge.dialects.openai_responses_errors import event_frame
from modelbridge.dialects.openai_responses_read import broken, failure_of, usage_in
from modelbridge.dialects.openai_responses_usage import read_usage
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.wire.sse import Frame

_ENDS = ("response.completed", "response.incomplete")


def find_usage(payload: bytes) -> Usage | None:
    """The usage in a reply that is passed on untouched, or None."""
    body = _object(payload)
    return None if body is None else read_usage(body.get("usage"))


def mend_stream() -> "Untouched":
    """A mender for one stream: this format needs none."""
    return Untouched()


class Untouched:
    """Leaves every frame as it is."""

    __slots__ = ()

    def mend(self, frame: Frame) -> Frame:
        """The same frame."""
        return frame


def inspect(frame: Frame) -> Seen:
    """What a frame says. Never raises: bytes that are no JSON object are an error of the upstream.

    Nothing that matters follows the event that ends a response, so it is the end mark as well.
    """
    if not frame.data:
        return Seen()
    if frame.data == b"[DONE]":
        return Seen(done=True)
    event = _object(frame.data)
    if event is None:
        return Seen(error=broken("sent an event that is not a JSON object"))
    kind = event.get("type") or frame.event
    if error := failure_of(event, kind):
        return Seen(error=error, usage=usage_in(event))
    if kind in _ENDS:
        usage = usage_in(event)
        return Seen(usage=usage, final=usage is not None, finished=True, done=True)
    item = event.get("item")
    if kind == "response.output_item.added" and isinstance(item, dict):
        return Seen(text_bytes=_size(item.get("name")))
    return Seen(text_bytes=_size(event.get("delta")))


def write_usage_frame(frame: Frame, cost: str | None, *, include_usage: bool) -> bytes:
    """The last event with the cost in its usage; clients of this format always see it."""
    del include_usage
    event = _object(frame.data or b"")
    usage = _response(event).get("usage") if event else None
    if event is None or not isinstance(usage, dict):
        return frame.raw
    told = {name: value for name, value in usage.items() if name != "cost"}
    event["response"]["usage"] = told if cost is None else {**told, "cost": cost}
    return event_frame(str(event.get("type") or frame.event), event)


def _response(event: JSONDict) -> JSONDict:
    found = event.get("response")
    return found if isinstance(found, dict) else {}


def _size(text: object) -> int:
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode())


def _object(data: bytes) -> JSONDict | None:
    try:
        body = jsonio.loads(data)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
