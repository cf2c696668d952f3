"""One exchange's hold on its connection: whether anything was sent, and the way to cut it."""

import contextlib
import socket
import threading

from modelbridge import clock
from modelbridge.errors import BridgeError

_here = threading.local()


class Line:
    """Any thread may cut it at any time; the thread that works on it then gets the error.

    `sent_at` (clock.monotonic) is set before the first byte of the request can leave: while it is
    None, nothing was sent. `allow_private`: addresses of this machine or a private network will do.
    """

    __slots__ = (
        "_lock", "_socket", "allow_private", "connect_seconds", "error", "sent_at", "upstream",
    )  # fmt: skip

    def __init__(self, upstream: str, connect_seconds: float, *, allow_private: bool) -> None:
        self.upstream = upstream
        self.connect_seconds = connect_seconds
        self.allow_private = allow_private
        self.error: BridgeError | None = None
        self.sent_at: float | None = None
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def check(self) -> None:
        """Raises the error with which the line was cut, if it was."""
        if self.error is not None:
            raise self.error

    def attach(self, sock: socket.socket) -> None:
        """From now on a cut shuts this socket. Raises if the line was cut before."""
        with self._lock:
            self.check()
            self._socket = sock

    def detach(self) -> None:
        """From now on a cut leaves the socket alone: it is about to be closed or used by others."""
        with self._lock:
            self._socket = None

    def sending(self) -> None:
        """The next thing is to send. Raises if the line was cut before."""
        with self._lock:
            self.check()
            if self.sent_at is None:
                self.sent_at = clock.monotonic()

    def cut(self, error: BridgeError) -> None:
        """End it: whoever waits on the socket wakes up. Only the first error counts."""
        with self._lock:
            if self.error is None:
                self.error = error
                if self._socket is not None:
                    # Not SSLSocket's own shutdown, which would let a reader see the ciphertext.
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


def current() -> Line:
    """The line on which this thread is sending."""
    line: Line = _here.line
    return line


def stand_on(line: Line) -> None:
    """From now on this thread's connections belong to that line."""
    _here.line = line
