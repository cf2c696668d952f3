"""Answers of upstreams, read as they come: waiting for them, or taking only what is there.

Whatever has arrived of a body is read at once, and a body that was truncated is told from a whole
one.
"""

import select
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import Any, Protocol

from requests import Response

from modelbridge.upstream.framing import Framing, FramingError, Length
from modelbridge.upstream.head import Head, split_head
from modelbridge.upstream.line import Line

READ_BYTES = 64 * 1024


class Owner(Protocol):
    """The connection over which an answer comes."""

    line: Line
    unsound: bool

    def release(self) -> None:
        """To its pool."""


class Answer:
    """An answer whose `read1` gives everything that has arrived, and tells a truncated body."""

    def __init__(self, sock: socket.socket, connection: Owner) -> None:
        self._connection = connection
        self._socket = sock
        self._head = Head(0)
        self._framing: Framing = Length(0)
        self._first = b""  # what came with the head, until somebody reads it
        self._taking = False
        self._patience: float | None = None
        self._closed = False

    @property
    def status(self) -> int:
        """As the upstream said it."""
        return self._head.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names."""
        return self._head.headers

    def begin(self) -> None:
        """Read the head; how the body ends is known from then on. Raises FramingError, OSError."""
        data = b""
        while True:
            more = self._socket.recv(READ_BYTES)
            if not more:
                raise FramingError("the connection ended before the head of the answer did")
            data += more
            while (found := split_head(data)) is not None:
                self._head, data = found
                if self._head.status == 101 or self._head.status >= 200:
                    self._first, self._framing = data, self._head.framing()
                    self._connection.unsound = self._head.will_close
                    return

    def read1(self) -> bytes:
        """Everything of the body that has arrived, at least a byte; b"" at its end."""
        framing = self._framing
        while not self._closed:
            if framing.ended:
                self._connection.line.detach()
                self._closed = True
                break
            data, self._first = self._first or self._socket.recv(READ_BYTES), b""
            if not data:
                framing.eof()
            elif payload := self._feed(data):
                return payload
        return b""

    def stop_waiting(self) -> bool:
        """From now on `take` instead of `read1`. False: the socket was closed meanwhile."""
        try:
            self._patience = self._socket.gettimeout()
            self._socket.settimeout(0)
        except OSError:
            return False
        self._taking = True
        return True

    def wait_again(self) -> None:
        """From now on `read1` again."""
        self._taking = False
        with suppress(OSError):
            self._socket.settimeout(self._patience)

    def take(self) -> bytes | None:
        """`read1` that never waits nor closes: None if nothing has arrived, b"" at the end."""
        framing = self._framing
        if self._closed or framing.ended:
            return b""
        data, self._first = self._first, b""
        if not data:
            try:
                data = self._receive()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None
            if not data:
                framing.eof()
                return b""
        return self._feed(data) or (b"" if framing.ended else None)

    def is_complete(self) -> bool:
        """Whether the body was taken to its end."""
        return self._framing.ended

    def takes_nothing_more(self) -> bool:
        """Whether the end of the body is here, which nobody has looked at; eats what is not."""
        with suppress(OSError, ValueError, HTTPException):
            return self.take() == b""
        return False

    def release(self) -> None:
        """Done with it: the connection goes back to its pool, which may use it again or not."""
        if not self._closed:
            self._closed = True
            self._connection.line.detach()
        if self._taking:
            self.wait_again()
        self._connection.release()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def ready(self, seconds: float) -> bool:
        """Whether `read1` has something to say within that time, be it the end or an error."""
        if self._closed or self._first or self._framing.ended:
            return True
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _feed(self, data: bytes) -> bytes:
        payload = self._framing.feed(data)
        if self._framing.stray:
            self._connection.unsound = True
        return payload

    def _receive(self) -> bytes:
        """Everything that TLS has read as well: no poll would tell of it."""
        data = self._socket.recv(READ_BYTES)
        if isinstance(self._socket, ssl.SSLSocket):
            while self._socket.pending():
                data += self._socket.recv(READ_BYTES)
        return data


class Strange:
    """An answer that is not from our connections: a test has taken requests' place. It is read."""

    def __init__(self, raw: Any) -> None:
        self.status: int = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self._raw = raw

    def read1(self) -> bytes:
        """Some of the body; b"" at its end."""
        data: bytes = self._raw.read1(READ_BYTES, decode_content=False)
        return data

    def ready(self, seconds: float) -> bool:
        """It always is."""
        return True

    def stop_waiting(self) -> bool:
        """It has no socket that could be taken from."""
        return False

    def release(self) -> None:
        """Done with it."""
        self._raw.close()
        self._raw.release_conn()


def answer_of(response: Response) -> Answer | Strange:
    """What an adapter's response is made of."""
    raw: Any = response.raw
    return raw if isinstance(raw, Answer) else Strange(raw)
