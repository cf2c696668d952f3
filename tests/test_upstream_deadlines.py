"""Deadlines that no trickle evades, and cuts from other threads at every point of a call."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import certificate
from hostile import HostileUpstream, Step, hang, raw, reply, stream
from upstream_calls import InBackground, client_with, exchange, target, whole
from urllib3 import Timeout

from modelbridge.errors import CutByRevocation, UpstreamError, UpstreamTimeout
from modelbridge.upstream.client import UpstreamClient

LOOK_UP = "modelbridge.upstream.dial._look_up"
GONE = CutByRevocation("The key was revoked.")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[UpstreamClient]:
    with client_with(tmp_path) as client:
        yield client


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose connections never come about: its queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as callers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


# Deadlines


def test_a_connection_that_never_comes_about(tmp_path: Path, full_port: int) -> None:
    with client_with(tmp_path, connect_seconds=0.3) as client:
        one = exchange(client, target(f"http://127.0.0.1:{full_port}/v1"))
        with pytest.raises(UpstreamTimeout) as caught:
            one.start()
    assert (caught.value.refused, caught.value.may_have_billed) == (True, False)


def test_a_name_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(LOOK_UP, lambda *_: answer.wait(10))
    with client_with(tmp_path, connect_seconds=0.3) as client:
        with pytest.raises(UpstreamTimeout) as caught:
            exchange(client, target("http://slow.example/v1")).start()
        answer.set()
    assert (caught.value.refused, caught.value.may_have_billed) == (True, False)


TRICKLED_HEAD = raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n", then="hang")


@pytest.mark.parametrize("step", [hang(), TRICKLED_HEAD], ids=["silent", "half a head"])
def test_a_head_that_does_not_come(tmp_path: Path, upstream: HostileUpstream, step: Step) -> None:
    upstream.will(step)
    with client_with(tmp_path, first_byte_seconds=0.3) as client:
        started = time.monotonic()
        with pytest.raises(UpstreamTimeout, match="sent nothing for 0.3 s") as caught:
            exchange(client, target(upstream)).start()
        assert time.monotonic() - started < 3
    assert (caught.value.refused, caught.value.may_have_billed) == (False, True)
    assert caught.value.retry is False
    upstream.wait(lambda seen: len(seen) == 1)


def test_a_body_whose_first_byte_does_not_come(tmp_path: Path, upstream: HostileUpstream) -> None:
    upstream.will(stream(3, gate_after=(0, "never")))
    with client_with(tmp_path, first_byte_seconds=0.4, idle_seconds=0.1) as client:
        one = exchange(client, target(upstream), stream=True)
        one.start()
        with pytest.raises(UpstreamTimeout, match="sent nothing"):
            one.read()


@pytest.mark.parametrize("tls", [False, True], ids=["TCP", "TLS"])
def test_should_the_watch_fail_the_kernel_keeps_a_bound(tmp_path: Path, tls: bool) -> None:
    pem = certificate(tmp_path, "localhost") if tls else None
    with HostileUpstream.start(certificate=pem) as upstream:
        upstream.will(stream(3, gate_after=(0, "never")))
        with client_with(tmp_path, ca_file=str(pem) if pem else None) as client:
            client.backstop = Timeout(connect=5, read=0.4)
            at = f"{'https' if tls else 'http'}://localhost:{upstream.port}/v1"
            one = exchange(client, target(at), stream=True)
            with pytest.raises(UpstreamTimeout, match="fell silent") as caught:
                whole(one)
    assert caught.value.may_have_billed


def test_an_upstream_that_falls_silent(tmp_path: Path, upstream: HostileUpstream) -> None:
    upstream.will(stream(9, gate_after=(4, "never")))
    with client_with(tmp_path, idle_seconds=0.3) as client:
        one = exchange(client, target(upstream), stream=True)
        one.start()
        with pytest.raises(UpstreamTimeout, match="silent for 0.3 s") as caught:
            one.read_all(10**6)
    assert caught.value.may_have_billed
    upstream.wait(lambda seen: bool(seen[0]["client_left"]))


def test_a_slow_reader_is_not_a_silent_upstream(tmp_path: Path, upstream: HostileUpstream) -> None:
    upstream.will(stream(9))
    with client_with(tmp_path, idle_seconds=0.5, first_byte_seconds=0.5) as client:
        one = exchange(client, target(upstream), stream=True)
        one.start()
        first = one.read()
        time.sleep(0.9)  # nobody reads: the deadlines of the upstream do not run
        assert (first + one.read_all(10**6)).endswith(b"[DONE]\n\n")
        one.close()


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_trickle_does_not_evade_the_total(
    tmp_path: Path, upstream: HostileUpstream, framing: str
) -> None:
    upstream.will(reply(piece_bytes=1, spacing=0.02, framing=framing))
    with client_with(tmp_path, total_seconds=0.5) as client:
        started = time.monotonic()
        with pytest.raises(UpstreamTimeout, match="in all") as caught:
            whole(exchange(client, target(upstream)))
        assert 0.5 <= time.monotonic() - started < 3
    assert caught.value.may_have_billed


# Cuts


def test_a_cut_before_the_start_sends_nothing(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    one = exchange(client, target(upstream))
    one.cut(GONE)
    with pytest.raises(CutByRevocation):
        one.start()
    assert not one.sent
    assert upstream.connections() == 0


def cut_promptly(running: InBackground, one: "object", cut: object = GONE) -> None:
    started = time.monotonic()
    one.cut(cut)  # type: ignore[attr-defined]
    assert running.outcome() is cut
    assert time.monotonic() - started < 0.5  # 0.1 on a machine that does nothing else


def test_a_cut_while_the_name_is_looked_up(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def look_up(*_: object) -> None:
        asked.set()
        answer.wait(10)

    monkeypatch.setattr(LOOK_UP, look_up)
    one = exchange(client, target("http://slow.example/v1"))
    starting = InBackground(one.start)
    assert asked.wait(5)
    cut_promptly(starting, one)
    answer.set()
    assert not one.sent


def test_a_cut_while_connecting(client: UpstreamClient, full_port: int) -> None:
    one = exchange(client, target(f"http://127.0.0.1:{full_port}/v1"))
    starting = InBackground(one.start)
    time.sleep(0.1)
    cut_promptly(starting, one)
    assert not one.sent


def test_a_cut_during_the_tls_handshake(client: UpstreamClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = exchange(client, target(f"https://127.0.0.1:{silent.getsockname()[1]}/v1"))
        starting = InBackground(one.start)
        peer, _ = silent.accept()
        assert peer.recv(1)  # the handshake has begun
        cut_promptly(starting, one)
        peer.close()
    assert not one.sent


def test_a_cut_while_waiting_for_the_head(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    whole(exchange(client, target(upstream)))  # also on a connection that is used again
    upstream.will(hang())
    one = exchange(client, target(upstream))
    starting = InBackground(one.start)
    upstream.wait_for(2)
    cut_promptly(starting, one)
    assert one.sent
    assert upstream.wait(lambda seen: seen[1]["client_left"])
    upstream.will(reply())
    whole(exchange(client, target(upstream)))
    assert upstream.connections() == 2


def test_a_cut_in_the_middle_of_a_stream(client: UpstreamClient, upstream: HostileUpstream) -> None:
    upstream.will(stream(9, gate_after=(4, "never")))
    one = exchange(client, target(upstream), stream=True)
    one.start()
    reading = InBackground(lambda: one.read_all(10**6))
    time.sleep(0.05)
    cut_promptly(reading, one)
    one.cut(UpstreamError("too late"))
    with pytest.raises(CutByRevocation):
        one.read()
    one.close()
    assert upstream.wait(lambda seen: seen[0]["client_left"])


def test_a_cut_while_a_large_request_is_sent(client: UpstreamClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = target(f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        one = exchange(client, at, text="x" * 30_000_000)
        starting = InBackground(one.start)
        peer, _ = silent.accept()
        assert peer.recv(1)
        cut_promptly(starting, one)
        peer.close()
    assert one.sent


def test_a_cut_after_the_end_leaves_the_connection_to_others(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    one = exchange(client, target(upstream))
    whole(one)
    one.cut(GONE)
    whole(exchange(client, target(upstream)))
    assert upstream.connections() == 1


def test_a_closed_exchange_ends_the_reader(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    upstream.will(stream(9, gate_after=(4, "never")))
    one = exchange(client, target(upstream), stream=True)
    one.start()
    reading = InBackground(lambda: one.read_all(10**6))
    time.sleep(0.05)
    one.close()
    error = reading.outcome()
    assert isinstance(error, UpstreamError)
    assert error.may_have_billed


def test_hundreds_are_cut_at_once(client: UpstreamClient, upstream: HostileUpstream) -> None:
    upstream.will(stream(9, gate_after=(4, "never")))
    many = [exchange(client, target(upstream), stream=True) for _ in range(200)]
    running = [InBackground(lambda one=one: whole(one)) for one in many]  # type: ignore[misc]
    upstream.wait_for(200)
    for one in many:
        one.cut(GONE)
    assert all(one.outcome() is GONE for one in running)
    upstream.wait(lambda seen: all(one["client_left"] for one in seen))
