"""A provider made of recordings: a loopback server that answers with what was recorded.

    with Replay.start() as replay:
        replay.base_url                 # "http://127.0.0.1:PORT"; OpenAI's kind adds "/v1"
        replay.plays("anthropic-text")  # the next answer, byte for byte
        replay.answers(played)          # or one that a test made, perhaps of a recording
        replay.seen                     # the requests, oldest first

Streamed bodies go out one event at a time, each in a chunk of its own, as providers send them. A
request without a planned answer gets a 599, which no test takes for anything else.
"""

import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from recordings import Recording, recording

JSONDict = dict[str, Any]
_KEPT_HEADERS = ("content-type", "retry-after", "request-id", "x-request-id")


@dataclass(frozen=True)
class Seen:
    """One request as it arrived; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: JSONDict


@dataclass
class Replay:
    """The server, on a port of its own, in threads of this process."""

    server: ThreadingHTTPServer
    thread: threading.Thread
    seen: list[Seen] = field(default_factory=list)
    planned: deque[Recording] = field(default_factory=deque)

    @classmethod
    def start(cls) -> Self:
        """A server that answers from now on."""
        server = _Server(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        replay = cls(server, thread)
        server.replay = replay
        thread.start()
        return replay

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def base_url(self) -> str:
        """As Anthropic's SDK takes it; OpenAI's wants `/v1` behind it."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def last(self) -> Seen:
        """The newest request."""
        return self.seen[-1]

    def plays(self, *names: str) -> None:
        """These recordings are the next answers, in this order."""
        self.planned.extend(recording(name) for name in names)

    def answers(self, *answers: Recording) -> None:
        """These are the next answers, in this order."""
        self.planned.extend(answers)

    def reset(self) -> None:
        """Nothing was seen, nothing is planned."""
        self.seen.clear()
        self.planned.clear()


class _Server(ThreadingHTTPServer):
    replay: Replay


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        replay = self.server.replay
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        replay.seen.append(Seen(self.path, headers, json.loads(body)))
        if not replay.planned:
            self._whole(599, {}, b"nothing was planned")
            return
        answer = replay.planned.popleft()
        kept = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        if kept.get("content-type", "").startswith("text/event-stream"):
            self._streamed(answer.status, kept, answer.body)
        else:
            self._whole(answer.status, kept, answer.body)

    def _whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._head(status, headers | {"Content-Length": str(len(body))})
        self.wfile.write(body)

    def _streamed(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._head(status, headers | {"Transfer-Encoding": "chunked"})
        for piece in _events(body):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *words: object) -> None:
        """Nobody reads it."""


def _events(body: bytes) -> list[bytes]:
    """A streamed body in its events, each with the empty line behind it."""
    end = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
    pieces = body.split(end)
    return [piece + end for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])


def changed(name: str, change: Callable[[JSONDict], None]) -> Recording:
    """A recorded JSON answer with something in it changed."""
    found = recording(name)
    body = found.json()
    change(body)
    return replace(found, body=json.dumps(body).encode())


def as_message_stream(answer: Recording) -> Recording:
    """A recorded message of Anthropic's as the stream that would have told it.

    Source of the events: https://platform.claude.com/docs/en/build-with-claude/streaming
    """
    message = answer.json()
    content, usage = message["content"], message["usage"]
    opening = {
        **message,
        "content": [],
        "stop_reason": None,
        "usage": {**usage, "output_tokens": 1},
    }
    events: list[JSONDict] = [{"type": "message_start", "message": opening}, {"type": "ping"}]
    for index, block in enumerate(content):
        start, deltas = _BLOCKS[block["type"]](block)
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    counts = {name: count for name, count in usage.items() if name.endswith("_tokens")}
    events += [
        {"type": "message_delta", "delta": ending, "usage": counts},
        {"type": "message_stop"},
    ]
    return Recording(answer.request, 200, {"content-type": "text/event-stream"}, _framed(events))


def _framed(events: list[JSONDict]) -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _text_block(block: JSONDict) -> tuple[JSONDict, list[JSONDict]]:
    deltas = [{"type": "text_delta", "text": half} for half in _halves(block["text"])]
    return {"type": "text", "text": ""}, deltas


def _tool_use_block(block: JSONDict) -> tuple[JSONDict, list[JSONDict]]:
    pieces = ("", *_halves(json.dumps(block["input"])))
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return {**block, "input": {}}, deltas


def _thinking_block(block: JSONDict) -> tuple[JSONDict, list[JSONDict]]:
    deltas = [{"type": "thinking_delta", "thinking": half} for half in _halves(block["thinking"])]
    signature = {"type": "signature_delta", "signature": block["signature"]}
    return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signature]


_BLOCKS: dict[str, Callable[[JSONDict], tuple[JSONDict, list[JSONDict]]]] = {
    "text": _text_block,
    "tool_use": _tool_use_block,
    "thinking": _thinking_block,
    "redacted_thinking": lambda block: (block, []),
}
