"""A place for a call: taken at the door, given back when the answer has ended."""

from collections.abc import Iterator

from modelbridge.errors import Overloaded
from modelbridge.gateway import pipeline
from modelbridge.gateway.call import Call
from modelbridge.gateway.pump import Outlet
from modelbridge.gateway.services import Gateway
from modelbridge.gateway.streaming import StreamBody


def take_slot(gateway: Gateway, call: Call) -> None:
    """A slot is the call's until `give_back`.

    Raises Overloaded at once if there is none, RateLimited if its key has too many calls already.
    """
    if gateway.draining.is_set():
        raise Overloaded("This bridge is shutting down. Try again in a moment.", retry_after=2)
    gateway.rates.enter(call)
    if not gateway.slots.acquire():
        gateway.rates.leave(call)
        raise Overloaded("All workers are busy. Try again in a moment.", retry_after=1)


def give_back(gateway: Gateway, call: Call) -> None:
    """The call's slot is free."""
    gateway.slots.release()
    gateway.rates.leave(call)


def stream(gateway: Gateway, call: Call) -> "SlottedBody":
    """The stream of a call that has its slot; the body owns the slot from here on."""
    try:
        body = pipeline.stream(gateway, call)
    except BaseException:
        give_back(gateway, call)
        raise
    return SlottedBody(body, gateway, call)


class SlottedBody:
    """A stream that gives its slot back when it is closed."""

    def __init__(self, body: pipeline.Body, gateway: Gateway, call: Call) -> None:
        self._body, self._gateway, self._call = body, gateway, call
        self._closed = False

    def attach(self, outlet: Outlet) -> None:
        """The server lets other threads write to the client."""
        if isinstance(self._body, StreamBody):
            self._body.attach(outlet)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """The stream is closed and its slot is free; idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            self._body.close()
        finally:
            give_back(self._gateway, self._call)
