"""urllib3's connections and pools under requests' adapter, made to be cut, watched and counted.

What they add: a connection belongs to a `Line` while it is used; the address is checked where it
is connected to; sending is noted before it happens; whatever has arrived of a body is read at once;
a connection that was idle for long, or was cut, or got more bytes than it should is not used again.
"""

import http.client
import select
import socket
import ssl
import threading
from typing import Any, cast
from urllib.parse import urlsplit

import certifi
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse as Urllib3Response
from urllib3.util.ssl_ import create_urllib3_context

from modelbridge import clock
from modelbridge.upstream.dial import dial
from modelbridge.upstream.framing import Chunked, Framing, Length, UntilClose
from modelbridge.upstream.line import Line, current

MAX_IDLE_SECONDS = 20.0
READ_BYTES = 64 * 1024


class Answer(http.client.HTTPResponse):
    """An answer whose `read1` gives everything that has arrived, and tells a truncated body."""

    def __init__(self, sock: socket.socket, method: str | None, connection: "_Connection") -> None:
        super().__init__(sock, method=method)
        self._connection = connection
        self._socket = sock
        self._framing: Framing = Length(0)
        self._buffer_may_hold_some = True

    def begin(self) -> None:
        """Read the head; how the body ends is known from then on."""
        super().begin()
        if self.chunked:
            self._framing = Chunked()
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


class _Connection(HTTPConnection):
    """A connection that belongs to the line of the thread that uses it."""

    line: Line
    idle_since = 0.0
    unsound = False
    _answer: Answer | None = None

    def _new_conn(self) -> socket.socket:
        self.line = current()
        self.unsound = False
        sock = dial(self._dns_host, self.port, self.line)
        sock.settimeout(cast(float, self.timeout))
        return sock

    def request(self, *args: Any, **options: Any) -> None:
        self.line = current()
        if self.sock is not None:
            self.line.attach(self.sock)
        super().request(*args, **options)

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.line.sending()
        super().send(data)

    def response_class(  # type: ignore[override]  # a class there; called the same way
        self, sock: socket.socket, *_: object, method: str | None = None
    ) -> http.client.HTTPResponse:
        self._answer = Answer(sock, method, self)
        return self._answer

    def getresponse(self) -> Urllib3Response:  # type: ignore[override]  # as in urllib3
        try:
            return super().getresponse()
        except BaseException:
            if self._answer is not None:  # its own socket may be open: urllib3 did not take it over
                self._answer.close()
            raise
        finally:
            self._answer = None

    @property
    def reusable(self) -> bool:
        return not self.unsound and self.line.error is None


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS. The certificate is always verified."""

    _handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        # The handshake takes the descriptor away from `sock`: a cut needs one of its own till then.
        self._handle = sock.dup()
        try:
            self.line.attach(self._handle)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        try:
            HTTPSConnection.connect(self)
        finally:
            if self._handle is not None:
                self.line.detach()
                self._handle.close()
                self._handle = None
        sock = cast(ssl.SSLSocket, self.sock)
        if sock.version() is None:  # how Python reports a peer that left before the handshake
            raise ssl.SSLError("the connection ended before the TLS handshake")
        self.line.attach(sock)


class _PoolRules(HTTPConnectionPool):
    """When a connection may be used again."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = cast(_Connection, super()._get_conn(timeout))
        if connection.sock is not None and _is_stale(connection, clock.monotonic()):
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = clock.monotonic()
            if not conn.reusable:
                conn.close()
        super()._put_conn(conn)

    def tidy(self) -> None:
        """Close the connections that have been idle for too long."""
        idle = self.pool
        if idle is None:
            return
        now = clock.monotonic()
        with idle.mutex:
            for connection in idle.queue:
                if connection is not None and _is_stale(connection, now):
                    connection.close()


class _Pool(_PoolRules):
    ConnectionCls = _Connection


class _TlsPool(_PoolRules, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def _is_stale(connection: _Connection, now: float) -> bool:
    return now - connection.idle_since > MAX_IDLE_SECONDS


class Adapter(HTTPAdapter):
    """requests' adapter without what a gateway must not do.

    No proxies, no certificates from the environment, no cookies, no retries. `ca_file`: the
    certificates to trust in place of certifi's.
    """

    def __init__(self, pool_size: int, ca_file: str | None) -> None:
        super().__init__(pool_maxsize=pool_size)
        self._ca_file = ca_file
        self._pool_size = pool_size
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str], _PoolRules] = {}
        self._context: ssl.SSLContext | None = None

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        """The pool of the request's origin: no proxy, TLS verified, whatever is asked."""
        parts = urlsplit(cast(str, request.url))
        origin = (parts.scheme, parts.netloc)
        pool = self._pools.get(origin)
        if pool is None:
            with self._lock:
                pool = self._pools.get(origin)
                if pool is None:
                    pool = self._new_pool(parts.scheme, cast(str, parts.hostname), parts.port)
                    self._pools[origin] = pool
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the pool has its TLS context, made once (loading certificates takes 20 ms)."""

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """The least that a Response can be: no cookies, no header copies."""
        response = Response()
        response.status_code = resp.status
        response.request = req
        response.raw = resp
        return response

    def tidy(self) -> None:
        """Close connections that have been idle for too long."""
        for pool in list(self._pools.values()):
            pool.tidy()

    def close(self) -> None:
        """Close every idle connection."""
        for pool in list(self._pools.values()):
            pool.close()
        super().close()

    def _new_pool(self, scheme: str, host: str, port: int | None) -> _PoolRules:
        if scheme == "http":
            return _Pool(host, port, maxsize=self._pool_size)
        if self._context is None:
            self._context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
            self._context.load_verify_locations(self._ca_file or certifi.where())
        return _TlsPool(
            host,
            port,
            maxsize=self._pool_size,
            ssl_context=self._context,
            cert_reqs="CERT_REQUIRED",
        )
