"""A place for a call: taken at the door, given back when the answer has ended."""

from collections.abc import Iterator

from modelbridge.errors import Overloaded
from modelbridge.gateway import pipeline
from modelbridge.gateway.call import Call
from modelbridge.gateway.services import Gateway


def take_slot(gateway: Gateway) -> None:
    """A slot is the caller's, who gives it back. Raises Overloaded at once if there is none."""
    if gateway.draining.is_set():
        raise Overloaded("This bridge is shutting down. Try again in a moment.", retry_after=2)
    if not gateway.slots.acquire():
        raise Overloaded("All workers are busy. Try again in a moment.", retry_after=1)


def stream(gateway: Gateway, call: Call) -> "SlottedBody":
    """The stream of a call that has its slot; the body owns the slot from here on."""
    try:
        body = pipeline.stream(gateway, call)
    except BaseException:
        gateway.slots.release()
        raise
    return SlottedBody(body, gateway)


class SlottedBody:
    """A stream that gives its slot back when it is closed."""

    def __init__(self, body: pipeline.Body, gateway: Gateway) -> None:
        self._body, self._gateway = body, gateway
        self._closed = False

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
            self._gateway.slots.release()
