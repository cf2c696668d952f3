"""Faults of the network: the Nth socket call of a kind that the bridge makes fails, as kernels do.

    with FaultySockets() as sockets:
        …                                   # the life of a call
        sockets.made()                      # {"send": 4, "TLS send": 2, …}
        sockets.fail("send", 2, error(errno.EPIPE))
        …                                   # its second send from now on fails, once

Only the calls of other threads than the main one count: a test speaks to the bridge, and to the
hostile upstream, from its main thread, and the bridge serves on others.
"""

import _socket
import contextlib
import errno
import os
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

Call = Callable[..., Any]
Fault = Callable[..., Any]  # gets the real call, then its arguments


def error(number: int) -> Fault:
    """The call fails with that errno, and nothing was done."""
    return _named(errno.errorcode[number], lambda *_, **__: _raise(_error(number)))


def returns(number: int) -> Fault:
    """The call returns that errno: what connect_ex and SO_ERROR do."""
    return _named(f"returns {errno.errorcode[number]}", lambda *_, **__: number)


def done_but(number: int) -> Fault:
    """The call does its work and fails all the same."""

    def fault(real: Call, *arguments: Any, **more: Any) -> None:
        real(*arguments, **more)
        raise _error(number)

    return _named(f"done, but {errno.errorcode[number]}", fault)


def broken(number: int | None) -> Fault:
    """The connection is no more, for both sides; this call says so with that errno, or with TLS's.

    A kernel whose connection was reset fails every later call on it, too.
    """

    def fault(real: Call, sock: socket.socket, *arguments: Any, **more: Any) -> None:
        _break(sock)
        raise ssl.SSLError(1, "bad record mac (planted)") if number is None else _error(number)

    return _named("a TLS error" if number is None else errno.errorcode[number], fault)


def cut_short(number: int) -> Fault:
    """Half of the bytes go out, then the connection breaks."""

    def fault(real: Call, sock: socket.socket, data: Any, *more: Any) -> None:
        real(sock, memoryview(data)[: len(data) // 2], *more)
        _break(sock)
        raise _error(number)

    return _named(f"half, then {errno.errorcode[number]}", fault)


def _break(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        _socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _one_byte_out(real: Call, sock: socket.socket, data: Any, *more: Any) -> Any:
    return real(sock, memoryview(data)[:1], *more)


def _one_byte_in(real: Call, sock: socket.socket, size: int, *more: Any) -> Any:
    return real(sock, 1, *more)


def _one_byte_into(real: Call, sock: socket.socket, buffer: Any, *more: Any) -> Any:
    return real(sock, memoryview(buffer)[:1])


def _named(name: str, fault: Fault) -> Fault:
    fault.__name__ = name
    return fault


def _raise(exception: Exception) -> None:
    raise exception


def _error(number: int) -> OSError:
    return OSError(number, f"{os.strerror(number)} (planted)")


_RESET, _PIPE, _LATE = (broken(n) for n in (errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT))
_BAD_TLS = broken(None)
_END = _named("ends", lambda *_: 0)

# Each kind of call: where it is defined, and the ways in which it fails.
KINDS: dict[str, tuple[type, str, list[Fault]]] = {
    "socket": (socket.socket, "__init__", [error(errno.EMFILE)]),
    "connect": (
        socket.socket,
        "connect_ex",
        [returns(errno.ECONNREFUSED), returns(errno.ETIMEDOUT), returns(errno.ENETUNREACH)],
    ),
    "connected": (
        socket.socket,
        "getsockopt",
        [returns(errno.ECONNREFUSED), returns(errno.ECONNRESET)],
    ),
    "setsockopt": (socket.socket, "setsockopt", [broken(errno.EINVAL)]),
    "accept": (socket.socket, "accept", [error(errno.ECONNABORTED), error(errno.EMFILE)]),
    "send": (
        socket.socket,
        "send",
        [_RESET, _PIPE, _LATE, error(errno.EWOULDBLOCK), _named("one byte", _one_byte_out)],
    ),
    "sendall": (socket.socket, "sendall", [_RESET, _PIPE, _LATE, cut_short(errno.ECONNRESET)]),
    "recv": (
        socket.socket,
        "recv",
        [_RESET, _LATE, _named("ends", lambda *_: b""), _named("one byte", _one_byte_in)],
    ),
    "recv_into": (
        socket.socket,
        "recv_into",
        [_RESET, _LATE, _END, _named("one byte", _one_byte_into)],
    ),
    "shutdown": (socket.socket, "shutdown", [error(errno.ENOTCONN)]),
    "close": (socket.socket, "_real_close", [done_but(errno.EIO), done_but(errno.ECONNRESET)]),
    "TLS handshake": (ssl.SSLSocket, "do_handshake", [_RESET, _LATE, _BAD_TLS]),
    "TLS send": (
        ssl.SSLSocket,
        "sendall",
        [_RESET, _PIPE, _LATE, _BAD_TLS, cut_short(errno.ECONNRESET)],
    ),
    "TLS recv": (
        ssl.SSLSocket,
        "recv",
        [_RESET, _LATE, _BAD_TLS, _named("ends", lambda *_: b""), _named("one byte", _one_byte_in)],
    ),
    "TLS recv_into": (
        ssl.SSLSocket,
        "recv_into",
        [_RESET, _LATE, _BAD_TLS, _END, _named("one byte", _one_byte_into)],
    ),
}


class FaultySockets:
    """While it is entered, every socket call of the kinds above is counted, and one may fail."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: Counter[str] = Counter()
        self._planned: tuple[str, int, Fault] | None = None
        self._real: dict[str, Any] = {}
        self.struck = 0

    def __enter__(self) -> Self:
        for kind, (where, name, _) in KINDS.items():
            self._real[kind] = where.__dict__.get(name)
            setattr(where, name, self._counted(kind, getattr(where, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for kind, (where, name, _faults) in KINDS.items():
            if self._real[kind] is None:  # inherited from the C class
                delattr(where, name)
            else:
                setattr(where, name, self._real[kind])

    def made(self) -> dict[str, int]:
        """How many of each kind there were since this was last asked."""
        with self._lock:
            made, self._made = dict(self._made), Counter()
            return made

    def fail(self, kind: str, nth: int, fault: Fault) -> None:
        """The nth call of that kind from now on fails so; those after it do not."""
        with self._lock:
            self._planned = (kind, nth, fault)

    def heal(self) -> bool:
        """Nothing fails any more; whether what was planned had come to pass."""
        with self._lock:
            pending, self._planned = self._planned is not None, None
            return not pending

    def _counted(self, kind: str, real: Call) -> Call:
        def call(*arguments: Any, **more: Any) -> Any:
            fault = None if self._is_ours(kind, arguments, more) else self._due(kind)
            if fault is None:
                return real(*arguments, **more)
            return fault(real, *arguments, **more)

        return call

    @staticmethod
    def _is_ours(kind: str, arguments: tuple[Any, ...], more: dict[str, Any]) -> bool:
        """A call of the test itself, or one that only looks like a fault of the network's."""
        if kind == "socket" and more.get("fileno") is not None:
            return True  # an object for a socket that the kernel has made
        if kind == "connected" and arguments[2] != socket.SO_ERROR:
            return True
        return threading.current_thread() is threading.main_thread()

    def _due(self, kind: str) -> Fault | None:
        with self._lock:
            self._made[kind] += 1
            if self._planned is None or self._planned[0] != kind:
                return None
            _, nth, fault = self._planned
            if nth > 1:
                self._planned = (kind, nth - 1, fault)
                return None
            self._planned = None
            self.struck += 1
            return fault
