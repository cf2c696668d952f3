"""The body of a stream: owns the charge and the exchange from the moment it exists.

An object with `__iter__` and an idempotent `close()`, not a generator: a generator that is closed
before its first `next()` never runs its `finally`.
"""

import logging
from collections.abc import Callable, Iterator

from modelbridge import clock
from modelbridge.errors import BridgeError, UpstreamError
from modelbridge.gateway.call import Call
from modelbridge.gateway.charge import Charge, finish_of
from modelbridge.gateway.pump import Outlet
from modelbridge.gateway.relay import Relay
from modelbridge.gateway.sending import Sent
from modelbridge.money import Usage, format_amount
from modelbridge.wire.sse import FrameReader, FrameTooLarge

EVIDENCE_SECONDS = 2.0
KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = b": keep-alive\n\n"
DRAIN_SECONDS = 60.0
_log = logging.getLogger("modelbridge.gateway")


class StreamBody:
    """Bytes for the client, piece by piece. Settles before the last of them.

    While the upstream is silent, comments keep proxies on the way from giving up.
    """

    keep_alive_seconds = KEEP_ALIVE_SECONDS

    def __init__(self, call: Call, charge: Charge, sent: Sent, relay: Relay) -> None:
        self._call, self._charge, self._sent, self._relay = call, charge, sent, relay
        self._frames = FrameReader()
        self._moved_at = clock.monotonic()
        self._next_evidence = self._moved_at + EVIDENCE_SECONDS
        self._kept: tuple[Usage | None, int] | None = None
        self._outlet: Outlet | None = None
        self._closed = False
        self.ended = False

    def attach(self, outlet: Outlet) -> None:
        """The server lets the pump write to the client: most of the stream goes that way."""
        self._outlet = outlet

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """The next bytes; waits for the upstream. Failures become the format's error frame."""
        while not self.ended:
            out = self._advance() if self._outlet is None else self._ride(self._outlet)
            if self.ended:
                out += self._finish()
            if out:
                return out
        raise StopIteration

    def close(self) -> None:
        """The hold is resolved and the connection given back, whatever happened before."""
        if self._closed:
            return
        self._closed = True
        try:
            if not self.ended:
                self._hang_up()
        finally:
            self._sent.close()
            if not self._charge.resolved:  # a fault of our own
                meter = self._relay.meter
                self._charge.forget_outcome(None, meter.usage, meter.output_bytes)

    # What the pump needs to know

    def advance(self) -> bytes:
        """Without waiting: what has come, for the client; `ended` when nothing more will."""
        exchange = self._sent.exchange
        out = self._digest(exchange.take)
        if exchange.taken_whole and not self.ended:
            out += self._digest(exchange.take)
        return out

    @property
    def is_cut(self) -> bool:
        """A deadline, a revocation or a hang-up has cut the upstream."""
        return self._sent.exchange.is_cut

    def idle(self, now: float) -> bytes:
        """A comment when it is time for one; at once if nobody is there, for the write tells."""
        self._keep_evidence(now)
        if now - self._moved_at < self.keep_alive_seconds and not self._call.client_gone():
            return b""
        self._moved_at = now
        return KEEP_ALIVE

    def pause(self) -> None:
        """The client is slow."""
        self._sent.exchange.pause_taking()

    def resume(self) -> None:
        """The client has caught up."""
        self._sent.exchange.resume_taking()

    def _ride(self, outlet: Outlet) -> bytes:
        """Let the pump carry the stream; the last bytes, which wait for the settlement."""
        self._outlet = None
        exchange = self._sent.exchange
        socket = exchange.begin_taking()
        if socket is None:
            return b""
        try:
            out = self.advance()  # what came with the head, no poll will tell
            if self.ended:
                return out
            if out:
                outlet.write(out)
            return self._charge.gateway.pump.carry(socket, self, outlet)
        finally:
            exchange.end_taking(done=self.ended)

    def _advance(self) -> bytes:
        """Wait for what comes; `ended` when nothing more is to be read."""
        if not self._sent.exchange.wait(self.keep_alive_seconds):
            return KEEP_ALIVE
        return self._digest(self._sent.exchange.read)

    def _digest(self, read: Callable[[], bytes | None]) -> bytes:
        meter = self._relay.meter
        out = bytearray()
        try:
            chunk = read()
            if chunk is None:
                return b""
            for frame in self._frames.feed(chunk):
                out += self._relay.frame(frame)
                if meter.done or meter.error:
                    break
            if not chunk:
                self._read_rest(out)
        except FrameTooLarge:
            meter.error = UpstreamError(
                "The upstream sent an event that is too large.", may_have_billed=True
            )
        except BridgeError as error:
            if not meter.complete:
                meter.error = error
            self.ended = True
        self.ended = self.ended or bool(meter.done or meter.error)
        self._moved_at = clock.monotonic()
        self._keep_evidence(self._moved_at)
        return bytes(out)

    def _read_rest(self, out: bytearray) -> None:
        if rest := self._frames.rest():
            out += self._relay.frame(rest)
        self._relay.end()
        self.ended = True

    def _finish(self) -> bytes:
        """Settle, then the last bytes: the format's end, or the error instead of it."""
        meter = self._relay.meter
        finish = finish_of(meter.error)
        try:
            cost = self._settle(finish, meter.error)
        except BridgeError as error:
            meter.error = error
        if meter.error is not None:
            return self._call.front.write_stream_error(meter.error, self._call.id)
        return self._relay.tail(format_amount(cost))

    def _settle(self, finish: str, error: BridgeError | None) -> int:
        meter = self._relay.meter
        if meter.final and meter.usage is not None:
            return self._charge.settle(meter.usage, "reported", finish=finish, error=error)
        usage = self._charge.estimate(meter.usage, meter.output_bytes)
        return self._charge.settle(usage, "estimated", finish=finish, error=error)

    def _hang_up(self) -> None:
        """The client has left: hear the upstream out where its meter runs on, else stop it."""
        gateway = self._charge.gateway
        stops = self._charge.offer.target.cancel_stops_billing
        if not stops and gateway.drains.acquire(blocking=False):
            try:
                self._sent.flight.drain_until = clock.monotonic() + DRAIN_SECONDS
                while not self.ended:
                    self._advance()
            finally:
                gateway.drains.release()
        self.ended = True
        try:
            self._settle("client_left", None)
        except BridgeError:
            _log.exception("call %s: the settlement has to wait", self._call.id)

    def _keep_evidence(self, now: float) -> None:
        """What is known is on the disk two seconds later, also of an upstream that fell silent."""
        if now < self._next_evidence or self.ended:
            return
        self._next_evidence = now + EVIDENCE_SECONDS
        known = self._relay.meter.usage, self._relay.meter.output_bytes
        if known != self._kept:
            self._kept = known
            self._charge.keep_evidence(*known)
