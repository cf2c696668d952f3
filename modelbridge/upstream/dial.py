"""Connecting: look the name up, check the address, connect, within a deadline and cuttable."""

import errno
import logging
import queue
import select
import socket
import threading
from typing import Any

from modelbridge import clock
from modelbridge.errors import UpstreamError, UpstreamTimeout
from modelbridge.upstream.addresses import is_forbidden, is_public
from modelbridge.upstream.line import Line

logger = logging.getLogger("modelbridge.upstream")

_SLICE_SECONDS = 0.05
_Resolved = list[tuple[int, Any]]


def dial(host: str, port: int, line: Line) -> socket.socket:
    """A blocking socket, connected, that is attached to `line`.

    Raises UpstreamError and UpstreamTimeout (`refused`: nothing was sent), or the line's error. An
    address that is not allowed ends it, though another of the name's might be.
    """
    until = clock.monotonic() + line.connect_seconds
    addresses = _resolve(host, port, line, until)
    last: UpstreamError = UpstreamTimeout(
        f"Connecting to the upstream {line.upstream!r} took too long.", refused=True
    )
    for number, (family, address) in enumerate(addresses):
        _check(address[0], host, line)
        share_seconds = (until - clock.monotonic()) / (len(addresses) - number)
        try:
            return _connect(family, address, line, share_seconds)
        except UpstreamError as error:
            last = error
    raise last


def _check(address: str, host: str, line: Line) -> None:
    """Raises UpstreamError for an address that the line must not lead to."""
    if is_forbidden(address):
        logger.error("upstream %s: %s is at a forbidden address", line.upstream, host)
        raise UpstreamError(
            f"The address of the upstream {line.upstream!r} is not allowed.", refused=True
        )
    if not line.allow_private and not is_public(address):
        logger.error(
            "upstream %s: %s is at %s, an address of this machine or a private network; if that is "
            "yours, tick the box for it under Administration, or use `flask upstream "
            "private-addresses` (for alerts: `flask alerts set --webhook`)",
            line.upstream,
            host,
            address,
        )
        raise UpstreamError(
            f"The upstream {line.upstream!r} is at a private address, which is not allowed for it; "
            "an administrator can tick the box for that.",
            refused=True,
        )


def _resolve(host: str, port: int, line: Line, until: float) -> _Resolved:
    """(family, socket address) of the host, in the system's order of preference.

    The system's look-up cannot be interrupted, so it gets a thread of its own.
    """
    answers: queue.SimpleQueue[_Resolved | OSError] = queue.SimpleQueue()
    if host.replace(".", "").isdigit() or ":" in host:
        _look_up(host, port, answers)  # an IP address: nothing to wait for
    else:
        threading.Thread(
            target=_look_up, args=(host, port, answers), name="upstream-dns", daemon=True
        ).start()
    while True:
        line.check()
        try:
            answer = answers.get(timeout=_SLICE_SECONDS)
        except queue.Empty:
            if clock.monotonic() >= until:
                raise UpstreamTimeout(
                    f"Looking up the upstream {line.upstream!r} took too long.", refused=True
                ) from None
        else:
            break
    if isinstance(answer, OSError):
        logger.warning("upstream %s: %s does not resolve: %s", line.upstream, host, answer)
        raise UpstreamError(
            f"The upstream {line.upstream!r} cannot be found: its name does not resolve.",
            refused=True,
        )
    return answer


def _look_up(host: str, port: int, answers: "queue.SimpleQueue[_Resolved | OSError]") -> None:
    try:
        found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        answers.put([(family, address) for family, _, _, _, address in found])
    except OSError as error:
        answers.put(error)
    except UnicodeError as error:  # a label too long
        answers.put(OSError(str(error)))


def _connect(family: int, address: Any, line: Line, seconds: float) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # no such address family here, or no more files
        raise _unreachable(line, address, error) from None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setblocking(False)
        result = sock.connect_ex(address)
        if result == errno.EINPROGRESS:
            result = _wait(sock, line, clock.monotonic() + seconds)
        if result != 0:
            raise OSError(result, errno.errorcode.get(result, "unknown"))
        sock.setblocking(True)
        line.attach(sock)
    except OSError as error:
        sock.close()
        raise _unreachable(line, address, error) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _wait(sock: socket.socket, line: Line, until: float) -> int:
    """The result of a connection that was under way, as an errno; 0 when it stands."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    while not poll.poll(_SLICE_SECONDS * 1000):
        line.check()
        if clock.monotonic() >= until:
            return errno.ETIMEDOUT
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _unreachable(line: Line, address: Any, error: OSError) -> UpstreamError:
    logger.warning("upstream %s: %s cannot be reached: %s", line.upstream, address, error)
    if error.errno == errno.ETIMEDOUT:
        return UpstreamTimeout(
            f"Connecting to the upstream {line.upstream!r} took too long.", refused=True
        )
    return UpstreamError(f"The upstream {line.upstream!r} cannot be reached.", refused=True)
