"""Server-sent events: bytes to frames.

The parser follows the WHATWG standard, section 9.2.6 (comments, CR, LF and CRLF, several data
lines, a byte order mark, unknown fields), and keeps each frame's own bytes for passing on.
"""

import re
from dataclasses import dataclass

MAX_FRAME_BYTES = 16 * 1024 * 1024
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# An empty line: two line ends in a row, each LF, CRLF or CR.
_END_OF_FRAME = re.compile(rb"\n(?:\n|\r\n?)|\r(?:\n(?:\n|\r\n?)|\r\n?)")
_LONGEST_END = 4
_LINES = re.compile(rb"\r\n|\n|\r")


class FrameTooLarge(ValueError):
    """A frame exceeded `MAX_FRAME_BYTES` without an end."""


@dataclass(slots=True)
class Frame:
    """One event. `data` joins its data lines by LF; None: only comments or unknown fields.

    `raw` is the frame as it came, with the empty line that ends it.
    """

    raw: bytes
    data: bytes | None
    event: str = ""


class FrameReader:
    """Feed bytes as they come; whole frames come out. Holds at most one unfinished frame."""

    __slots__ = ("_buffer", "_has_returns", "_scanned", "_started")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._started = self._has_returns = False

    def feed(self, chunk: bytes) -> list[Frame]:
        """Every frame that is now complete. Raises FrameTooLarge."""
        buffer = self._buffer
        buffer += chunk
        self._has_returns = self._has_returns or b"\r" in chunk
        if not self._started and not self._skip_byte_order_mark():
            return []
        frames: list[Frame] = []
        start, at = 0, max(0, self._scanned - _LONGEST_END + 1)
        while (end := _end_of_frame(buffer, at, self._has_returns)) > 0:
            frames.append(parse_frame(bytes(buffer[start:end])))
            start = at = end
        del buffer[:start]
        self._scanned = len(buffer)
        if self._scanned > MAX_FRAME_BYTES and not frames:
            raise FrameTooLarge("an event of the stream is larger than 16 MiB")
        return frames

    def rest(self) -> Frame | None:
        """At the end of the bytes: the last frame if it lacks its empty line, else None."""
        raw, self._scanned = bytes(self._buffer), 0
        self._buffer.clear()
        return parse_frame(raw) if raw.strip() else None

    def _skip_byte_order_mark(self) -> bool:
        """Whether it is known if the stream begins with one; it is then gone."""
        if len(self._buffer) < 3 and _BYTE_ORDER_MARK.startswith(self._buffer):
            return False
        self._started = True
        if self._buffer.startswith(_BYTE_ORDER_MARK):
            del self._buffer[:3]
        return True


def _end_of_frame(buffer: bytearray, at: int, has_returns: bool) -> int:
    """Where the first frame that ends at or after `at` ends, or 0 if that is not known yet."""
    if not has_returns:  # nearly every stream: a plain search takes a sixth of the time
        found = buffer.find(b"\n\n", at)
        return found + 2 if found >= 0 else 0
    match = _END_OF_FRAME.search(buffer, at)
    if match is None or (match.end() == len(buffer) and buffer.endswith(b"\r")):
        return 0  # after a last CR, the LF of a CRLF may still come
    return match.end()


def parse_frame(raw: bytes) -> Frame:
    """Read one frame's lines."""
    if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:
        return Frame(raw, raw[6:-2])  # the common case: one line that ends with two LF
    event = ""
    data: list[bytes] = []
    for line in _LINES.split(raw):
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    return Frame(raw, b"\n".join(data) if data else None, event)


def data_frame(data: bytes) -> bytes:
    """One frame with one data line."""
    return b"data: " + data + b"\n\n"
