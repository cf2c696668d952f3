"""From an upstream's frames to the client's bytes: passed on, or translated; metered either way.

`open_relay` is the only place that compares the two formats.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from modelbridge.dialects.base import Front, PlainUpstream, UpstreamDialect
from modelbridge.dialects.registry import EMBEDDINGS, PLAINS, READERS, UPSTREAM_DIALECTS
from modelbridge.errors import BridgeError, UpstreamError
from modelbridge.gateway import kinds
from modelbridge.gateway.call import Call
from modelbridge.jsonio import dumps, loads
from modelbridge.money import Usage
from modelbridge.wire.chat import wants_usage
from modelbridge.wire.reply import (
    Finish,
    ReasoningDelta,
    Reply,
    ReplyHead,
    StreamEvent,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageReported,
)
from modelbridge.wire.sse import Frame
from modelbridge.wire.target import Target

MAX_HELD_BACK_BYTES = 256 * 1024


@dataclass(slots=True)
class Meter:
    """What a reply came to so far. `output_bytes`: UTF-8 bytes of text that the model produced.

    `final`: the usage is the last one. `finished`: a finish reason came. `done`: the end mark.
    """

    usage: Usage | None = None
    final: bool = False
    output_bytes: int = 0
    finished: bool = False
    done: bool = False
    error: BridgeError | None = None

    @property
    def complete(self) -> bool:
        """The upstream said all that it had to say."""
        return self.done or self.finished


class WholeRelay(Protocol):
    """One reply on its way back, in one piece."""

    meter: Meter

    def whole(self, body: bytes) -> bytes:
        """The client's body for a complete reply. Raises UpstreamError if it is not one."""


class Relay(WholeRelay, Protocol):
    """One reply on its way back, in one piece or frame by frame."""

    def frame(self, frame: Frame) -> bytes:
        """Bytes for the client now; what must wait for the settlement is kept."""

    def end(self) -> None:
        """The upstream's bytes are over: `meter.error` is set if something is missing."""

    def tail(self, cost: str) -> bytes:
        """After the settlement: what was kept, with the cost in it, and the format's end."""


def open_whole(call: Call, request: Any, target: Target) -> WholeRelay:
    """The way back of an answer in one piece."""
    plain = PLAINS.get(call.front.NAME)
    if plain is None:
        return open_relay(call, request, target)
    return PlainRelay(EMBEDDINGS.get(target.dialect, plain), request)


def open_relay(call: Call, request: Any, target: Target) -> Relay:
    """The same format on both sides: pass the bytes on. Else translate."""
    front = cast(Front, call.front)  # the other faces are plain, and never stream
    sent_as = kinds.of(call).format_at(target)
    if sent_as == front.NAME:
        return Passthrough(front, include_usage=wants_usage(request))
    dialect = UPSTREAM_DIALECTS[sent_as]
    return Translation(front, dialect, call.head(), include_usage=wants_usage(request))


class PlainRelay:
    """An answer that is not said in tokens: read whole, and handed on as the client asked for."""

    def __init__(self, plain: PlainUpstream, request: Any) -> None:
        self.meter = Meter()
        self._plain, self._request = plain, request

    def whole(self, body: bytes) -> bytes:
        """The answer, with its usage taken note of."""
        told, usage = self._plain.read_answer(body, self._request)
        meter = self.meter
        meter.usage, meter.final = usage, usage is not None
        meter.finished = meter.done = True
        return told


class Passthrough:
    """Frames go on untouched, except the one with the usage and those after it."""

    def __init__(self, front: Front, *, include_usage: bool) -> None:
        self.meter = Meter()
        self._front = front
        self._mender = front.mend_stream()
        self._include_usage = include_usage
        self._kept: list[Frame] = []
        self._usage_frame: Frame | None = None
        self._kept_bytes = 0

    def whole(self, body: bytes) -> bytes:
        """The same bytes; only `meter.error` if it failed and says what it costs all the same."""
        meter = self.meter
        meter.usage = self._front.find_usage(body)
        meter.final = meter.usage is not None
        try:
            reply = loads(body)
        except ValueError:
            raise _not_a_reply() from None
        if not isinstance(reply, dict):
            raise _not_a_reply()
        if reply.get("error") is not None:
            meter.error = _not_a_reply()
            if not meter.final:
                raise meter.error
        if not meter.final:
            meter.output_bytes = _text_bytes(READERS[self._front.NAME](reply))
        meter.finished = meter.done = True
        return body

    def frame(self, frame: Frame) -> bytes:
        """The frame's own bytes, unless it has to be mended, or to wait."""
        frame = self._mender.mend(frame)
        seen, meter = self._front.inspect(frame), self.meter
        meter.output_bytes += seen.text_bytes
        meter.finished = meter.finished or seen.finished
        meter.done = meter.done or seen.done
        if seen.error:
            meter.error = seen.error
            if seen.usage:  # what it costs all the same
                meter.usage, meter.final = seen.usage, True
            return b""
        # OpenRouter tells its usage in a chunk of its own after the finish, beside an empty choice.
        final = seen.final or (seen.usage is not None and meter.finished)
        if seen.usage:
            meter.usage = seen.usage
            meter.final = meter.final or final
        if final:
            self._usage_frame = frame
        if meter.final or seen.done:
            self._keep(frame)
            return b""
        return frame.raw

    def end(self) -> None:
        """Without a finish reason and an end mark the stream was cut."""
        if not self.meter.complete and self.meter.error is None:
            self.meter.error = _cut()

    def tail(self, cost: str) -> bytes:
        """What was kept; the usage says the cost, or stays here if nobody asked for it."""
        out = bytearray()
        for frame in self._kept:
            if frame is self._usage_frame or self._front.inspect(frame).usage is not None:
                shown = cost if frame is self._usage_frame else None
                out += self._front.write_usage_frame(
                    frame, shown, include_usage=self._include_usage
                )
            else:
                out += frame.raw
        return bytes(out)

    def _keep(self, frame: Frame) -> None:
        self._kept.append(frame)
        self._kept_bytes += len(frame.raw)
        if self._kept_bytes > MAX_HELD_BACK_BYTES:
            self.meter.done = True  # whatever still follows a final usage is not for the client


class Translation:
    """Frames are read as events and written anew in the client's format."""

    def __init__(
        self, front: Front, dialect: UpstreamDialect, head: ReplyHead, *, include_usage: bool
    ) -> None:
        self.meter = Meter()
        self._front, self._dialect, self._head = front, dialect, head
        self._reader = dialect.read_stream()
        self._writer = front.write_stream(head, include_usage=include_usage)

    def whole(self, body: bytes) -> bytes:
        """The reply in the client's format; only `meter.error` if it failed and was billed.

        Raises UpstreamError if it failed and nobody knows what it cost.
        """
        try:
            parsed = loads(body)
        except ValueError:
            raise _not_a_reply() from None
        if not isinstance(parsed, dict):
            raise _not_a_reply()
        reply = self._dialect.read_reply(parsed)
        if reply.error and reply.usage is None:
            raise reply.error
        meter = self.meter
        meter.error = reply.error
        meter.usage, meter.final = reply.usage, reply.usage is not None
        meter.output_bytes = _text_bytes(reply)
        meter.finished = meter.done = True
        return b"" if reply.error else dumps(self._front.write_reply(reply, self._head))

    def frame(self, frame: Frame) -> bytes:
        """The events of this frame, in the client's format."""
        return self._write(self._reader.feed(frame))

    def end(self) -> None:
        """The reader says whether something is missing."""
        self._write(self._reader.end())

    def tail(self, cost: str) -> bytes:
        """The format's own ending."""
        return self._writer.end(self.meter.usage, cost)

    def _write(self, events: Iterable[StreamEvent]) -> bytes:
        out = b""
        for event in events:
            self._count(event)
            if self.meter.error:
                return out
            out += self._writer.write(event)
        return out

    def _count(self, event: StreamEvent) -> None:
        meter = self.meter
        match event:
            case TextDelta(text) | ReasoningDelta(text) | ToolCallDelta(_, text):
                meter.output_bytes += len(text.encode())
            case ToolCallStart(_, _, name):
                meter.output_bytes += len(name.encode())
            case UsageReported(usage, final):
                meter.usage, meter.final = usage, meter.final or final
            case Finish():
                meter.finished = True
            case StreamFailed(error):
                meter.error = error


def _text_bytes(reply: Reply) -> int:
    arguments = sum(len(call.name + call.arguments) for call in reply.tool_calls)
    return len(reply.said.encode()) + len(reply.reasoning.encode()) + arguments


def _not_a_reply() -> UpstreamError:
    return UpstreamError(
        "The upstream's answer is not a reply that we can read.", may_have_billed=True
    )


def _cut() -> UpstreamError:
    return UpstreamError(
        "The upstream's stream ended before its answer was complete.", may_have_billed=True
    )
