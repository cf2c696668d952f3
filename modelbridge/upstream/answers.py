"""Answers of upstreams, read as they come: waiting for them, or taking only what is there.

Whatever has arrived of a body is read at once, and a body that was truncated is told from a whole
one.
"""

import http.client
import select
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from requests import Response

from modelbridge.upstream.framing import Chunked, Framing, FramingError, Length, UntilClose
from modelbridge.upstream.line import Line

READ_BYTES = 64 * 1024


class Owner(Protocol):
    """The connection over which an answer comes."""

    line: Line
    unsound: bool

    def release(self) -> None:
        """To its pool."""


class Answer(http.client.HTTPResponse):
    """An answer whose `read1` gives everything that has arrived, and tells a truncated body."""

    def __init__(self, sock: socket.socket, method: str | None, connection: Owner) -> None:
        super().__init__(sock, method=method)
        self._connection = connection
        self._socket = sock
        self._framing: Framing = Length(0)
        self._buffer_may_hold_some = True
        self._patience: float | None = None

    def begin(self) -> None:
        """Read the head; how the body ends is known from then on."""
        super().begin()
        if self.chunked:
            self._framing = Chunked()
        elif len({*self.headers.get_all("content-length", ())}) > 1 or "," in str(
            self.headers.get("content-length")
        ):
            raise FramingError("the head gives the body several lengths")
        elif self.length is not None:
            self._framing = Length(self.length)
        else:
            self._framing = UntilClose(may_be_empty=self.status >= 400)

    def read1(self, n: int = -1) -> bytes:
        """Everything of the body that has arrived, at least a byte; b"" at its end."""
        framing = self._framing
        while (fp := self.fp) is not None:
            if framing.ended:
                self._close_conn()
                break
            data = fp.read1(READ_BYTES)
            if not data:
                framing.eof()
                continue
            payload = framing.feed(data)
            if framing.stray:
                self._connection.unsound = True
            if payload:
                return payload
        return b""

    def stop_waiting(self) -> bool:
        """From now on `take` instead of `read1`. False: the socket was closed meanwhile."""
        try:
            self._patience = self._socket.gettimeout()
            self._socket.settimeout(0)
        except OSError:
            return False
        return True

    def wait_again(self) -> None:
        """From now on `read1` again."""
        with suppress(OSError):
            self._socket.settimeout(self._patience)

    def take(self) -> bytes | None:
        """`read1` that never waits nor closes: None if nothing has arrived, b"" at the end."""
        framing = self._framing
        if self.fp is None or framing.ended:
            return b""
        data = self._take_first() if self._buffer_may_hold_some else b""
        if not data:
            try:
                data = self._receive()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None
            if not data:
                framing.eof()
                return b""
        payload = framing.feed(data)
        if framing.stray:
            self._connection.unsound = True
        return payload or (b"" if framing.ended else None)

    def is_complete(self) -> bool:
        """Whether the body was taken to its end."""
        return self._framing.ended

    def takes_nothing_more(self) -> bool:
        """Whether the end of the body is here, which nobody has looked at; eats what is not."""
        with suppress(OSError, ValueError, http.client.HTTPException):
            return self.take() == b""
        return False

    def release(self) -> None:
        """Done with it: the connection goes back to its pool, which may use it again or not."""
        self.close()
        if self._patience is not None:
            self.wait_again()
        self._connection.release()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def _receive(self) -> bytes:
        """Everything that TLS has read as well: no poll would tell of it."""
        data = self._socket.recv(READ_BYTES)
        if isinstance(self._socket, ssl.SSLSocket):
            while self._socket.pending():
                data += self._socket.recv(READ_BYTES)
        return data

    def _take_first(self) -> bytes:
        """What came with the head; b"" if nothing did."""
        self._buffer_may_hold_some = False
        assert self.fp is not None  # noqa: S101  the caller has looked
        try:
            return self.fp.read1(READ_BYTES) if self.fp.peek(1) else b""
        except (BlockingIOError, ssl.SSLWantReadError):
            return b""

    def ready(self, seconds: float) -> bool:
        """Whether `read1` has something to say within that time, be it the end or an error."""
        if self.fp is None or self._framing.ended or self._holds_some():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _holds_some(self) -> bool:
        """Bytes that are not on the socket any more: TLS's, or what came with the head."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        if not self._buffer_may_hold_some or self.fp is None:
            return False
        self._buffer_may_hold_some = False  # READ_BYTES is more than the buffer: read1 empties it
        patience = self._socket.gettimeout()
        self._socket.settimeout(0)
        try:
            return bool(self.fp.peek(1))
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        finally:
            self._socket.settimeout(patience)

    def _close_conn(self) -> None:
        self._connection.line.detach()
        super()._close_conn()  # type: ignore[misc]  # the standard library's own, undocumented


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
