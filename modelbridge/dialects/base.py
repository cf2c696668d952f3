"""The two halves of a wire format. A module of pure functions satisfies each protocol.

A stream is read and written piece by piece through small stateful objects that are fed, never
through generators that pull: whoever moves the bytes decides when.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from modelbridge.errors import BridgeError, UpstreamError
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.wire.reply import Reply, ReplyHead, StreamEvent
from modelbridge.wire.sse import Frame
from modelbridge.wire.target import Target, WireRequest


@dataclass(slots=True)
class Seen:
    """What a frame, passed on untouched, told the meter.

    `final`: the usage that the settlement waits for. `text_bytes`: bytes of text that the model
    produced. `finished`: a finish reason was in it. `done`: the stream's own end mark.
    `error`: the upstream reported a failure in mid-stream.
    """

    usage: Usage | None = None
    final: bool = False
    text_bytes: int = 0
    finished: bool = False
    done: bool = False
    error: BridgeError | None = None


class StreamWriter(Protocol):
    """Canonical events into the client's bytes; one stream each."""

    def write(self, event: StreamEvent) -> bytes:
        """The frames that say this event; may be empty. StreamFailed gives the error frame."""

    def end(self, usage: Usage | None, cost: str | None) -> bytes:
        """The format's own ending, after the settlement; `cost` is a bare decimal in AUD."""


class StreamReader(Protocol):
    """An upstream's frames into canonical events; one stream each."""

    def feed(self, frame: Frame) -> Iterable[StreamEvent]:
        """The events of one frame. Never raises: what is broken becomes StreamFailed."""

    def end(self) -> Iterable[StreamEvent]:
        """At the end of the bytes: StreamFailed if the format's own end never came."""


class Mender(Protocol):
    """What an upstream does to a format that clients could not read; one stream each."""

    def mend(self, frame: Frame) -> Frame:
        """The same frame, or one that says the same as clients expect it. Never raises."""


class Face(Protocol):
    """What every endpoint of /v1 has: it reads requests, and says in its format what is wrong."""

    NAME: str

    def read_request(self, body: JSONDict) -> Any:
        """The canonical request of the endpoint's kind: a ChatRequest, an EmbeddingRequest …

        Raises InvalidRequest naming the parameter.
        """

    def write_error(self, error: BridgeError, request_id: str) -> JSONDict:
        """The error's body in this format's envelope."""

    def write_stream_error(self, error: BridgeError, request_id: str) -> bytes:
        """The error as a frame, for when the head has gone out; no end mark follows it."""


class PlainUpstream(Protocol):
    """How an upstream is asked for what is answered in one piece, and not said in tokens."""

    def build_request(self, request: Any, target: Target, max_output: int) -> WireRequest:
        """The upstream's request. Raises UnsupportedParameter for what would change the meaning."""

    def read_answer(self, payload: bytes, request: Any) -> tuple[bytes, Usage | None]:
        """The client's body, and the usage if it was told. Raises UpstreamError: no answer."""


class Plain(Face, PlainUpstream, Protocol):
    """An endpoint that is asked and answered in one piece, and the upstreams that speak it, too.

    What it answers is not said in tokens (vectors today; pictures, sound or scores are alike).
    """


class Front(Face, Protocol):
    """A wire format that clients speak to us, for answers of text, streamed or not."""

    def write_reply(self, reply: Reply, head: ReplyHead) -> JSONDict:
        """The client's response body for a canonical reply."""

    def write_stream(self, head: ReplyHead, *, include_usage: bool) -> StreamWriter:
        """A writer for one stream."""

    def find_usage(self, payload: bytes) -> Usage | None:
        """The usage in a reply that is passed on untouched, or None."""

    def mend_stream(self) -> Mender:
        """A mender for one stream that is passed on untouched otherwise."""

    def inspect(self, frame: Frame) -> Seen:
        """What a frame that is passed on untouched says. Never raises."""

    def write_usage_frame(self, frame: Frame, cost: str | None, *, include_usage: bool) -> bytes:
        """The usage frame for the client: with the cost in it, without the usage, or no bytes."""


class UpstreamDialect(Protocol):
    """A wire format that we speak to an upstream."""

    NAME: str

    def build_request(self, request: Any, target: Target, max_output: int) -> WireRequest:
        """The upstream's request, with `max_output` as its output cap (per choice).

        Raises UnsupportedParameter for what would change the meaning.
        """

    def read_reply(self, body: JSONDict) -> Reply:
        """The canonical reply. Raises UpstreamError if the body is not one.

        An answer that failed, but was counted, may come with its `error` and its usage.
        """

    def read_stream(self) -> StreamReader:
        """A reader for one stream."""

    def read_error(
        self, status: int, headers: dict[str, str], body: bytes, target: Target
    ) -> UpstreamError:
        """What an answer that is no success means; header names are in lower case.

        The upstream's message is kept only where it is about the client's request.
        """
