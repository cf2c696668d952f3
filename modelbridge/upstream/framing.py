"""Where an answer's body ends: bytes off the wire in, bytes of the body out. No I/O.

RFC 9112, section 6.3. Everything that has arrived comes out of one call, however many chunks it is.
A body that ends with its connection cannot be told from a truncated one: there only the end mark of
the dialect on top tells (`[DONE]`, `message_stop`).
"""

import re
from http.client import HTTPException
from typing import Protocol

_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_MAX_LINE_BYTES = 4096
_MAX_TRAILER_BYTES = 64 * 1024


class FramingError(HTTPException):
    """The body is not framed as its head says."""


class Framing(Protocol):
    """`ended`: the body is complete. `stray`: more came after it, so the connection is unsound."""

    ended: bool
    stray: bool

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the body; may be empty. Raises FramingError."""

    def eof(self) -> None:
        """The connection ended here. Raises FramingError unless that is how this body ends."""


class UntilClose:
    """No framing: the body is all that comes. `may_be_empty`: nothing may be all of it.

    http.client takes a head that is cut off for a whole one, so nothing is no good answer.
    """

    stray = False

    def __init__(self, *, may_be_empty: bool) -> None:
        self.ended = False
        self._may_be_empty = may_be_empty

    def feed(self, data: bytes) -> bytes:
        """All of it."""
        self._may_be_empty = True
        return data

    def eof(self) -> None:
        """The end, as far as anybody can know."""
        if not self._may_be_empty:
            raise FramingError("the connection ended before the body began")
        self.ended = True


class Length:
    """A body of known length."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = length == 0
        self.stray = False

    def feed(self, data: bytes) -> bytes:
        """As much of it as the body still lacks."""
        if len(data) > self._left:
            self.stray = True
            data = data[: self._left]
        self._left -= len(data)
        self.ended = self._left == 0
        return data

    def eof(self) -> None:
        """Too early."""
        if not self.ended:
            raise FramingError(f"the body ended {self._left} bytes early")


class Chunked:
    """A chunked body; its trailers are dropped."""

    def __init__(self) -> None:
        self.ended = False
        self.stray = False
        self._rest = b""
        self._left = 0
        self._in_trailers = False
        self._trailer_bytes = 0
        self._after_data = False

    def feed(self, data: bytes) -> bytes:
        """The data of all chunks, whole or not, that have arrived."""
        if self._rest:
            data = self._rest + data
        at = 0
        pieces = []
        while at < len(data) and not self.ended:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                continue
            end = data.find(b"\n", at)
            if end < 0:
                break
            self._line(data[at:end])
            at = end + 1
        self._rest = data[at:]
        if len(self._rest) > _MAX_LINE_BYTES and not self.ended:
            raise FramingError("a line of the chunked body is too long")
        self.stray = self.ended and bool(self._rest)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def eof(self) -> None:
        """Too early."""
        if not self.ended:
            raise FramingError("the chunked body ended without its last chunk")

    def _line(self, line: bytes) -> None:
        """A line between chunks: the end of one, the size of the next, or a trailer."""
        if not line.endswith(b"\r"):
            raise FramingError("a line of the chunked body does not end in CRLF")
        line = line[:-1]
        if self._in_trailers:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise FramingError("the trailers of the chunked body are too long")
            self.ended = not line
        elif self._after_data:
            if line:
                raise FramingError("a chunk is longer than its size says")
            self._after_data = False
        else:
            self._size(line)

    def _size(self, line: bytes) -> None:
        found = _SIZE.fullmatch(line)
        if found is None:
            raise FramingError("the size of a chunk is not a hexadecimal number")
        self._left = int(found[1], 16)
        self._after_data = self._left > 0
        self._in_trailers = self._left == 0
