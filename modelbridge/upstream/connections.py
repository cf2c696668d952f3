"""urllib3's connections and pools under requests' adapter, made to be cut, watched and counted.

What they add: a connection belongs to a `Line` while it is used; the address is checked where it
is connected to; sending is noted before it happens; a connection that was idle for long, or was
cut, or got more bytes than it should is not used again. What they leave out is urllib3's own way
of asking (docs/decisions/0009-asking.md).
"""

import errno
import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast
from urllib.parse import quote, urlsplit

import certifi
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ReadTimeoutError, SSLError
from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.ssl_match_hostname import CertificateError

from modelbridge import clock
from modelbridge.upstream.answers import Answer
from modelbridge.upstream.dial import dial
from modelbridge.upstream.line import Line, current

MAX_IDLE_SECONDS = 20.0
LARGE_BYTES = 64 * 1024
LATE = (TimeoutError, BlockingIOError)  # a socket's time to wait is over: Python's, the kernel's


class _Connection(HTTPConnection):
    """A connection that belongs to the line of the thread that uses it."""

    line: Line
    home: "_PoolRules"
    idle_since = 0.0
    unsound = False

    def _new_conn(self) -> socket.socket:
        sock = dial(self._dns_host, self.port, self.line)
        _bound_waits(sock, cast(float, self.timeout))
        return sock

    def ask(self, line: Line, head: bytes, body: bytes, seconds: float) -> Answer:
        """Send the request, read the head of the answer; a new socket waits `seconds` at most."""
        self.line, self.timeout = line, seconds
        if self.sock is None:
            self.connect()
        else:
            line.attach(self.sock)
        sock = cast(socket.socket, self.sock)
        line.sending()
        try:
            if len(body) < LARGE_BYTES:
                sock.sendall(head + body)
            else:
                sock.sendall(head)
                sock.sendall(body)
        except OSError as error:  # an upstream may answer, and hang up, before it has read all
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise
        answer = Answer(sock, self)
        answer.begin()
        return answer

    def release(self) -> None:
        """To its pool."""
        self.home._put_conn(self)

    @property
    def reusable(self) -> bool:
        return not self.unsound and self.line.error is None


def _bound_waits(sock: socket.socket, seconds: float) -> None:
    """No read and no write waits longer: kept by the kernel (docs/decisions/0009-asking.md)."""
    whole, part = divmod(seconds, 1)
    bound = struct.pack("@ll", int(whole), int(part * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bound)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, bound)


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS. The certificate is always verified."""

    _handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        sock.settimeout(cast(float, self.timeout))  # Python's TLS waits again where the kernel ends
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


@lru_cache(maxsize=1024)
def _host(scheme: str | None, host: str, port: int | None) -> str:
    """What stands in the Host header."""
    host = f"[{host.strip('[]')}]" if ":" in host else host
    return host if port in (None, 443 if scheme == "https" else 80) else f"{host}:{port}"


@lru_cache(maxsize=1024)
def _split(url: str) -> tuple[str, str]:
    """Its origin, and its path with the query."""
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return f"{parts.scheme}://{parts.netloc}", path


@lru_cache(maxsize=1024)
def _in_first_line(path: str) -> str:
    """The path, with whatever no request line can say written as %XX."""
    return quote(path, safe="!#$%&'()*+,/:;=?@[]~")


def write_head(method: str, path: str, host: str, headers: Mapping[str, str]) -> bytes:
    """A request's head. The values of headers are printable ASCII, as `prepare` has seen to."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"{method} {_in_first_line(path)} HTTP/1.1\r\nhost: {host}\r\n{lines}\r\n".encode(
        "ascii"
    )


class _PoolRules(HTTPConnectionPool):
    """When a connection may be used again."""

    def urlopen(  # type: ignore[override]  # what requests' adapter asks for, and no more
        self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any
    ) -> Answer:
        """Send a request over a connection of this pool, and read the head of the answer."""
        head = write_head(method, url, _host(self.scheme, self.host, self.port), headers)
        connection = cast(_Connection, self._get_conn())
        connection.home = self
        try:
            return connection.ask(current(), head, body or b"", options["timeout"].read_timeout)
        except BaseException as error:
            connection.unsound = True
            self._put_conn(connection)
            if isinstance(error, LATE):
                raise ReadTimeoutError(self, url, "the socket has waited for too long") from None
            if isinstance(error, ssl.SSLError | CertificateError):
                raise SSLError(error) from None
            raise

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


class _Bare(Response):
    """The least that a Response can be."""

    def __init__(self, request: PreparedRequest, raw: Answer) -> None:
        self.status_code, self.headers = raw.status, raw.headers  # type: ignore[assignment]
        self.request, self.raw = request, raw
        self._content_consumed = False


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
        self._pools: dict[tuple[str, bool], _PoolRules] = {}
        self._context: ssl.SSLContext | None = None

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> HTTPConnectionPool:
        """The pool of the request's origin: no proxy, TLS verified, whatever is asked.

        What may be at a private address has pools of its own: a connection that was allowed there
        is not used where it would not be.
        """
        origin, _ = _split(cast(str, request.url))
        name = origin, current().allow_private
        pool = self._pools.get(name)
        if pool is None:
            with self._lock:
                pool = self._pools.get(name)
                if pool is None:
                    pool = self._pools[name] = self._new_pool(origin)
        return pool

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """The path and query: there is no proxy that would want more."""
        return _split(cast(str, request.url))[1]

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the pool has its TLS context, made once (loading certificates takes 20 ms)."""

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """Only what our client looks at: no cookies, no header copies."""
        return _Bare(req, resp)

    def tidy(self) -> None:
        """Close connections that have been idle for too long."""
        for pool in list(self._pools.values()):
            pool.tidy()

    def close(self) -> None:
        """Close every idle connection."""
        for pool in list(self._pools.values()):
            pool.close()
        super().close()

    def _new_pool(self, origin: str) -> _PoolRules:
        parts = urlsplit(origin)
        host, port = cast(str, parts.hostname), parts.port
        if parts.scheme == "http":
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
