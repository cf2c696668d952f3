"""One connection of the hostile upstream: requests in, what the script says out."""

import base64
import contextlib
import gzip
import json
import os
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

from hostile_answers import Answer, make_answer
from hostile_state import State
from hostile_talk import JSONDict

REASONS = {200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 429: "Too Many Requests"}
REQUEST_LINE = re.compile(rb"[A-Z]+ /\S* HTTP/1\.[01]\r?\n")


class ClientLeftError(Exception):
    """The client hung up, or the script was reset."""


class ConnectionOverError(Exception):
    """The connection is done for, one way or another."""


@dataclass
class Request:
    """A request, read to its end."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def parsed(self) -> Any:
        """The body as JSON, or None."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Connection:
    """One connection, request after request."""

    def __init__(
        self, sock: socket.socket, number: int, state: State, context: ssl.SSLContext | None
    ) -> None:
        self._sock = sock
        self._number = number
        self._state = state
        self._context = context

    def serve(self) -> None:
        """Until the client or a step ends it."""
        with contextlib.suppress(OSError, ConnectionOverError):
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                self._sock = self._context.wrap_socket(self._sock, server_side=True)
            reader = self._sock.makefile("rb")
            while request := read_request(reader, self._sock):
                self._handle(request)
        with contextlib.suppress(OSError):
            self._sock.close()

    def _handle(self, request: Request) -> None:
        body = request.parsed
        model = str(body.get("model", "")) if isinstance(body, dict) else ""
        step = self._state.next_step(model)
        record: JSONDict = {
            "connection": self._number,
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": body,
            "text": request.body.decode("utf-8", "replace"),
            "model": model,
            "step": step["kind"],
            "answered": False,
            "client_left": False,
            "usage": None,
        }
        self._state.begin(record)
        try:
            Performance(self._sock, self._state, step, request, record).run()
        except ClientLeftError:
            record["client_left"] = True
            raise ConnectionOverError from None
        except OSError:
            record["client_left"] = True
            raise
        finally:
            self._state.end()


class Performance:
    """One step, performed for one request."""

    def __init__(
        self,
        sock: socket.socket,
        state: State,
        step: JSONDict,
        request: Request,
        record: JSONDict,
    ) -> None:
        self._sock = sock
        self._state = state
        self._step = step
        self._request = request
        self._record = record
        self._generation = state.generation
        self._patient = not step.get("stops_when_client_leaves", True)

    def run(self) -> None:
        """Raises ClientLeftError, OSError; ConnectionOverError: this connection is used up."""
        step = self._step
        if step.get("delay"):
            self._pause(step["delay"])
        if step.get("gate"):
            self._wait_at(step["gate"])
        match step["kind"]:
            case "hang":
                self._hang()
            case "reset" | "drop":
                self._record["usage"] = step.get("bills")
                reset(self._sock)
                raise ConnectionOverError
            case "raw":
                self._raw()
            case "huge":
                self._huge()
            case kind:
                makers = {"answer": self._answer, "body": self._body, "gzip": self._gzip}
                self._send(*makers[kind]())

    def _answer(self) -> tuple[int, dict[str, Any], Answer]:
        body = self._request.parsed
        answer = make_answer(
            self._step,
            self._request.path,
            body if isinstance(body, dict) else {},
            len(self._request.body),
        )
        return 200, {}, answer

    def _body(self) -> tuple[int, dict[str, Any], Answer]:
        data = base64.b64decode(self._step["body64"])
        answer = Answer(self._step["content_type"], [data], [0], self._step["bills"] or {})
        return self._step["status"], {}, answer

    def _gzip(self) -> tuple[int, dict[str, Any], Answer]:
        data = gzip.compress(bytes(self._step["size_bytes"]))
        return 200, {"Content-Encoding": "gzip"}, Answer("application/json", [data], [0])

    def _raw(self) -> None:
        self._sock.sendall(base64.b64decode(self._step["data64"]))
        self._record["answered"] = True
        match self._step["then"]:
            case "hang":
                self._hang()
            case "reset":
                reset(self._sock)
                raise ConnectionOverError
            case "close":
                raise ConnectionOverError

    def _huge(self) -> None:
        size = self._step["size_bytes"]
        piece = b'{"x": "' + b"a" * 65536
        self._head(200, {}, "application/json", size)
        for at in range(0, size, len(piece)):
            self._write(piece[: size - at])
        self._finish()

    def _send(self, status: int, headers: dict[str, Any], answer: Answer) -> None:
        step = self._step
        if step.get("piece_bytes"):
            answer.resplit(step["piece_bytes"])
        self._bill(answer, 0)
        try:
            self._head(status, headers, answer.content_type, sum(map(len, answer.pieces)))
            self._pieces(answer)
            self._finish()
        except (ClientLeftError, OSError):
            if self._patient and self._generation == self._state.generation:
                self._bill(answer, answer.produced[-1])
            raise

    def _pieces(self, answer: Answer) -> None:
        step = self._step
        gate = step.get("gate_after")
        for number, piece in enumerate(answer.pieces):
            if number == step.get("stop_after"):
                self._break_off()
            if number and step.get("spacing"):
                self._pause(step["spacing"])
            if gate and gate[0] == number:
                self._wait_at(gate[1])
            self._bill(answer, answer.produced[number])
            self._write(piece)

    def _bill(self, answer: Answer, produced: int) -> None:
        if not answer.usage:
            return
        if self._step["kind"] == "answer":
            streamed = answer.content_type == "text/event-stream"
            tokens = produced if streamed else answer.produced[-1]
            self._record["usage"] = {**answer.usage, "completion_tokens": tokens}
        else:
            self._record["usage"] = answer.usage

    def _break_off(self) -> None:
        match self._step.get("ending", "cut"):
            case "hang":
                self._hang()
            case "reset":
                reset(self._sock)
        raise ConnectionOverError

    @property
    def _framing(self) -> str:
        streamed = isinstance(self._request.parsed, dict) and self._request.parsed.get("stream")
        return str(self._step.get("framing") or ("chunked" if streamed else "length"))

    def _head(self, status: int, headers: dict[str, Any], content_type: str, length: int) -> None:
        framing = {
            "chunked": {"Transfer-Encoding": "chunked"},
            "length": {"Content-Length": str(length)},
            "close": {"Connection": "close"},
        }[self._framing]
        fields = {"Content-Type": content_type, **framing, **headers}
        fields |= self._step.get("headers") or {}
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Whatever')}"]
        for name, value in fields.items():
            lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [value])]
        self._sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _write(self, piece: bytes) -> None:
        if self._left():
            raise ClientLeftError
        if self._framing == "chunked":
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        self._sock.sendall(piece)

    def _finish(self) -> None:
        if self._framing == "chunked":
            self._sock.sendall(b"0\r\n\r\n")
        self._record["answered"] = True
        if self._framing == "close":
            raise ConnectionOverError

    def _hang(self) -> None:
        while True:
            self._pause(3600)

    def _wait_at(self, name: str) -> None:
        gate = self._state.gate(name)
        while not gate.wait(0.02):
            self._stop_if_over()

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0:
            self._stop_if_over()
            time.sleep(min(rest, 0.05))

    def _stop_if_over(self) -> None:
        if self._generation != self._state.generation:
            reset(self._sock)
            raise ConnectionOverError
        if not self._patient and self._left():
            raise ClientLeftError

    def _left(self) -> bool:
        """Whether the client hung up; on TLS that is only seen by writing."""
        if isinstance(self._sock, ssl.SSLSocket):
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if not poll.poll(0):
            return False
        try:
            return self._sock.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True


def read_request(reader: BufferedReader, sock: socket.socket) -> Request | None:
    """The next request; None when the client has hung up or does not speak HTTP."""
    line = reader.readline()
    if not line:
        return None
    if REQUEST_LINE.fullmatch(line) is None:
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Request(method, path, headers, b"".join(read_chunks(reader)))
    length = int(headers.get("content-length", "0"))
    body = reader.read(length)
    return Request(method, path, headers, body) if len(body) == length else None


def read_chunks(reader: BufferedReader) -> Iterator[bytes]:
    """The chunks of a chunked body, without trailers."""
    while size := int(reader.readline().partition(b";")[0], 16):
        yield reader.read(size)
        reader.readline()
    reader.readline()


def reset(sock: socket.socket) -> None:
    """Close with a TCP reset: what was sent but not yet read may be lost to the client."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RD)
    os.close(sock.detach())
