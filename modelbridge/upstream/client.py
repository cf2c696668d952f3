"""The only HTTP client: one request to an upstream, and its answer, byte by byte as it comes.

Nothing is retried, no redirect followed, nothing decompressed; no cookie, proxy or credential comes
from anywhere but the target. What an error says names the upstream as the operator does; its
address and the technical cause go to the log, the credential nowhere.
"""

import logging
from collections.abc import Callable
from http.client import HTTPException
from typing import cast

from requests import PreparedRequest, RequestException
from requests.exceptions import SSLError, Timeout
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.response import HTTPResponse

from modelbridge import clock, jsonio
from modelbridge.config import Settings
from modelbridge.errors import BridgeError, UpstreamAuthFailed, UpstreamError, UpstreamTimeout
from modelbridge.upstream.connections import READ_BYTES, Adapter, Answer
from modelbridge.upstream.credentials import CredentialError
from modelbridge.upstream.line import Line, on
from modelbridge.upstream.watch import Watch
from modelbridge.wire.target import Target, WireRequest

logger = logging.getLogger("modelbridge.upstream")

_AUTH = {
    "bearer": ("authorization", "Bearer "),
    "x-api-key": ("x-api-key", ""),
    "x-goog-api-key": ("x-goog-api-key", ""),
    "api-key": ("api-key", ""),
}
_KEPT_HEADERS = {
    "content-type",
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


class UpstreamClient:
    """Sends requests to upstreams over pooled connections; every thread may use it.

    `credential_of` gives the plain credential of an upstream's id, or None; it may raise
    CredentialError. `ca_file`: certificates to trust in place of certifi's.
    """

    def __init__(
        self,
        settings: Settings,
        credential_of: Callable[[str], str | None],
        *,
        ca_file: str | None = None,
    ) -> None:
        self.settings = settings
        self.credential_of = credential_of
        self.adapter = Adapter(settings.threads + 64, ca_file)
        self.watch: Watch[Exchange] = Watch(self.adapter.tidy)

    def open(self, target: Target, request: WireRequest, *, stream: bool) -> "Exchange":
        """The exchange, before any I/O. `stream` only says what the request asks to accept.

        Raises ValueError if the request's path does not begin with a slash.
        """
        if not request.path.startswith("/"):
            raise ValueError("the path of an upstream's request must begin with a slash")
        return Exchange(self, target, request, stream=stream)

    def close(self) -> None:
        """Cut whatever is still running, stop the watch, close all connections."""
        for left in self.watch.close():
            left.cut(
                UpstreamError(
                    "ModelBridge is shutting down.",
                    refused=not left.sent,
                    may_have_billed=left.sent,
                )
            )
        self.adapter.close()


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
        self._line = Line(target.upstream, client.settings.connect_seconds)
        self._raw: HTTPResponse | None = None
        self._ended = False
        self._started_at = 0.0
        self._waiting_since: float | None = None
        self._has_body = False

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
        prepared = self._prepare()
        self._started_at = self._waiting_since = clock.monotonic()
        self._client.watch.add(self)
        try:
            with on(self._line):
                response = self._client.adapter.send(
                    prepared, stream=True, timeout=self._backstop_seconds(), proxies={}
                )
            self._raw = cast(HTTPResponse, response.raw)
            self._waiting_since = None
            self._read_head(self._raw)
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
        if self._raw is None:
            raise RuntimeError("an exchange is read before it was started")
        self._waiting_since = clock.monotonic()
        try:
            data = self._raw.read1(READ_BYTES, decode_content=False)
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

    def wait(self, seconds: float) -> bool:
        """Wait at most that long for `read` to have something to say; False: still nothing.

        Time spent here counts for the idle deadline.
        """
        if self._ended or self._raw is None or self._line.error is not None:
            return True
        if self._waiting_since is None:
            self._waiting_since = clock.monotonic()
        answer = getattr(self._raw, "_fp", None)
        try:
            ready = answer.ready(seconds) if isinstance(answer, Answer) else True
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
        raw, self._raw = self._raw, None
        if self._ended:
            return
        self._line.cut(
            UpstreamError(
                f"The call to the upstream {self._target.upstream!r} was closed.",
                may_have_billed=self.sent,
            )
        )
        if raw is not None:
            raw.close()
            raw.release_conn()

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

    def _backstop_seconds(self) -> float:
        settings = self._client.settings
        return max(settings.first_byte_seconds, settings.idle_seconds) + _BACKSTOP_SECONDS

    def _prepare(self) -> PreparedRequest:
        """The request, without requests' Session: nothing is merged in from the environment."""
        has_body = self._request.method == "POST"
        body = jsonio.dumps(self._request.body) if has_body else None
        prepared = PreparedRequest()
        prepared.method = self._request.method
        prepared.url = self._target.base_url + self._request.path
        prepared.headers = CaseInsensitiveDict(self._send_headers(body))
        prepared.body = body
        return prepared

    def _send_headers(self, body: bytes | None) -> dict[str, str]:
        headers = {name.lower(): value for name, value in self._request.headers.items()}
        if body is not None:
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
        headers |= {
            "accept": "text/event-stream" if self._stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "ModelBridge",
        }
        for value in headers.values():
            if not _is_sendable(value):
                raise UpstreamError("A header for the upstream cannot be sent.", refused=True)
        if self._target.auth != "none" and (credential := self._credential()):
            name, prefix = _AUTH[self._target.auth]
            headers[name] = prefix + credential
        return headers

    def _credential(self) -> str | None:
        name = self._target.upstream
        try:
            credential = self._client.credential_of(self._target.upstream_id)
        except CredentialError as error:
            logger.error("upstream %s: %s", name, error)
            raise UpstreamAuthFailed(
                f"The credential of the upstream {name!r} cannot be used.", refused=True
            ) from None
        if credential is not None and not _is_sendable(credential):
            logger.error("upstream %s: the credential has characters that no header can", name)
            raise UpstreamAuthFailed(
                f"The credential of the upstream {name!r} cannot be used.", refused=True
            )
        return credential

    def _read_head(self, raw: HTTPResponse) -> None:
        """Take status and headers over. Raises UpstreamError for an answer that we do not take."""
        self.status = raw.status
        for name, value in raw.headers.items():
            name = name.lower()
            kept = name in _KEPT_HEADERS or name.startswith(_KEPT_PREFIX)
            if kept and _is_sendable(value):
                self.headers[name] = value
        if 300 <= self.status < 400:
            raise self._refused_answer("answered with a redirect, which is not followed")
        if self.status < 200:
            raise self._refused_answer(f"answered with status {self.status}")
        if raw.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
            raise self._refused_answer("sent a compressed answer, which was not asked for")
        if raw.headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
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
        if isinstance(error, Timeout | ReadTimeoutError):
            return UpstreamTimeout(f"The upstream {name!r} fell silent.", may_have_billed=True)
        what = "broke off its answer" if self.status else "closed the connection without an answer"
        return UpstreamError(f"The upstream {name!r} {what}.", may_have_billed=True)


def _is_sendable(value: str) -> bool:
    """Whether it can stand in a header: printable ASCII."""
    return value.isascii() and value.isprintable()
