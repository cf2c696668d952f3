"""Streams on the pump: carried to the end, cut when they must be, and none in another's way."""

import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from certificates import certificate
from hostile import HostileUpstream, stream
from people import Key, Person, TestBridge, wait_for
from upstream_calls import InBackground

from modelbridge.gateway import pump as pumps
from modelbridge.gateway.pump import Outlet, Pump

LONG = {"completion_tokens": 1_000}
BODY = '{"model": "gpt-test", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'


def text_of(answer: Any) -> str:
    """The words of a stream, and that it was whole."""
    import json

    lines = [line for line in answer.iter_lines(chunk_size=4096) if line.startswith(b"data: ")]
    assert lines[-1] == b"data: [DONE]"
    chunks = [json.loads(line[6:]) for line in lines[:-1]]
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )


def unread(bridge: TestBridge, key: Key) -> socket.socket:
    """A client that asks for a stream and reads nothing of it."""
    address = urlsplit(bridge.url)
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    line.connect((address.hostname, address.port))
    line.sendall(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
    )
    return line


def paused(bridge: TestBridge) -> bool:
    return bool(bridge.bridge.gateway.pump._paused)


def test_an_open_stream_rides_on_the_pump_and_leaves_it(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    pump = bridge.bridge.gateway.pump
    upstream.will(stream(5, gate_after=(3, "door")))
    with key.stream() as answer:
        wait_for(lambda: len(pump) == 1)
        upstream.open("door")
        assert text_of(answer) == "w0 w1 w2 w3 w4 "
    assert len(pump) == 0
    assert bridge.last_call().output_tokens == 5


@pytest.mark.parametrize("model", ["gpt-test", "claude-test"])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("piece_bytes", [None, 7])
def test_however_a_stream_is_framed_it_comes_to_its_end(
    bridge: TestBridge,
    key: Key,
    upstream: HostileUpstream,
    model: str,
    framing: str,
    piece_bytes: int | None,
) -> None:
    more: dict[str, Any] = {"piece_bytes": piece_bytes} if piece_bytes else {}
    upstream.will(stream(20, framing=framing, **more))
    for _ in range(2):
        with key.stream(model) as answer:
            assert text_of(answer) == "".join(f"w{number} " for number in range(20))
        assert bridge.last_call().usage_source == "reported"


@pytest.mark.parametrize("model", ["gpt-test", "claude-test"])
@pytest.mark.parametrize("ending", ["cut", "reset"])
def test_a_stream_that_breaks_off_ends_in_an_error_and_is_paid(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, model: str, ending: str
) -> None:
    upstream.will(stream(20, 0.01, stop_after=5, ending=ending))
    with key.stream(model) as answer:
        rest = b"".join(answer.iter_content(None))
    assert b'"upstream_error"' in rest
    assert b"[DONE]" not in rest
    bridge.settle_down()
    assert bridge.last_call().finish == "failed"
    assert bridge.last_call().cost_nanos


def test_a_client_that_does_not_read_stops_its_own_upstream_alone(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    words = "x" * 12_000_000
    upstream.will(stream(1_200, text=words, **LONG), stream(50, 0.01))
    with unread(bridge, key) as line:
        wait_for(lambda: paused(bridge), 30)
        started = time.monotonic()
        with key.stream() as answer:
            assert len(text_of(answer)) > 100
        assert time.monotonic() - started < 5
        assert paused(bridge)
        got = 0
        tail = b""
        while piece := line.recv(2**16):
            got += len(piece)
            tail = (tail + piece)[-100:]
    assert got > len(words)
    assert b"data: [DONE]" in tail


@pytest.mark.parametrize("how", ["revoked", "client_left"])
def test_what_happens_to_a_stream_whose_client_does_not_read_is_noticed(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, how: str
) -> None:
    upstream.will(stream(1_200, text="x" * 12_000_000, stops_when_client_leaves=False, **LONG))
    line = unread(bridge, key)
    with line:
        wait_for(lambda: paused(bridge), 30)
        if how == "revoked":
            key.revoke()
        else:
            line.close()
        wait_for(bridge.calls, 30)
        assert bridge.last_call().finish == how
        assert bridge.last_call().cost_nanos


def test_a_silent_upstream_is_given_up_after_its_deadline(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstreams = bridge.bridge.gateway.upstreams
    monkeypatch.setattr(upstreams, "settings", replace(upstreams.settings, idle_seconds=0.5))
    upstream.will(stream(20, gate_after=(3, "never")))
    with key.stream() as answer:
        assert b'"upstream_timeout"' in b"".join(answer.iter_content(None))


def test_streams_over_tls_come_whole_and_share_connections(
    bridge: TestBridge, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(tmp_path, "localhost")
    monkeypatch.setattr(bridge.bridge.gateway.upstreams.adapter, "_ca_file", str(pem))
    with HostileUpstream.start(certificate=pem) as secret:
        bridge.upstream("secret", f"https://localhost:{secret.port}/v1")
        bridge.model("gpt-secret", "secret")
        words = "".join(f"word{number} " for number in range(100_000))
        # Such a body is over with its end mark, not a chunk later.
        whole: dict[str, Any] = {"framing": "length"}
        secret.will(
            stream(20, text=words, **whole, **LONG), stream(3, 0.05, **whole), stream(9, **whole)
        )
        for expected in (words, "w0 w1 w2 ", "w0 w1 w2 w3 w4 w5 w6 w7 w8 "):
            with key.stream("gpt-secret") as answer:
                assert text_of(answer) == expected
        assert secret.connections() == 1
        secret.will(stream(20, text=words, **LONG))
        with key.stream("gpt-secret") as answer:
            assert text_of(answer) == words
        assert secret.connections() == 1


def test_many_streams_at_once_are_all_whole_and_all_paid(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    bridge.bridge.gateway.slots.size = 48
    upstream.will(stream(20, 0.02))
    found = [InBackground(lambda: text_of(key.stream())) for _ in range(40)]
    whole = "".join(f"w{number} " for number in range(20))
    assert [one.outcome() for one in found] == [whole] * 40
    assert [call.output_tokens for call in bridge.calls()] == [20] * 40


# The pump by itself


class Parcel:
    """A cargo that reads a socket until it says "end" or "bang"."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.setblocking(False)
        self.ended = self.is_cut = False
        self.story: list[str] = []

    def advance(self) -> bytes:
        data = self.sock.recv(100)
        self.ended = data.endswith(b"end")
        if data == b"bang":
            raise ValueError("bang")
        return data

    def idle(self, now: float) -> bytes:
        return b": still here"

    def pause(self) -> None:
        self.story.append("paused")

    def resume(self) -> None:
        self.story.append("resumed")


@pytest.fixture
def pump() -> Iterator[Pump]:
    pump = Pump()
    yield pump
    pump.stop()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_the_last_bytes_are_for_the_caller(
    pump: Pump, ends: tuple[socket.socket, socket.socket]
) -> None:
    written: list[bytes] = []
    cargo = Parcel(ends[0])
    ride = InBackground(
        lambda: pump.carry(ends[0].fileno(), cargo, Outlet(written.append, lambda: 0))
    )
    ends[1].sendall(b"one")
    wait_for(lambda: written[:1] == [b"one"])
    wait_for(lambda: b": still here" in written)
    ends[1].sendall(b"the end")
    assert ride.outcome() == b"the end"
    assert b"the end" not in written
    assert len(pump) == 0


@pytest.mark.parametrize("where", ["cargo", "client"])
def test_what_fails_on_the_way_is_raised_where_it_is_waited_for(
    pump: Pump, ends: tuple[socket.socket, socket.socket], where: str
) -> None:
    def write(data: bytes) -> None:
        if data == b"leave":
            raise ConnectionError("the client has left")

    ride = InBackground(
        lambda: pump.carry(ends[0].fileno(), Parcel(ends[0]), Outlet(write, lambda: 0))
    )
    ends[1].sendall(b"bang" if where == "cargo" else b"leave")
    assert isinstance(ride.outcome(), ValueError if where == "cargo" else ConnectionError)
    assert len(pump) == 0


def test_a_pump_that_stops_gives_everything_back(ends: tuple[socket.socket, socket.socket]) -> None:
    pump = Pump()
    cargo = Parcel(ends[0])
    outlet = Outlet(lambda data: None, lambda: 0)
    ride = InBackground(lambda: pump.carry(ends[0].fileno(), cargo, outlet))
    wait_for(lambda: len(pump) == 1)
    pump.stop()
    assert ride.outcome() == b""
    assert not cargo.ended
    assert pump.carry(ends[0].fileno(), cargo, outlet) == b""


def test_a_slow_client_pauses_its_cargo_until_it_has_taken_half(
    pump: Pump, ends: tuple[socket.socket, socket.socket]
) -> None:
    unsent = [pumps.MOST_UNSENT_BYTES + 1]
    cargo = Parcel(ends[0])
    ride = InBackground(
        lambda: pump.carry(ends[0].fileno(), cargo, Outlet(lambda data: None, lambda: unsent[0]))
    )
    ends[1].sendall(b"the end")
    wait_for(lambda: cargo.story == ["paused"])
    unsent[0] = pumps.MOST_UNSENT_BYTES // 2 + 1
    assert not select.select([], [], [], 0.1)[0]
    assert cargo.story == ["paused"]
    unsent[0] -= 1
    assert ride.outcome() == b"the end"
    assert cargo.story == ["paused", "resumed"]


def test_no_thread_is_left_behind() -> None:
    before = set(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    pump = Pump()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"end")
        assert pump.carry(ours.fileno(), Parcel(ours), Outlet(lambda d: None, lambda: 0)) == b"end"
    pump.stop()
    assert threading.active_count() == threads
    assert set(os.listdir("/proc/self/fd")) <= before
