"""What an upstream answers in the Responses format, into canonical events.

Source: OpenAI's OpenAPI document, Response and ResponseStreamEvent. An item may be told in pieces,
whole when it is done, or both: what pieces have said is not said twice. Items of tools that run at
the provider are passed over; nobody offered any.
"""

from collections.abc import Iterable, Iterator

from modelbridge import jsonio
from modelbridge.dialects.openai_errors import find_error
from modelbridge.dialects.openai_responses_reasoning import seal_of, texts_of
from modelbridge.dialects.openai_responses_usage import read_usage
from modelbridge.errors import UpstreamError
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    FinishReason,
    ReasoningDelta,
    Reply,
    StreamEvent,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageReported,
    fold,
)
from modelbridge.wire.sse import Frame

_ENDS = ("response.completed", "response.incomplete")
_TEXTS = ("response.output_text.delta", "response.refusal.delta")
_THOUGHTS = ("response.reasoning_text.delta", "response.reasoning_summary_text.delta")
_PAUSE = "\n\n"


def read_reply(body: JSONDict) -> Reply:
    """The canonical reply. One that failed has its `error` beside the usage, which is billed.

    Raises UpstreamError if the body is not a reply, and tells no usage.
    """
    error = failure_of(body)
    if error is None and not isinstance(body.get("output"), list):
        error = broken("sent a body that is not a response")
    if error is not None:
        if usage := read_usage(body.get("usage")):
            return Reply(error=error, usage=usage)
        raise error
    return fold(ResponseReader().read_whole(body))


def read_stream() -> "ResponseReader":
    """A reader for one stream."""
    return ResponseReader()


def failure_of(body: JSONDict, event: str = "") -> UpstreamError | None:
    """The failure that a response, or an event with one in it, reports; None if it does not.

    `{"error": …}`, an `error` event with the message at the top, or a response that failed.
    """
    response = body.get("response")
    if isinstance(response, dict) and event == "response.failed":
        return find_error(response, "error")
    if body.get("status") in ("failed", "cancelled"):
        return find_error(body, "error")
    return find_error(body, event)


def usage_in(event: JSONDict) -> Usage | None:
    """The usage of the response that the event has in it, if it has."""
    response = event.get("response")
    return read_usage(response.get("usage")) if isinstance(response, dict) else None


def broken(what: str) -> UpstreamError:
    """The failure of an upstream that does not keep to the format."""
    return UpstreamError(f"The upstream {what}.", may_have_billed=True)


class ResponseReader:
    """An upstream's frames into canonical events; one stream each, or one whole body."""

    __slots__ = ("_calls", "_ended", "_refused", "_told")

    def __init__(self) -> None:
        self._calls: dict[object, int] = {}  # an item's place in the output → the call's number
        self._told: set[object] = set()  # the places of items whose text was told in pieces
        self._refused = self._ended = False

    def feed(self, frame: Frame) -> Iterable[StreamEvent]:
        """The events of one frame. Never raises: what is broken becomes StreamFailed."""
        if self._ended or not frame.data or frame.data == b"[DONE]":
            return ()
        try:
            event = jsonio.loads(frame.data)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            return self._fail(broken("sent an event that is not a JSON object"))
        kind = _string(event, "type") or frame.event
        error = failure_of(event, kind)
        if error is None:
            return list(self._read(kind, event))
        usage = usage_in(event)
        return [*([UsageReported(usage)] if usage else ()), *self._fail(error)]

    def end(self) -> Iterable[StreamEvent]:
        """StreamFailed if the response was never completed."""
        if self._ended:
            return ()
        return self._fail(broken("ended its stream before the answer was complete"))

    def read_whole(self, body: JSONDict) -> Iterator[StreamEvent]:
        """The events of a complete response."""
        for place, item in enumerate(body["output"]):
            if isinstance(item, dict):
                yield from self._read_item(place, item)
        yield from self._finish(body)

    def _fail(self, error: UpstreamError) -> list[StreamEvent]:
        self._ended = True
        return [StreamFailed(error)]

    def _read(self, kind: object, event: JSONDict) -> Iterator[StreamEvent]:
        place, delta, item = event.get("output_index"), event.get("delta"), event.get("item")
        place = place if isinstance(place, int) else None  # whatever else it is, it is no place
        if kind in _ENDS:
            response = event.get("response")
            yield from self._finish(response if isinstance(response, dict) else {})
        elif kind == "response.output_item.added" and isinstance(item, dict):
            yield from self._begin(place, item)
        elif kind == "response.output_item.done" and isinstance(item, dict):
            yield from self._read_item(place, item)
        elif kind == "response.reasoning_summary_part.added" and event.get("summary_index"):
            yield ReasoningDelta(_PAUSE)
        elif isinstance(delta, str) and delta:
            yield from self._read_delta(kind, place, delta)

    def _read_delta(self, kind: object, place: object, delta: str) -> Iterator[StreamEvent]:
        if kind in _TEXTS:
            is_refusal = kind == "response.refusal.delta"
            self._refused = self._refused or is_refusal
            yield TextDelta(delta, is_refusal)
        elif kind in _THOUGHTS:
            yield ReasoningDelta(delta)
        elif kind == "response.function_call_arguments.delta" and place in self._calls:
            yield ToolCallDelta(self._calls[place], delta)
        else:
            return
        self._told.add(place)

    def _begin(self, place: object, item: JSONDict) -> Iterator[StreamEvent]:
        if item.get("type") != "function_call" or place in self._calls:
            return
        number = self._calls[place] = len(self._calls)
        id_ = _string(item, "call_id") or _string(item, "id")
        yield ToolCallStart(number, id_, _string(item, "name"))

    def _read_item(self, place: object, item: JSONDict) -> Iterator[StreamEvent]:
        """An item that is done: what of it no piece has told."""
        is_new = place not in self._told
        match item.get("type"):
            case "message" if is_new:
                yield from self._read_message(item)
            case "function_call":
                yield from self._begin(place, item)
                if is_new and (arguments := _string(item, "arguments")):
                    yield ToolCallDelta(self._calls[place], arguments)
            case "reasoning":
                thought = texts_of(item) if is_new else ""
                signature, redacted = seal_of(item)
                if thought or signature or redacted:
                    yield ReasoningDelta(thought, signature, redacted)

    def _read_message(self, item: JSONDict) -> Iterator[StreamEvent]:
        content = item.get("content")
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            if refusal := _string(part, "refusal"):
                self._refused = True
                yield TextDelta(refusal, refusal=True)
            elif text := _string(part, "text"):
                yield TextDelta(text)

    def _finish(self, response: JSONDict) -> Iterator[StreamEvent]:
        self._ended = True
        yield Finish(self._reason(response))
        usage = read_usage(response.get("usage"))
        if usage is not None:
            yield UsageReported(usage, final=True)

    def _reason(self, response: JSONDict) -> FinishReason:
        details = response.get("incomplete_details")
        why = details.get("reason") if isinstance(details, dict) else None
        if response.get("status") == "incomplete":
            return "content_filter" if why == "content_filter" else "length"
        if self._refused:
            return "content_filter"
        return "tool_calls" if self._calls else "stop"


def _string(holder: JSONDict, name: str) -> str:
    found = holder.get(name)
    return found if isinstance(found, str) else ""
