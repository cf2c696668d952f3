"""The head of an upstream's answer: bytes off the wire in, status and headers out. No I/O.

RFC 9112, sections 3 and 5, and no more of them than an answer to one POST needs. http.client reads
a head with the standard library's parser of e-mails, which costs a tenth of a plain call.
"""

import re
from dataclasses import dataclass, field

from modelbridge.upstream.framing import Chunked, Framing, FramingError, Length, UntilClose

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 100
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_END = re.compile(rb"\r?\n\r?\n")
_NO_BODY = (204, 304)


@dataclass(slots=True)
class Head:
    """`headers`: lower-case names; what came several times is joined by commas.

    `will_close`: the connection ends after this answer.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    will_close: bool = False

    def framing(self) -> Framing:
        """How the body ends. Raises FramingError when the head says two things about it."""
        if self.status in _NO_BODY:
            return Length(0)
        if "transfer-encoding" in self.headers:
            # Another encoding than chunked is refused by whoever looks at the headers.
            return Chunked()
        lengths = {*self.headers.get("content-length", "").split(", ")}
        if lengths == {""}:
            return UntilClose(may_be_empty=self.status >= 400)
        length = lengths.pop()
        if lengths or not (length.isascii() and length.isdigit()):
            raise FramingError("the head gives the body several lengths, or one that is no number")
        return Length(int(length))


def split_head(data: bytes) -> tuple[Head, bytes] | None:
    """The head and what follows it; None: the head is not whole yet.

    Raises FramingError for what is no head, or one that is too long.
    """
    end = _END.search(data)
    if (len(data) if end is None else end.start()) > MAX_HEAD_BYTES:
        raise FramingError("the head is too long")
    if end is None:
        return None
    return _read(data[: end.start()].decode("latin-1")), data[end.end() :]


def _read(text: str) -> Head:
    first, *lines = text.split("\n")
    found = _STATUS.fullmatch(first.rstrip("\r"))
    if found is None:
        raise FramingError("the answer does not begin with a status of HTTP/1")
    if len(lines) > MAX_HEADERS:
        raise FramingError("the head has too many headers")
    head = Head(int(found[2]))
    headers = head.headers
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise FramingError("a line of the head is no header")
        name, value = name.strip().lower(), value.strip(" \t\r")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    said = headers.get("connection", "").lower()
    head.will_close = "close" in said if found[1] == "1" else "keep-alive" not in said
    return head
