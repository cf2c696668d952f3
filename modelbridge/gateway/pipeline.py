"""The story of one call. Read this first.

    validate   front.read_request(body)       the canonical request, or the field at fault
    route      admission.choose(…)            the model's targets, in order
    admit      admission.admit(…)             priced, quoted; the hold stands
    send       sending.send(…)                the first target that says yes
    read back  relay.whole(…) / relay.frame(…)  passed on or translated; every byte metered
    settle     charge.settle(usage)           committed before the last bytes go out

Between the hold and its resolution an ExitStack owns it, or a StreamBody; never nobody.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

from modelbridge.errors import UpstreamError
from modelbridge.gateway import practice
from modelbridge.gateway.admission import admit
from modelbridge.gateway.call import Answer, Call
from modelbridge.gateway.charge import Charge, finish_of
from modelbridge.gateway.relay import WholeRelay, open_relay, open_whole
from modelbridge.gateway.sending import Sent, send
from modelbridge.gateway.services import Gateway
from modelbridge.gateway.streaming import StreamBody

MAX_REPLY_BYTES = 64 * 2**20


class Body(Protocol):
    """A stream for the client: iterate it, and always close it."""

    def __iter__(self) -> Iterator[bytes]:
        """Bytes as they come."""

    def close(self) -> None:
        """Every hold and connection of it is resolved; idempotent."""


def complete(gateway: Gateway, call: Call) -> Answer:
    """Make a call that is answered in one piece."""
    request = _read(gateway, call)
    if call.caller.is_test:
        return practice.complete(gateway, call, request)
    with ExitStack() as undo:
        charge = admit(gateway, call, request)
        undo.push(charge.abandon)
        sent = send(gateway, call, request, charge)
        undo.callback(sent.close)
        relay = open_whole(call, request, charge.offer.target)
        body = relay.whole(sent.exchange.read_all(MAX_REPLY_BYTES))
        _settle_whole(charge, relay)
        return Answer(body)


def stream(gateway: Gateway, call: Call) -> Body:
    """Make a call that is answered piece by piece; the body owns the charge from here on."""
    request = _read(gateway, call)
    if call.caller.is_test:
        return practice.stream(gateway, call, request)
    with ExitStack() as undo:
        charge = admit(gateway, call, request)
        undo.push(charge.abandon)
        sent = send(gateway, call, request, charge)
        undo.callback(sent.close)
        _refuse_plain_answer(sent)
        relay = open_relay(call, request, charge.offer.target)
        body = StreamBody(call, charge, sent, relay)
        undo.pop_all()
        return body


def _read(gateway: Gateway, call: Call) -> Any:
    """The canonical request of the call's kind."""
    request = call.front.read_request(call.body)
    call.model = request["model"]
    gateway.rates.take_tokens(call, request)
    return request


def _settle_whole(charge: Charge, relay: WholeRelay) -> None:
    """The call is posted. Raises the error of an answer that failed, but has its price."""
    meter = relay.meter
    finish = finish_of(meter.error)
    if meter.usage is not None:
        charge.settle(meter.usage, "reported", finish=finish, error=meter.error)
    else:
        usage = charge.estimate(None, meter.output_bytes)
        charge.settle(usage, "estimated", finish=finish, error=meter.error)
    if meter.error is not None:
        raise meter.error


def _refuse_plain_answer(sent: Sent) -> None:
    """A stream was asked for; anything else with status 200 is an upstream's failure."""
    kind = sent.exchange.headers.get("content-type", "")
    if not kind.lower().startswith("text/event-stream"):
        raise UpstreamError(
            "The upstream answered a request for a stream with something else.",
            may_have_billed=True,
        )
