"""Sending: the targets of a call in their order, until one says yes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modelbridge.dialects.registry import UPSTREAM_DIALECTS
from modelbridge.errors import BridgeError, UpstreamError
from modelbridge.gateway import kinds
from modelbridge.gateway.call import Call
from modelbridge.gateway.charge import Charge
from modelbridge.gateway.flights import Flight
from modelbridge.gateway.services import Gateway
from modelbridge.upstream.client import Exchange
from modelbridge.wire.target import WireRequest

MAX_ERROR_BYTES = 64 * 1024
REST_SECONDS = 5.0
MAX_NAME, MAX_NOTE = 100, 2_000


@dataclass(slots=True)
class Sent:
    """An exchange whose upstream said 200, watched over until `close`."""

    gateway: Gateway
    exchange: Exchange
    flight: Flight

    def close(self) -> None:
        """The connection is given back or closed; idempotent."""
        self.gateway.flights.remove(self.flight)
        self.exchange.close()


def send(gateway: Gateway, call: Call, request: Any, charge: Charge) -> Sent:
    """The first target that accepts the call has it.

    Another is tried only after a refusal that cost nothing. Raises the last target's error.
    """
    while True:
        wire_request = _build(call, request, charge)
        try:
            return _try(gateway, call, charge, wire_request)
        except UpstreamError as error:
            if error.refused or error.status >= 500:
                rest = (error.retry_after or REST_SECONDS) if error.refused else 0.0
                gateway.health.failed(charge.offer.target.upstream_id, rest, error.code or "")
            if not error.refused or charge.number == len(charge.offers) or call.client_gone():
                raise
            charge.next_attempt(error.code or "refused")


def _build(call: Call, request: Any, charge: Charge) -> WireRequest:
    target = charge.offer.target
    wire_request = kinds.of(call).build_request(request, target, charge.output_cap)
    if wire_request.dropped:
        call.notes["x-modelbridge-dropped"] = _listed(wire_request.dropped)
    else:
        call.notes.pop("x-modelbridge-dropped", None)
    return wire_request


def _try(gateway: Gateway, call: Call, charge: Charge, wire_request: WireRequest) -> Sent:
    target = charge.offer.target
    exchange = gateway.upstreams.open(target, wire_request, stream=call.stream)
    flight = Flight(
        call.caller.key_id, exchange, call.client_gone, cut_when_gone=target.cancel_stops_billing
    )
    gateway.flights.add(flight)
    sent = Sent(gateway, exchange, flight)
    try:
        if charge.number == 1:
            call.added_micros = call.micros_so_far()
        exchange.start()
        charge.upstream_status = exchange.status
        if exchange.status != 200:
            raise _refusal(charge, exchange)
    except BaseException:
        charge.sent = exchange.sent
        sent.close()
        raise
    charge.sent = True
    call.mark_first_byte()
    gateway.health.worked(target.upstream_id)
    return sent


def _refusal(charge: Charge, exchange: Exchange) -> UpstreamError:
    target = charge.offer.target
    try:
        body = exchange.read_all(MAX_ERROR_BYTES)
    except BridgeError:
        body = b""  # what the head said is enough, also if the client leaves meanwhile
    dialect = UPSTREAM_DIALECTS[target.dialect]
    return dialect.read_error(exchange.status, dict(exchange.headers), body, target)


def _listed(names: Sequence[str]) -> str:
    """Names of the client's own making, as a header can carry them: short, printable, ASCII."""
    told = ", ".join(name[:MAX_NAME].encode("unicode_escape").decode("ascii") for name in names)
    return told[:MAX_NOTE]
