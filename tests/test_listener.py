"""The listener: waitress on epoll serves whoever is slow, quick, early or gone."""

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from people import wait_for

from modelbridge import config, ids, listener, server
from modelbridge.listener import Lingering, Sockets

BLOCK = b"0123456789abcdef" * 4096
WHOLE = BLOCK * 64


class Site:
    """A small app behind the listener."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gone: list[bool] = []
        self.door = threading.Event()
        self.port = 0
        self.sockets = Sockets()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append(path)
        if path == "/long":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return iter([BLOCK] * 64)
        if path == "/gate":
            self.door.wait(20)
            self.gone.append(environ["waitress.client_disconnected"]())
        body = environ["wsgi.input"].read() or path.encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    def lingering(self) -> list[Lingering]:
        """Connections that are only heard out."""
        return [one for one in list(self.sockets.values()) if isinstance(one, Lingering)]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    env = {"MODELBRIDGE_DATA_DIR": str(tmp_path), "MODELBRIDGE_PORT": "0"}
    site, stop = Site(), threading.Event()
    sockets = site.sockets
    settings = config.load(env | {"MODELBRIDGE_THREADS": "4"})
    alive = KEY.__eq__
    listening = server.make_server(site, settings, sockets, alive)  # type: ignore[arg-type]
    site.port = listening.effective_port

    def serve() -> None:
        while not stop.is_set():
            sockets.turn(0.1)

    thread = threading.Thread(target=serve)
    thread.start()
    yield site
    stop.set()
    thread.join()
    listening.task_dispatcher.shutdown(timeout=5)
    listening.close()
    for channel in list(sockets.values()):
        channel.close()


def read_until(line: socket.socket, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen:
        piece = line.recv(2**16)
        assert piece, seen[-200:]
        seen += piece
    return seen


def test_a_connection_is_used_again_and_answers_keep_their_order(site: Site) -> None:
    with site.connect() as line:
        for number in range(3):
            line.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
            assert read_until(line, b"/%d" % number).startswith(b"HTTP/1.1 200 OK")
        line.sendall(b"".join(b"GET /p%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5)))
        seen = read_until(line, b"/p4")
    places = [seen.index(b"/p%d" % number) for number in range(5)]
    assert places == sorted(places)
    assert len(site.asked) == 8


def test_head_and_body_leave_together(site: Site) -> None:
    with site.connect() as line:
        line.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert line.recv(2**16).endswith(b"\r\n\r\n/x")


def test_a_slow_reader_gets_every_byte_and_the_others_are_served(site: Site) -> None:
    with site.connect() as slow, site.connect() as quick:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        slow.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        wait_for(lambda: "/long" in site.asked)
        started = time.monotonic()
        for _ in range(20):
            quick.sendall(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
            read_until(quick, b"/quick")
        assert time.monotonic() - started < 5
        got = b"".join(iter(lambda: slow.recv(2**16), b""))
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"chunked" in head
    pieces = []
    while body:
        size, _, body = body.partition(b"\r\n")
        pieces.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    assert b"".join(pieces) == WHOLE


def test_a_client_that_leaves_is_known_to_have_left(site: Site) -> None:
    with site.connect() as line:
        line.sendall(b"GET /gate HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: "/gate" in site.asked)
    time.sleep(0.2)
    site.door.set()
    wait_for(lambda: bool(site.gone))
    assert site.gone == [True]


def test_a_client_may_ask_whether_to_send_its_body(site: Site) -> None:
    with site.connect() as line:
        head = "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
        line.sendall(f"{head}Cookie: mb=1\r\n\r\n".encode())
        assert read_until(line, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        line.sendall(b"body")
        assert read_until(line, b"body").startswith(b"HTTP/1.1 200")


HEAD_BYTES = 262_144
KEY = ids.new_api_key(test=False)
UNKNOWN = ids.new_api_key(test=False)
MISTYPED = KEY[:-1] + ("a" if KEY[-1] != "a" else "b")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /x HTTP/1.1", 200),
        ("POST /x HTTP/1.1\r\nContent-Length: 0", 200),
        ("POST /x HTTP/1.1\r\nContent-Length: 99999999999", 200),
        ("POST /v1/x HTTP/1.1\r\nX-Api-Key: KEY\r\nContent-Length: 99999999999", 413),
        ("POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4", 400),
    ],
)
def test_a_client_that_asks_so_with_nothing_to_send_or_too_much_is_answered_at_once(
    site: Site, head: str, status: int
) -> None:
    with site.connect() as line:
        head = head.replace("KEY", KEY)
        line.sendall(f"{head}\r\nHost: x\r\nExpect: 100-continue\r\n\r\n".encode())
        assert read_until(line, b"\r\n\r\n").startswith(b"HTTP/1.1 %d" % status)


def test_a_body_that_comes_in_drips_and_a_broken_request_are_answered(site: Site) -> None:
    with site.connect() as line:
        for piece in b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nslow".split(b" "):
            line.sendall(piece if piece.endswith(b"slow") else piece + b" ")
            time.sleep(0.02)
        assert read_until(line, b"slow").startswith(b"HTTP/1.1 200")
    with site.connect() as line:
        line.sendall(b"GET / HTTP/1.1\r\nbroken header\r\n\r\n")
        assert b" 400 " in read_until(line, b"}")
        assert line.recv(100) in (b"", b"}")


def test_five_hundred_idle_connections_keep_nobody_waiting(site: Site) -> None:
    idle = [site.connect() for _ in range(500)]
    try:
        with site.connect() as line:
            line.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            read_until(line, b"/x")
    finally:
        for one in idle:
            one.close()


@pytest.mark.parametrize(
    "head",
    [
        "POST /body HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\nCONTENT-LENGTH: 0",
        "POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "POST /body HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive",
    ],
)
def test_a_body_with_two_ends_is_refused_and_what_follows_is_nobodys(site: Site, head: str) -> None:
    smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    with site.connect() as line:
        line.sendall(f"{head}\r\nHost: x\r\n\r\n0\r\n\r\n{smuggled}".encode())
        got = b""
        while piece := line.recv(65_536):
            got += piece
    assert b" 400 Bad Request\r\n" in got
    assert got.count(b"HTTP/1.") == 1
    assert site.asked == []


def test_a_chunked_body_still_arrives(site: Site) -> None:
    with site.connect() as line:
        line.sendall(
            b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nCookie: mb=1\r\n\r\n"
            b"5\r\nhello\r\n0\r\n\r\n"
        )
        assert line.recv(65_536).endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize(
    ("path", "shown", "is_read"),
    [
        ("/v1/x", "Authorization: Bearer KEY", True),
        ("/v1/x", "X-Api-Key: KEY", True),
        ("/v1/x", "Authorization: Bearer MISTYPED", False),
        ("/v1/x", "Authorization: Bearer UNKNOWN", False),
        ("/v1/x", "Authorization: Basic abc", False),
        ("/v1/x", "Cookie: mb=1", False),
        ("/v1/x", "X-Nothing: 1", False),
        ("/x", "X-Nothing: 1", False),
        ("/x", "Authorization: Bearer KEY", False),
    ],
)
@pytest.mark.parametrize(
    "length",
    [
        f"Content-Length: {HEAD_BYTES + 1}",
        "Content-Length: 5\r\nExpect: 100-continue",
        "Transfer-Encoding: chunked",
    ],
)
def test_a_strangers_long_body_is_not_read_before_the_answer(
    site: Site, path: str, shown: str, is_read: bool, length: str
) -> None:
    shown = shown.replace("MISTYPED", MISTYPED).replace("KEY", KEY).replace("UNKNOWN", UNKNOWN)
    with site.connect() as line:
        line.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{shown}\r\n{length}\r\n\r\n".encode())
        if is_read:
            line.settimeout(0.2)
            if "Expect" in length:
                assert line.recv(100).startswith(b"HTTP/1.1 100 ")
            with pytest.raises(TimeoutError):
                line.recv(100)
            assert site.asked == []
        else:
            got = read_until(line, b"\r\n\r\n" + path.encode())
            assert got.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nConnection: close\r\n" in got
            assert line.recv(100) == b""


@pytest.mark.parametrize(("length", "is_read"), [(HEAD_BYTES, True), (HEAD_BYTES + 1, False)])
def test_no_page_takes_a_longer_body_than_its_forms_may_have(
    site: Site, length: int, is_read: bool
) -> None:
    with site.connect() as line:
        line.sendall(
            f"POST /x HTTP/1.1\r\nCookie: mb=1\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        line.settimeout(0.3)
        if is_read:
            with pytest.raises(TimeoutError):
                line.recv(100)
        else:
            assert read_until(line, b"/x").startswith(b"HTTP/1.1 200 ")


def test_no_page_takes_more_of_a_body_without_a_length_either(site: Site) -> None:
    with site.connect() as line:
        line.sendall(
            b"POST /x HTTP/1.1\r\nCookie: mb=1\r\nTransfer-Encoding: chunked\r\n\r\n7FFFFFFF\r\n"
        )
        line.sendall(b"x" * (HEAD_BYTES + 1))
        assert read_until(line, b"too_large").startswith(b"HTTP/1.1 413 ")
    assert site.asked == []


def test_a_strangers_short_body_is_read_and_the_connection_kept(site: Site) -> None:
    body = b"x" * HEAD_BYTES
    with site.connect() as line:
        for _ in range(2):
            line.sendall(f"POST /v1/x HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode())
            line.sendall(body)
            assert b"Connection: close" not in read_until(line, body)


def test_what_follows_a_body_that_is_not_read_is_nobodys(site: Site) -> None:
    smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    long = "POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n"
    with site.connect() as line:
        line.sendall((long + smuggled * 3).encode())
        got = b""
        while piece := line.recv(65_536):
            got += piece
    assert got.count(b"HTTP/1.") == 1
    assert site.asked == ["/v1/x"]


LONG_HEAD = b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n"
BROKEN_HEAD = b"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"


@pytest.mark.parametrize("head", [LONG_HEAD, BROKEN_HEAD])
def test_who_sends_on_after_the_last_answer_is_heard_out_and_reads_it(
    site: Site, head: bytes
) -> None:
    with site.connect() as line:
        line.sendall(head)
        wait_for(site.lingering)
        for _ in range(64):
            line.sendall(BLOCK)
        got = b""
        while piece := line.recv(65_536):
            got += piece
    assert got.startswith(b"HTTP/1.1 ")
    assert got.count(b"HTTP/1.1 ") == 1
    wait_for(lambda: not site.lingering())


def send_without_end(line: socket.socket) -> None:
    while True:
        line.sendall(BLOCK)


@pytest.mark.parametrize("limit", ["LINGER_SECONDS", "LINGER_SILENT_SECONDS"])
def test_nobody_is_heard_out_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(listener, limit, 1.0)
    with site.connect() as line:
        line.sendall(LONG_HEAD)
        wait_for(site.lingering)
        if limit == "LINGER_SECONDS":
            with pytest.raises(ConnectionError):
                send_without_end(line)
        wait_for(lambda: not site.lingering())
        assert site.asked == ["/v1/x"]


def test_a_client_that_is_gone_when_it_is_refused_leaves_nothing_behind(site: Site) -> None:
    with site.connect() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.sendall(BROKEN_HEAD + BLOCK)
    with site.connect() as line:
        line.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(line, b"/x")
        wait_for(lambda: not site.lingering())
