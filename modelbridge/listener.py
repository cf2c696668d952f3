"""waitress on epoll: its sockets, a client's connection, and the task that writes to it.

Three things in waitress cost a bridge with many streams most of its time, and are done otherwise
here (docs/decisions/0008-listener.md): its loop asks every connection after every event what it
waits for; a writer's bytes go through a buffer even when the client's socket has room; and the
head of an answer is sent by itself. A fourth can lose an answer: it closes a connection on which
the client is still sending.
"""

import select
import socket
from collections import deque
from contextlib import suppress
from typing import Any

from waitress import wasyncore
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import RequestEntityTooLarge

from modelbridge import clock
from modelbridge.ids import find_keys
from modelbridge.v1.errors import server_refusal
from modelbridge.v1.respond import UNSENT_BYTES

SWEEP_SECONDS = 1.0
LINGER_SECONDS = 30.0
LINGER_SILENT_SECONDS = 5.0
_READ = select.EPOLLIN | select.EPOLLPRI


class Sockets(dict[int, Any]):
    """waitress's map from descriptors to what serves them, watched through one epoll.

    What a socket waits for is looked at when something happened to it, when `changed` says so,
    and once a second for all, so that nothing missed stays missed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._interests: dict[int, int] = {}
        self._changed: deque[int] = deque()
        self._asleep = False
        self._swept_at = 0.0
        self._triggers: list[Any] = []

    def wake_through(self, trigger: Any) -> None:
        """From now on `changed` wakes `turn` by pulling this trigger of waitress."""
        self._triggers.append(trigger)

    def __setitem__(self, fd: int, one: Any) -> None:
        super().__setitem__(fd, one)
        self._changed.append(fd)

    def __delitem__(self, fd: int) -> None:
        super().__delitem__(fd)
        if self._interests.pop(fd, 0):
            with suppress(OSError):
                self._epoll.unregister(fd)

    def changed(self, one: Any) -> None:
        """Any thread: what this one waits for may have changed. The loop wakes if it has."""
        fd = one._fileno
        if fd is None or self._interests.get(fd, 0) == _wanted(one):
            return
        self._changed.append(fd)
        if self._asleep:
            self._asleep = False
            self._triggers[0].pull_trigger()

    def turn(self, seconds: float) -> None:
        """One round: wait at most that long for events, and see to them."""
        self._look()
        self._asleep = True
        events = self._epoll.poll(0 if self._changed else seconds)
        self._asleep = False
        for fd, flags in events:
            one = self.get(fd)
            if one is not None:
                wasyncore.readwrite(one, flags)
                self._watch(fd)

    def _look(self) -> None:
        """What has changed, or, once a second, everything, is watched for what it waits for."""
        now = clock.monotonic()
        if now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            self._changed.clear()
            for fd, one in list(self.items()):
                if isinstance(one, Lingering):
                    one.close_in_time(now)
                self._watch(fd)
        while self._changed:
            self._watch(self._changed.popleft())

    def _watch(self, fd: int) -> None:
        """Until what is watched for is what is wanted: another thread may change it meanwhile."""
        while (one := self.get(fd)) is not None:
            known, wanted = self._interests.get(fd, 0), _wanted(one)
            if known == wanted:
                return
            self._interests[fd] = wanted
            with suppress(OSError):  # closed by another thread just now
                if not known:
                    self._epoll.register(fd, wanted)
                elif wanted:
                    self._epoll.modify(fd, wanted)
                else:
                    self._epoll.unregister(fd)


def _wanted(one: Any) -> int:
    flags = _READ if one.readable() else 0
    if one.writable() and not one.accepting:
        flags |= select.EPOLLOUT
    return flags


class Lingering(wasyncore.dispatcher):  # type: ignore[misc]
    """A connection whose last answer is sent, while its client may still be sending.

    What comes is thrown away until the client is done, is silent for `LINGER_SILENT_SECONDS`, or
    `LINGER_SECONDS` are over. A socket that is closed with something unread resets the connection,
    and many a client then never looks at the answer (RFC 9112, 9.6; both times are nginx's).
    """

    def __init__(self, connection: socket.socket, sockets: Sockets) -> None:
        super().__init__(connection, sockets)
        self._silent_since = clock.monotonic()
        self._until = self._silent_since + LINGER_SECONDS

    def writable(self) -> bool:
        """There is nothing to say any more."""
        return False

    def handle_read(self) -> None:
        """waitress sees to the end and to errors by `handle_close`."""
        self._silent_since = clock.monotonic()
        self.recv(2**16)

    def handle_close(self) -> None:
        """The client is done, or gone."""
        self.close()

    def close_in_time(self, now: float) -> None:
        """Close if it has gone on for too long."""
        if now >= min(self._until, self._silent_since + LINGER_SILENT_SECONDS):
            self.close()


class Refusal(ErrorTask):  # type: ignore[misc]
    """What waitress refuses by itself (a body far too large, broken HTTP), in JSON as all else."""

    def execute(self) -> None:
        """Write the answer; the connection closes behind it."""
        error = self.request.error
        if not hasattr(self.request, "path"):  # waitress logs it when the client has left meanwhile
            self.request.path = ""
        headers, body = server_refusal(error.code, error.body)
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend(headers.items())
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Gathering:
    """Stands in for a channel, and keeps what is written."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.pieces: list[bytes] = []

    def write_soon(self, data: bytes) -> None:
        self.pieces.append(data)


class Task(WSGITask):  # type: ignore[misc]
    """A request that the app answers. The head goes out together with the first bytes."""

    channel: Any

    def get_environment(self) -> dict[str, Any]:
        """WSGI's environ; `modelbridge.unsent_bytes` tells how much the client has yet to take."""
        environ: dict[str, Any] = super().get_environment()
        environ[UNSENT_BYTES] = self.channel.unsent_bytes
        return environ

    def write(self, data: bytes) -> None:
        """WSGI's `write`; any one thread at a time may call it."""
        if self.chunked_response and self.wrote_header:
            if data:
                self.channel.write_soon(b"%X\r\n%b\r\n" % (len(data), data))
        elif self.wrote_header or not data:
            super().write(data)
        else:
            channel, gathering = self.channel, _Gathering(self.channel.server)
            self.channel = gathering
            try:
                super().write(data)
            finally:
                self.channel = channel
            channel.write_soon(b"".join(gathering.pieces))


class Request(HTTPRequestParser):  # type: ignore[misc]
    """A request whose end is told in one way only (RFC 9112, 6.3), and that is always answered.

    With two lengths, a proxy in front might see another end than we do, and take what follows for
    a request of somebody else's. waitress lets the coding win and keeps the connection.

    Without a living key (under /v1; `is_alive` among the server's settings knows) or a cookie (on
    the pages) the app refuses it in any case: a body of unknown length, one larger than a head may
    be, and one that the client asks about first are not read for that; nor is one on the pages that
    is larger than their forms may be, which is as much. The app gets the request without its body,
    and the connection closes after its answer.
    """

    chunked: bool
    is_cut = False

    def received(self, data: bytes) -> int:
        """How many of these bytes belong to it; see `completed` and `error`.

        `Expect: 100-continue` counts only while a body is to come: to a request that is whole, or
        refused by its head, waitress says "100 Continue", and then waits for what never comes.
        """
        taken: int = super().received(data)
        if self.chunked and self.body_bytes_received > self._longest_chunked:
            self.error = RequestEntityTooLarge("exceeds what a page takes")
            self.completed = True
        if self.completed:
            self.expect_continue = False
        return taken

    def parse_header(self, header_plus: bytes) -> None:
        """Raises ParsingError."""
        super().parse_header(header_plus)
        self._check_length(header_plus)
        if self.body_rcv is not None:
            is_long = self.content_length > self.adj.max_request_header_size
            if (is_long or self.chunked or self.expect_continue) and not self._may_go_on(is_long):
                self._end()

    @property
    def _longest_chunked(self) -> int:
        """How much is read of a body that may be of any length."""
        is_call = self.path.startswith("/v1/")
        limits = self.adj.max_request_header_size, self.adj.max_request_body_size
        return int(limits[is_call])

    def _may_go_on(self, is_long: bool) -> bool:
        if not self.path.startswith("/v1/"):
            return not is_long and "COOKIE" in self.headers
        shown = self.headers.get("AUTHORIZATION", "") + " " + self.headers.get("X_API_KEY", "")
        found = {*find_keys(shown)}
        return len(found) == 1 and bool(self.adj.is_alive(found.pop()))

    def _end(self) -> None:
        """It ends with its head; what follows is never served, nor asked for."""
        self.is_cut = True
        self.close()  # the body's buffer, still empty
        self.body_rcv = None
        self.chunked = self.expect_continue = False
        self.content_length = 0
        self.headers["CONNECTION"] = "close"

    def _check_length(self, header_plus: bytes) -> None:
        if b"transfer-encoding" not in header_plus.lower():
            return
        names = [line.partition(b":")[0].lower() for line in header_plus.split(b"\r\n")[1:]]
        codings = names.count(b"transfer-encoding")
        if codings > 1 or (codings and (b"content-length" in names or self.version != "1.1")):
            raise ParsingError("Transfer-Encoding stands beside another length of the body")


class Channel(HTTPChannel):  # type: ignore[misc]
    """A client's connection. What it is given goes straight to its socket while that has room."""

    parser_class = Request
    task_class = Task
    error_task_class = Refusal
    _hears_out = False

    def unsent_bytes(self) -> int:
        """How much is written and not yet in the socket."""
        unsent: int = self.total_outbufs_len
        return unsent

    def write_soon(self, data: Any) -> int:
        """Send, or keep for later. Waits only while more than the high watermark is unsent.

        Raises ClientDisconnected.
        """
        if not isinstance(data, bytes):  # a file
            taken: int = super().write_soon(data)
        elif not data:
            return 0
        else:
            taken = len(data)
            with self.outbuf_lock:
                if not self.connected:
                    raise ClientDisconnected
                sent = 0 if self.total_outbufs_len else self._send_now(data)
                if sent < taken:
                    super().write_soon(data[sent:])
        if self.total_outbufs_len:
            self._map.changed(self)
        return taken

    def _send_now(self, data: bytes) -> int:
        """Bytes that the socket took; errors are for waitress, which comes upon them too."""
        try:
            sent: int = self.socket.send(data)
        except OSError:
            return 0
        return sent

    def service(self) -> None:
        """Execute one request; the loop is woken only if it has to do anything for it."""
        request = self.requests[0]
        self._hears_out = request.is_cut or request.error is not None
        super().service()
        self._map.changed(self)

    def handle_close(self) -> None:
        """The socket is closed, not under a thread that sends: its number may be another's soon."""
        with self.outbuf_lock:
            if self._hears_out and self.connected and not self.total_outbufs_len:
                self._linger()
            super().handle_close()

    def _linger(self) -> None:
        """The client reads the end of the answer; what it still sends is heard out."""
        with suppress(OSError):  # it is gone
            self.socket.shutdown(socket.SHUT_WR)
            Lingering(self.socket.dup(), self._map)
