"""The pump: one thread that moves the bytes of all open streams.

A thread for each stream costs a switch of threads for each piece of it; at some thousand pieces a
second nothing else happens any more. So the worker of a stream sleeps while this thread reads its
upstream and writes to its client, and does the rest itself: the beginning, the settlement, the
end (docs/decisions/0007-pump.md).
"""

import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from modelbridge import clock

TICK_SECONDS = 0.25
PAUSED_TICK_SECONDS = 0.02
MOST_UNSENT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Outlet:
    """The way to a client: WSGI's `write`, and how many bytes the client has yet to take."""

    write: Callable[[bytes], object]
    unsent_bytes: Callable[[], int]


class Cargo(Protocol):
    """A stream, as the pump sees it. Nothing here waits."""

    def advance(self) -> bytes:
        """Read what has come; the bytes for the client now."""

    @property
    def ended(self) -> bool:
        """Nothing more is to be read."""

    @property
    def is_cut(self) -> bool:
        """Its upstream was cut: `advance` will say why, however slow the client is."""

    def idle(self, now: float) -> bytes:
        """While the upstream is silent, from time to time: a comment, or nothing."""

    def pause(self) -> None:
        """The client is slow: until `resume` the upstream is not read."""

    def resume(self) -> None:
        """The upstream is read again."""


@dataclass(slots=True, eq=False)
class _Ride:
    """A stream on the pump. `landed` is a lock that its worker waits for."""

    fd: int
    cargo: Cargo
    outlet: Outlet
    last: bytes = b""
    error: BaseException | None = None
    landed: threading.Lock = field(default_factory=threading.Lock)


class Pump:
    """Carries streams. The thread starts with the first one."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._rides: dict[int, _Ride] = {}
        self._paused: set[_Ride] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def __len__(self) -> int:
        return len(self._rides)

    def carry(self, fd: int, cargo: Cargo, outlet: Outlet) -> bytes:
        """Sleep until the cargo has ended; the last bytes for the client are for the caller.

        `fd` is the upstream's socket: nobody else reads or closes it meanwhile. Raises what
        `advance` or the client raised. A pump that stops gives every cargo back as it is.
        """
        ride = _Ride(fd, cargo, outlet)
        ride.landed.acquire()
        with self._lock:
            if self._stopping:
                return b""
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
                self._thread.start()
            self._rides[fd] = ride
            self._epoll.register(fd, select.EPOLLIN)
        ride.landed.acquire()
        if ride.error is not None:
            raise ride.error
        return ride.last

    def stop(self) -> None:
        """End the thread; the workers of streams that are still open go on by themselves."""
        with self._lock:
            self._stopping = True
            thread = self._thread
        if thread is not None:
            waker = os.eventfd(1)
            self._epoll.register(waker, select.EPOLLIN)
            thread.join()
            os.close(waker)
        self._epoll.close()

    def _run(self) -> None:
        next_tick = clock.monotonic() + TICK_SECONDS
        while not self._stopping:
            for fd, _ in self._epoll.poll(PAUSED_TICK_SECONDS if self._paused else TICK_SECONDS):
                ride = self._rides.get(fd)
                if ride is not None:
                    self._move(ride)
            for ride in list(self._paused):
                self._resume(ride)
            now = clock.monotonic()
            if now >= next_tick:
                next_tick = now + TICK_SECONDS
                for ride in self._open():
                    self._idle(ride, now)
        for ride in self._open():
            self._land(ride)

    def _open(self) -> list[_Ride]:
        with self._lock:
            return list(self._rides.values())

    def _move(self, ride: _Ride) -> None:
        """What has come from the upstream goes to the client, unless that has enough as it is."""
        cargo, outlet = ride.cargo, ride.outlet
        try:
            if outlet.unsent_bytes() > MOST_UNSENT_BYTES and not cargo.is_cut:
                self._pause(ride)
                return
            out = cargo.advance()
            if cargo.ended:
                ride.last = out
                self._land(ride)
            elif out:
                outlet.write(out)
        except BaseException as error:
            self._land(ride, error)

    def _idle(self, ride: _Ride, now: float) -> None:
        try:
            out = ride.cargo.idle(now)
            if out and not ride.outlet.unsent_bytes():
                ride.outlet.write(out)
        except BaseException as error:
            self._land(ride, error)

    def _pause(self, ride: _Ride) -> None:
        """Unwatched altogether: a socket that is shut would wake the pump on and on."""
        self._epoll.unregister(ride.fd)
        self._paused.add(ride)
        ride.cargo.pause()

    def _resume(self, ride: _Ride) -> None:
        """Read on when the client has taken half, or when there is nothing more to read."""
        if ride.outlet.unsent_bytes() <= MOST_UNSENT_BYTES // 2 or ride.cargo.is_cut:
            self._paused.discard(ride)
            ride.cargo.resume()
            self._epoll.register(ride.fd, select.EPOLLIN)

    def _land(self, ride: _Ride, error: BaseException | None = None) -> None:
        """Its worker has it back, and may close the socket: not before it is unwatched."""
        del self._rides[ride.fd]
        if ride in self._paused:
            self._paused.discard(ride)
        else:
            self._epoll.unregister(ride.fd)
        ride.error = error
        ride.landed.release()
