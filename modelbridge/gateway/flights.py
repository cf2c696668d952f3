"""Calls that are at an upstream now, and the one thread that watches over them.

A quarter of a second apart it looks whether clients have hung up; half a second apart whether
keys are still alive. What has to end is cut from here: the thread that reads the upstream wakes.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from modelbridge import clock
from modelbridge.errors import BridgeError, CutByRevocation, UpstreamTimeout
from modelbridge.upstream.client import Exchange

LOOK_SECONDS = 0.25
_log = logging.getLogger("modelbridge.gateway")


class ClientLeft(BridgeError):
    """The client hung up, and closing the connection stops the upstream's meter."""

    status, code, retry = 499, "client_left", False


@dataclass(slots=True, eq=False)
class Flight:
    """One exchange with an upstream. `drain_until`: when to stop listening after a hang-up."""

    key_id: str
    exchange: Exchange
    client_gone: Callable[[], bool]
    cut_when_gone: bool
    drain_until: float | None = field(default=None)


class Flights:
    """Every flight of the process. `dead_keys` says which of these key ids may not go on."""

    def __init__(self, dead_keys: Callable[[Iterable[str]], set[str]]) -> None:
        self._dead_keys = dead_keys
        self._flights: set[Flight] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flights", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def add(self, flight: Flight) -> None:
        """Watch over it."""
        with self._lock:
            self._flights.add(flight)

    def remove(self, flight: Flight) -> None:
        """It has landed."""
        with self._lock:
            self._flights.discard(flight)

    def __len__(self) -> int:
        return len(self._flights)

    def _run(self) -> None:
        rounds = 0
        while not self._stop.wait(LOOK_SECONDS):
            rounds += 1
            with self._lock:
                flights = list(self._flights)
            try:
                self._look(flights, keys_too=rounds % 2 == 0)
            except Exception:
                _log.exception("the watch over running calls stumbled")

    def _look(self, flights: list[Flight], *, keys_too: bool) -> None:
        now = clock.monotonic()
        for flight in flights:
            if flight.drain_until is not None:
                if now > flight.drain_until:
                    flight.exchange.cut(UpstreamTimeout("The upstream went on for too long."))
            elif flight.cut_when_gone and flight.client_gone():
                flight.exchange.cut(ClientLeft("The client hung up."))
        if keys_too and flights:
            dead = self._dead_keys({flight.key_id for flight in flights})
            for flight in flights:
                if flight.key_id in dead:
                    flight.exchange.cut(
                        CutByRevocation("This API key was revoked while its call was running.")
                    )
