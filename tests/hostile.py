"""A hostile upstream: a real HTTP/1.1 server in a process of its own that does as it is told.

    with HostileUpstream.start() as upstream:
        upstream.base_url                # "http://127.0.0.1:PORT/v1"  (OpenAI and compatible ones)
        upstream.anthropic_base_url      # "http://127.0.0.1:PORT"     (Anthropic, Gemini)

        upstream.will(reply("Hello", prompt_tokens=10, completion_tokens=5))
        upstream.will(status(500), reply("better now"))   # in order; the last one stays
        upstream.for_model("gpt-slow", hang())            # one model only; goes before the others
        …
        upstream.seen()                  # every request, oldest first, as dicts (below)
        upstream.served()                # [(model, usage)]: what it believes it produced and bills
        upstream.reset()                 # forget all of it: scripts, gates, counts

Without a script every request gets `reply()`. Steps are plain dicts, made by the functions below.

`reply` answers in the format of the path: OpenAI's chat completions, completions, responses and
embeddings, Anthropic's messages, Gemini's generateContent; plain, or as a stream when the body (for
Gemini, the path) says so. It never
says more than the body's own maximum of output tokens, and it sends OpenAI's usage chunk only when
the body asks for it, like the real ones. Every step takes these options:

    delay=0.5                   wait before the head
    gate="door"                 wait before the head until `upstream.open("door")`
    spacing=0.05                wait before every piece of the body but the first
    gate_after=(2, "door")      the same wait after two pieces
    stop_after=2, ending="…"    after two pieces (frames of a stream): "cut" (close), "reset" (TCP
                                reset), "hang"
    framing="chunked"           or "length", or "close" (no framing: the end of the connection)
    piece_bytes=1               cut the body into pieces of that size; with `spacing`, a trickle
    headers={…}                 more response headers; a value may be a list
    stops_when_client_leaves=False    goes on producing (and billing) when the client hangs up

A dict of `seen()` has: number, connection (its number), method, path, headers (lower-case names),
body (parsed JSON, or None), text (the raw body), model, step (kind), answered (the whole answer was
written), client_left, usage (what it bills; None: nothing).

What a client has sent may still be on the way: `upstream.wait(lambda seen: …)` waits until that is
true of `seen()`, `upstream.wait_for(n)` until n requests have come.

To run it by hand: `python tests/hostile.py 9100`, then `POST /__script {"steps": [...]}`,
`GET /__seen`, `POST /__gate {"name": …}`, `POST /__reset` on the port that it prints for control.
"""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Literal, Self

Step = dict[str, Any]
Seen = dict[str, Any]

OPTIONS = {
    "delay",
    "gate",
    "spacing",
    "gate_after",
    "stop_after",
    "ending",
    "framing",
    "piece_bytes",
    "headers",
    "stops_when_client_leaves",
}


def _step(kind: str, options: dict[str, Any], **fields: Any) -> Step:
    if unknown := options.keys() - OPTIONS:
        raise TypeError(f"no such option of a step: {', '.join(sorted(unknown))}")
    return {"kind": kind, **fields, **options}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def reply(
    text: str = "Hello from upstream",
    prompt_tokens: int | None = 10,
    completion_tokens: int = 5,
    *,
    chunks: int = 3,
    usage: dict[str, Any] | None | Literal["true"] = "true",
    details: dict[str, Any] | None = None,
    usage_chunk: Literal["asked", "always", "never"] = "asked",
    finish_reason: str = "stop",
    done: bool = True,
    error_after: int | None = None,
    error: dict[str, Any] | None = None,
    message: dict[str, Any] | None = None,
    calls: Sequence[tuple[str, dict[str, Any]]] = (),
    dialect: Literal["auto", "openai", "anthropic"] = "auto",
    obey_maximum: bool = True,
    **options: Any,
) -> Step:
    """A good answer.

    `prompt_tokens=None`: a quarter of the request's bytes. `usage`: another object to report in
    place of the truth (None: report none); `details`: more fields for the true one. `done=False`:
    leave the stream's end mark out. `error_after=k`: after k chunks of text comes `error` (an error
    event, in the format of the dialect) and the end. `message`: more fields for the message of a
    plain reply, such as `tool_calls`. `calls`: (name, arguments) of the tools that it calls, plain
    and streamed, in every format; see `tool_call`.
    """
    return _step(
        "answer",
        options,
        text=text,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        chunks=chunks,
        usage=usage,
        details=details or {},
        usage_chunk=usage_chunk,
        finish_reason=finish_reason,
        done=done,
        error_after=error_after,
        error=error,
        message=message or {},
        calls=calls,
        dialect=dialect,
        obey_maximum=obey_maximum,
    )


def tool_call(name: str, arguments: dict[str, Any], **more: Any) -> Step:
    """`reply` that says nothing and calls that tool."""
    return reply("", finish_reason="tool_calls", calls=[(name, arguments)], chunks=0, **more)


def stream(
    n_chunks: int = 3, spacing_seconds: float = 0.0, text: str | None = None, **more: Any
) -> Step:
    """`reply` in that many chunks of text, one token each unless `completion_tokens` says more."""
    more.setdefault("completion_tokens", n_chunks)
    words = "".join(f"w{number} " for number in range(n_chunks)) if text is None else text
    return reply(words, chunks=n_chunks, spacing=spacing_seconds, **more)


def anthropic_reply(text: str = "Hello from upstream", **more: Any) -> Step:
    """`reply` in Anthropic's format, whatever the path."""
    return reply(text, dialect="anthropic", **more)


def anthropic_stream(n_chunks: int = 3, spacing_seconds: float = 0.0, **more: Any) -> Step:
    """`stream` in Anthropic's format, whatever the path."""
    return stream(n_chunks, spacing_seconds, dialect="anthropic", **more)


def cut_after(
    n_frames: int,
    framing: Literal["chunked", "length", "close"] = "chunked",
    ending: Literal["cut", "reset", "hang"] = "cut",
    **more: Any,
) -> Step:
    """A stream of ten chunks of text that breaks off after that many of its frames.

    The first frame of OpenAI's format has no text; the first two of Anthropic's have none.
    """
    more.setdefault("n_chunks", 10)
    return stream(stop_after=n_frames, framing=framing, ending=ending, **more)


def recorded(
    status: int,
    content_type: str,
    body: bytes,
    *,
    bills: dict[str, Any] | None = None,
    **options: Any,
) -> Step:
    """Exactly these bytes as the body. `bills`: the usage that it believes it produced."""
    return _step(
        "body",
        options,
        status=status,
        content_type=content_type,
        body64=_base64(body),
        bills=bills,
    )


def status(
    code: int, body: dict[str, Any] | bytes | None = None, headers: dict[str, Any] | None = None
) -> Step:
    """An answer with that status; the body defaults to an error in OpenAI's form."""
    if body is None:
        body = {"error": {"message": f"upstream says {code}", "type": "error", "code": None}}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return recorded(code, "application/json", data, headers=headers or {})


def redirect(location: str, code: int = 307) -> Step:
    """A redirect; `location` may be `upstream.decoy_url`, which counts its visitors in `seen()`."""
    return recorded(code, "text/plain", b"over there", headers={"Location": location})


def gzipped(size_bytes: int = 10_000_000) -> Step:
    """Zeros, compressed although nobody asked."""
    return _step("gzip", {}, size_bytes=size_bytes)


def huge(size_bytes: int, framing: Literal["chunked", "length", "close"] = "length") -> Step:
    """A body of that many bytes of JSON that never ends."""
    return _step("huge", {}, size_bytes=size_bytes, framing=framing)


def malformed_sse(**options: Any) -> Step:
    """A stream whose frames are not JSON."""
    body = b'data: {"choices": [{"delta": {"content": "Hel\n\ndata: }{\n\nnonsense\n\n'
    return recorded(200, "text/event-stream", body, framing="chunked", **options)


def raw(
    data: bytes, then: Literal["close", "reset", "hang", "keep"] = "close", **options: Any
) -> Step:
    """These bytes and nothing else, head and all, once the request was read."""
    return _step("raw", options, data64=_base64(data), then=then)


def hang() -> Step:
    """Read the request, then say nothing."""
    return _step("hang", {})


def reset_after_body(prompt_tokens: int | None = None, completion_tokens: int = 0) -> Step:
    """Read the request, then reset the connection; bills those tokens if there are any."""
    bills = None
    if prompt_tokens is not None:
        bills = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return _step("reset", {}, bills=bills)


def drop() -> Step:
    """Reset the connection as soon as it is made, before a byte was read.

    Only as the next step of `will`, and for a connection that is new. For a port that refuses
    connections see `HostileUpstream.refuse`.
    """
    return _step("drop", {})


class HostileUpstream:
    """The server's process, and the way to tell it things."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, control_port: int) -> None:
        self._process = process
        self.port = port
        self._control_port = control_port

    @classmethod
    def start(cls, port: int = 0, *, certificate: Path | None = None) -> Self:
        """A new one, listening. `certificate`: PEM with its key, to speak TLS."""
        command = [sys.executable, __file__, str(port), "--until-eof"]
        if certificate is not None:
            command += ["--certificate", str(certificate)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())
        return cls(process, ports["port"], ports["control_port"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()

    @property
    def base_url(self) -> str:
        """As the SDKs of OpenAI take it."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def anthropic_base_url(self) -> str:
        """As the SDKs of Anthropic take it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def decoy_url(self) -> str:
        """Where a redirect may lead; a visit is a request in `seen()` like any other."""
        return f"http://localhost:{self.port}/decoy"

    def will(self, *steps: Step) -> None:
        """What it does from now on, in order; the last step stays. None: `reply()`."""
        self._post("/__script", {"steps": steps, "model": None})

    def for_model(self, model: str, *steps: Step) -> None:
        """The same for requests whose body names that model; they go before `will`'s."""
        self._post("/__script", {"steps": steps, "model": model})

    def open(self, gate: str) -> None:
        """Let through whoever waits at that gate, and whoever comes later."""
        self._post("/__gate", {"name": gate})

    def refuse(self) -> None:
        """Close the port: from now on connections are refused. Those that exist stay."""
        self._post("/__port", {"open": False})

    def accept(self) -> None:
        """Open the port again."""
        self._post("/__port", {"open": True})

    def reset(self) -> None:
        """Forget every script, gate, request and count; end what hangs or waits; open the port."""
        self._post("/__reset", {})

    def seen(self) -> list[Seen]:
        """Every request since the start or the last reset."""
        return list(self._report()["requests"])

    def served(self) -> list[tuple[str, dict[str, Any]]]:
        """(model, usage) of everything that it believes it produced, in order of arrival."""
        return [(one["model"], one["usage"]) for one in self.seen() if one["usage"] is not None]

    def connections(self) -> int:
        """How many connections it accepted."""
        return int(self._report()["connections"])

    def most_at_once(self) -> int:
        """The most requests that it had in hand at one time."""
        return int(self._report()["most_at_once"])

    def wait(self, condition: Callable[[list[Seen]], bool], seconds: float = 30) -> list[Seen]:
        """`seen()` as soon as the condition holds of it. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while not condition(seen := self.seen()):
            if time.monotonic() > until:
                raise TimeoutError(f"the upstream has seen only {seen}")
            time.sleep(0.01)
        return seen

    def wait_for(self, count: int, seconds: float = 30) -> list[Seen]:
        """`seen()` as soon as that many requests have come."""
        return self.wait(lambda seen: len(seen) >= count, seconds)

    def _report(self) -> dict[str, Any]:
        return dict(self._ask("GET", "/__seen", None))

    def _post(self, path: str, body: dict[str, Any]) -> None:
        self._ask("POST", path, json.dumps(body))

    def _ask(self, method: str, path: str, body: str | None) -> Any:
        connection = HTTPConnection("127.0.0.1", self._control_port, timeout=10)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path}: {text.decode()}")
            return json.loads(text)
        finally:
            connection.close()


if __name__ == "__main__":
    from hostile_server import main

    main(sys.argv[1:])
