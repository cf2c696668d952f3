"""The only HTTP client: one request to an upstream, and its answer, byte by byte as it comes.

Nothing is retried, no redirect followed, nothing decompressed; no cookie, proxy or credential comes
from anywhere but the target. What an error says names the upstream as the operator does; its
address and the technical cause go to the log, the credential nowhere.
"""

import logging
from collections.abc import Callable
from http.client import HTTPException
from typing import cast

from requests import RequestException
from requests.exceptions import SSLError, Timeout
from urllib3 import Timeout as Patience
from urllib3.exceptions import HTTPError

from modelbridge import clock
from modelbridge.config import Settings
from modelbridge.errors import BridgeError, UpstreamError, UpstreamTimeout
from modelbridge.upstream.answers import Answer, Strange, answer_of
from modelbridge.upstream.connections import LATE, Adapter
from modelbridge.upstream.line import Line, stand_on
from modelbridge.upstream.request import is_sendable, prepare
from modelbridge.upstream.watch import Watch
from modelbridge.wire.target import Target, WireRequest

logger = logging.getLogger("modelbridge.upstream")

_KEPT_HEADERS = {
    "content-type",
    "date",
    "retry-after",
    "retry-after-ms",
    "x-request-id",
    "request-id",
    "openai-processing-ms",
}
_KEPT_PREFIX = "x-ratelimit-"
# ValueError: a file that was closed under a reader.
_BROKEN = (RequestException, HTTPError, HTTPException, OSError, ValueError)
# The watch keeps the deadlines; the sockets' own is only there in case the watch should fail.
_BACKSTOP_SECONDS = 60.0
_NO_PROXIES: dict[str, str] = {}


class UpstreamClient:
    """Sends requests to upstreams over pooled connections; every thread may use it.

    `credential_of` gives the plain credential for a target, or None; it may raise
    CredentialError. `ca_file`: certificates to trust in place of certifi's.
    """

    def __init__(
        self,
        settings: Settings,
        credential_of: Callable[[Target], str | None],
        *,
        ca_file: str | None = None,
    ) -> None:
        self.settings = settings
        self.credential_of = credential_of
        patience = max(settings.first_byte_seconds, settings.idle_seconds) + _BACKSTOP_SECONDS
        self.backstop = Patience(connect=patience, read=patience)
        self.adapter = Adapter(settings.threads + 64, ca_file)
        self.watch: Watch[Exchange] = Watch(self.adapter.tidy)

    def open(self, target: Target, request: WireRequest, *, stream: bool) -> "Exchange":
        """The exchange, before any I/O. `stream` only says what the request asks to accept.

        Raises ValueError if the request's path does not begin with a slash.
        """
        if not request.path.startswith("/"):
            raise ValueError("the path of an upstream's request must begin with a slash")
        return Exchange(self, target, request, stream=stream)

    def cut_all(self) -> None:
        """Cut whatever is running now: its callers are told that the bridge is shutting down."""
        self._cut(self.watch.watched())

    def close(self) -> None:
        """Cut whatever is still running, stop the watch, close all connections."""
        self._cut(self.watch.close())
        self.adapter.close()

    def _cut(self, exchanges: "list[Exchange]") -> None:
        for one in exchanges:
            one.cut(
                UpstreamError(
                    "ModelBridge is shutting down.",
                    refused=not one.sent,
                    may_have_billed=one.sent,
                )
            )


class Exchange:
    """One request and its answer. Call `start`, then `read` to the end, then `close`, always.

    `status` and `headers` (lower-case names, a written list of them only) are there after `start`.
    One thread works on it; any other may `cut` it.
    """

    def __init__(
        self, client: UpstreamClient, target: Target, request: WireRequest, *, stream: bool
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._client = client
        self._target = target
        self._request = request
        self._stream = stream
        self._line = Line(
            target.upstream, client.settings.connect_seconds, allow_private=target.allow_private
        )
        self._answer: Answer | Strange | None = None
        self._taken: Answer | None = None
        self._ended = False
        self._started_at = 0.0
        self._waiting_since: float | None = None
        self._has_body = False

    @property
    def is_cut(self) -> bool:
        """Somebody has cut it: whatever reads it will be told why."""
        return self._line.error is not None

    @property
    def sent(self) -> bool:
        """Whether a byte of the request may have left."""
        return self._line.sent_at is not None

    def start(self) -> None:
        """Connect, send the request, read the head of the answer.

        Raises UpstreamError or UpstreamTimeout: `refused` when nothing was sent (the name, the
        connection, TLS, our credential), or when the answer is a redirect; `may_have_billed` when
        any byte of the request may have left. Raises the error of a `cut`, also of one before.
        """
        self._line.check()
        client, target = self._client, self._target
        prepared = prepare(target, self._request, client.credential_of, stream=self._stream)
        self._started_at = self._waiting_since = clock.monotonic()
        client.watch.add(self)
        try:
            stand_on(self._line)
            response = client.adapter.send(
                prepared,
                stream=True,
                timeout=cast(float, client.backstop),  # urllib3 takes it as it is
                proxies=_NO_PROXIES,
            )
            self._answer = answer_of(response)
            self._waiting_since = None
            self._read_head(self._answer)
            self._line.check()
        except _BROKEN as error:
            failure = self._failure(error)
            self.close()
            raise failure from None
        except BaseException:
            self.close()
            raise

    def read(self) -> bytes:
        """Whatever of the body has arrived, at least one byte; b"" at its proper end.

        Raises UpstreamError or UpstreamTimeout (`may_have_billed`) when the answer breaks off or a
        deadline passes, and the error of a `cut`. A body without length or chunks ends with its
        connection: that it was truncated can only be told by the format's own end mark.
        """
        self._line.check()
        if self._ended:
            return b""
        if self._answer is None:
            raise RuntimeError("an exchange is read before it was started")
        self._waiting_since = clock.monotonic()
        try:
            data = self._answer.read1()
        except _BROKEN as error:
            failure = self._failure(error)
            self.close()
            raise failure from None
        finally:
            self._waiting_since = None
        if self._line.error is not None:
            self.close()
            raise self._line.error
        if data:
            self._has_body = True
            return data
        self._ended = True
        self.close()
        return b""

    def begin_taking(self) -> int | None:
        """From now on `take` instead of `read`: the socket's descriptor, to be told when.

        None if there is nothing to take any more.
        """
        answer = self._answer
        if self._ended or not isinstance(answer, Answer) or not answer.stop_waiting():
            return None
        self._taken, self._waiting_since = answer, clock.monotonic()
        return answer.fileno()

    def take(self) -> bytes | None:
        """`read` that neither waits nor closes: None if nothing has come, b"" at the end."""
        self._line.check()
        if self._taken is None:
            raise RuntimeError("an exchange is taken from before that was begun")
        try:
            data = self._taken.take()
        except _BROKEN as error:
            raise self._failure(error) from None
        self._line.check()
        if data is not None:
            self._waiting_since = clock.monotonic()
            self._has_body = self._has_body or bool(data)
        return data

    @property
    def taken_whole(self) -> bool:
        """The end has come too: `take` has b"" to say, and nothing will wake anybody for that."""
        return self._taken is not None and self._taken.is_complete()

    def pause_taking(self) -> None:
        """Until `resume_taking`, what is not taken does not make the upstream late."""
        self._waiting_since = None

    def resume_taking(self) -> None:
        """The upstream is listened to again."""
        self._waiting_since = clock.monotonic()

    def end_taking(self, *, done: bool) -> None:
        """`read` works again. `done`: nobody wants more; the connection is free if nothing comes.

        Idempotent.
        """
        answer, self._taken, self._waiting_since = self._taken, None, None
        if answer is None or self._line.error is not None:
            return
        if answer.is_complete() or (done and answer.takes_nothing_more()):
            self._ended = True
            self.close()
        else:
            answer.wait_again()

    def wait(self, seconds: float) -> bool:
        """Wait at most that long for `read` to have something to say; False: still nothing.

        Time spent here counts for the idle deadline.
        """
        if self._ended or self._answer is None or self._line.error is not None:
            return True
        if self._waiting_since is None:
            self._waiting_since = clock.monotonic()
        try:
            ready = self._answer.ready(seconds)
        except (OSError, ValueError):  # closed by a cut meanwhile: `read` says how
            ready = True
        if ready:
            self._waiting_since = None
        return ready

    def read_all(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamError above `limit` bytes, and whatever `read` raises."""
        pieces: list[bytes] = []
        size = 0
        while data := self.read():
            size += len(data)
            if size > limit:
                self.close()
                logger.warning("upstream %s: answer above %d bytes", self._target.upstream, limit)
                raise UpstreamError(
                    f"The upstream {self._target.upstream!r} sent an answer that is too large.",
                    may_have_billed=True,
                )
            pieces.append(data)
        return b"".join(pieces)

    def cut(self, error: BridgeError) -> None:
        """From any thread, at any time: `start` or `read`, blocked or to come, raises that error.

        Only the first cut counts. The connection is not used again.
        """
        self._line.cut(error)

    def close(self) -> None:
        """Give the connection back if the body was read to its end, else drop it. Idempotent."""
        self._client.watch.discard(self)
        answer, self._answer = self._answer, None
        if self._ended:
            if answer is not None:
                answer.release()
            return
        self._line.cut(
            UpstreamError(
                f"The call to the upstream {self._target.upstream!r} was closed.",
                may_have_billed=self.sent,
            )
        )
        if answer is not None:
            answer.release()

    def overdue(self, now: float) -> BridgeError | None:
        """The deadline that has passed, as the error to cut with; for the watch."""
        late = self._late(now)
        if late is None:
            return None
        name = self._target.upstream
        logger.warning("upstream %s %s", name, late)
        return UpstreamTimeout(
            f"The upstream {name!r} {late}.", refused=not self.sent, may_have_billed=self.sent
        )

    def _late(self, now: float) -> str | None:
        """How it is late. Only the whole counts while nobody waits for the next bytes."""
        settings = self._client.settings
        sent_at, waiting_since = self._line.sent_at, self._waiting_since
        if now - self._started_at >= settings.total_seconds:
            return f"took longer than {settings.total_seconds:g} s in all"
        if sent_at is None:
            late = now - self._started_at >= settings.connect_seconds
            return f"could not be connected to in {settings.connect_seconds:g} s" if late else None
        if waiting_since is None:
            return None
        if not self._has_body:
            late = now - sent_at >= settings.first_byte_seconds
            return f"sent nothing for {settings.first_byte_seconds:g} s" if late else None
        late = now - waiting_since >= settings.idle_seconds
        return f"fell silent for {settings.idle_seconds:g} s" if late else None

    def _read_head(self, answer: Answer | Strange) -> None:
        """Take status and headers over. Raises UpstreamError for an answer that we do not take."""
        self.status = answer.status
        for name, value in answer.headers.items():
            name = name.lower()
            kept = name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIX)
            if kept and is_sendable(value):
                self.headers[name] = value
        if 300 <= self.status < 400:
            raise self._refused_answer("answered with a redirect, which is not followed")
        if self.status < 200:
            raise self._refused_answer(f"answered with status {self.status}")
        if answer.headers.get("content-encoding", "identity").strip().lower() not in (
            "identity",
            "",
        ):
            raise self._refused_answer("sent a compressed answer, which was not asked for")
        if answer.headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
            raise self._refused_answer("sent an answer in an unknown transfer encoding")

    def _refused_answer(self, what: str) -> UpstreamError:
        """A status of 3xx or 4xx says that no work was done; of any other, nobody knows."""
        logger.warning("upstream %s: %s (status %d)", self._target.upstream, what, self.status)
        refused = 300 <= self.status < 500
        return UpstreamError(
            f"The upstream {self._target.upstream!r} {what}.",
            refused=refused,
            may_have_billed=not refused,
        )

    def _failure(self, error: Exception) -> BridgeError:
        """What broke, in our words; the log gets the rest."""
        name = self._target.upstream
        if self._line.error is not None:
            return self._line.error
        logger.warning("upstream %s: %s: %s", name, type(error).__name__, error)
        if not self.sent:
            tls = isinstance(error, SSLError)
            what = "does not speak TLS that can be trusted" if tls else "cannot be reached"
            return UpstreamError(f"The upstream {name!r} {what}.", refused=True)
        if isinstance(error, (Timeout, *LATE)):
            return UpstreamTimeout(f"The upstream {name!r} fell silent.", may_have_billed=True)
        what = "broke off its answer" if self.status else "closed the connection without an answer"
        return UpstreamError(f"The upstream {name!r} {what}.", may_have_billed=True)
