"""One thread that keeps every exchange's deadlines, so that no trickle of bytes can evade them."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from modelbridge import clock
from modelbridge.errors import BridgeError

logger = logging.getLogger("modelbridge.upstream")

_BUSY_SECONDS = 0.1
_QUIET_SECONDS = 5.0


class Watched(Protocol):
    """Something with deadlines."""

    def overdue(self, now: float) -> BridgeError | None:
        """The deadline that has passed at `now` (clock.monotonic), as an error; else None."""

    def cut(self, error: BridgeError) -> None:
        """End it with that error; does not block."""


_W = TypeVar("_W", bound=Watched)


class Watch(Generic[_W]):
    """Cuts whatever is overdue, within a tenth of a second. The thread starts with the first one.

    `tidy` is called every five seconds or so.
    """

    def __init__(self, tidy: Callable[[], None]) -> None:
        self._tidy = tidy
        self._tidied_at = clock.monotonic()
        self._lock = threading.Lock()
        self._watched: set[_W] = set()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._resting = False

    def add(self, watched: _W) -> None:
        """From now on its deadlines are kept."""
        with self._lock:
            self._watched.add(watched)
            if self._resting:
                self._resting = False
                self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="upstream-watch", daemon=True
                )
                self._thread.start()

    def discard(self, watched: _W) -> None:
        """It has ended."""
        with self._lock:
            self._watched.discard(watched)

    def watched(self) -> list[_W]:
        """What has not ended yet."""
        with self._lock:
            return list(self._watched)

    def close(self) -> list[_W]:
        """Stop; returns what was still being watched."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            left = list(self._watched)
            self._watched.clear()
        return left

    def _run(self) -> None:
        busy_until = 0.0
        while not self._closed:
            with self._lock:
                now = clock.monotonic()
                if self._watched:
                    busy_until = now + _QUIET_SECONDS
                self._resting = now >= busy_until
            self._wake.wait(_QUIET_SECONDS if self._resting else _BUSY_SECONDS)
            self._wake.clear()
            self._look()

    def _look(self) -> None:
        now = clock.monotonic()
        for one in self.watched():
            with _carry_on():
                error = one.overdue(now)
                if error is not None:
                    one.cut(error)
        if now - self._tidied_at >= _QUIET_SECONDS:
            self._tidied_at = now
            with _carry_on():
                self._tidy()


@contextmanager
def _carry_on() -> Iterator[None]:
    """Whatever goes wrong within is logged: the other deadlines must still be kept."""
    try:
        yield
    except Exception:
        logger.exception("the watch over upstream deadlines failed; it goes on")
