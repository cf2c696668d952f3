"""Acceptance checks of operations, each named after its number in docs/acceptance.md.

Against a bridge in a process of its own. Security and money have files of their own.
"""

import os
import resource
import signal
import socket
import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from hostile import HostileUpstream, reply, stream
from people import flask, wait_for
from torture.fuzz_http import fuzz
from torture.real_bridge import RealBridge
from torture.steady import steady


@contextmanager
def bridge_of(folder: Path, upstream: HostileUpstream, **environ: str) -> Iterator[RealBridge]:
    """A bridge that serves; it ends in good order, with books that balance."""
    bridge = RealBridge(folder, upstream, MODELBRIDGE_HOLD_GRACE_SECONDS="0", **environ)
    bridge.start()
    try:
        yield bridge
    finally:
        bridge.stop()
    assert bridge.problems() == []


def ready(bridge: RealBridge) -> tuple[int, list[str]]:
    answer = requests.get(f"{bridge.url}/readyz", timeout=10)
    return answer.status_code, [one["code"] for one in answer.json().get("reasons", [])]


def test_check_46_idle_and_trickling_clients_slow_nobody_down(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with bridge_of(tmp_path, upstream) as bridge, ExitStack() as sockets:
        place = urlsplit(bridge.url)
        address = (str(place.hostname), int(place.port or 80))
        looking_on = [
            sockets.enter_context(socket.create_connection(address, 10)) for _ in range(150)
        ]
        over = threading.Event()

        def trickle() -> None:
            for sock in looking_on[:50]:
                sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            while not over.wait(0.2):
                for sock in looking_on[:50]:
                    sock.sendall(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        took = []
        try:
            for _ in range(9):
                begun = time.monotonic()
                assert bridge.call().status_code == 200
                took.append(time.monotonic() - begun)
        finally:
            over.set()
            thread.join()
        assert statistics.median(took) < 1


def test_check_47_when_all_workers_are_busy_a_call_is_told_at_once_and_pages_answer(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with bridge_of(tmp_path, upstream, MODELBRIDGE_THREADS="12") as bridge:
        slots = 9
        upstream.will(*[reply(gate="busy") for _ in range(slots)])
        with ThreadPoolExecutor(slots) as pool:
            running = [pool.submit(bridge.call) for _ in range(slots)]
            upstream.wait_for(slots)
            refused = bridge.call()
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "overloaded"
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.elapsed.total_seconds() < 1
            for path in ("/healthz", "/readyz", "/login"):
                assert requests.get(bridge.url + path, timeout=10).status_code == 200
            upstream.open("busy")
            assert [one.result().status_code for one in running] == [200] * slots


def test_check_48_sigterm_lets_streams_end_and_readiness_says_so_first(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with bridge_of(tmp_path, upstream, MODELBRIDGE_DRAIN_NOTICE_SECONDS="8") as bridge:
        streams = 20
        upstream.for_model("gpt-test", stream(n_chunks=20, spacing_seconds=0.3))
        with ThreadPoolExecutor(streams) as pool:
            running = [pool.submit(bridge.call, stream=True) for _ in range(streams)]
            upstream.wait_for(streams)
            os.kill(bridge.pid, signal.SIGTERM)
            assert wait_for(lambda: ready(bridge) == (503, ["draining"]), 3)
            assert requests.get(f"{bridge.url}/healthz", timeout=10).status_code == 200
            late = pool.submit(bridge.call, stream=True)  # it still takes calls
            answers = [one.result() for one in [*running, late]]
        assert bridge.ended() == 0
        for answer in answers:
            assert answer.status_code == 200
            assert answer.text.rstrip().endswith("data: [DONE]")
            assert '"cost"' in answer.text or '"usage"' not in answer.text
        with closing(sqlite3.connect(bridge.directory / "modelbridge.db")) as connection:
            rows = connection.execute("SELECT finish, usage_source FROM calls").fetchall()
        assert rows == [("answered", "reported")] * (streams + 1)


def test_check_48_what_does_not_end_in_time_is_cut_told_and_settled(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with bridge_of(tmp_path, upstream, MODELBRIDGE_DRAIN_SECONDS="1") as bridge:
        upstream.will(*[reply(gate="never") for _ in range(3)])
        with ThreadPoolExecutor(6) as pool:
            plain = [pool.submit(bridge.call) for _ in range(3)]
            upstream.wait_for(3)
            upstream.for_model("gpt-test", stream(n_chunks=300, spacing_seconds=0.1))
            streams = [pool.submit(bridge.call, stream=True) for _ in range(3)]
            upstream.wait_for(6)
            begun = time.monotonic()
            os.kill(bridge.pid, signal.SIGTERM)
            assert bridge.ended() == 0
            assert time.monotonic() - begun < 10
        for answer in (one.result() for one in plain):
            assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")
            assert "shutting down" in answer.json()["error"]["message"]
        for answer in (one.result() for one in streams):
            assert answer.status_code == 200
            assert "shutting down" in answer.text
            assert "[DONE]" not in answer.text
        with closing(sqlite3.connect(tmp_path / "modelbridge.db")) as connection:
            found = connection.execute("SELECT state, count(*) FROM holds GROUP BY 1").fetchall()
            noted = connection.execute("SELECT status, count(*) FROM calls GROUP BY 1").fetchall()
        assert dict(found) == {"posted": 3, "unknown": 3}
        assert dict(noted) == {200: 3, 502: 3}
        upstream.open("never")


def test_check_49_a_full_disk_is_a_503_and_over_without_a_restart(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with bridge_of(tmp_path, upstream) as bridge:
        assert bridge.call().status_code == 200
        heard = len(upstream.seen())
        before = resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, (0, before[1]))
        refused = bridge.call()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert "retry-after" in refused.headers
        assert wait_for(lambda: ready(bridge) == (503, ["ledger"]))
        assert len(upstream.seen()) == heard
        resource.prlimit(bridge.pid, resource.RLIMIT_FSIZE, before)
        assert wait_for(lambda: ready(bridge) == (200, []))
        assert bridge.call().status_code == 200


def test_check_49_too_little_free_space_is_told_before_writing_fails(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with bridge_of(tmp_path, upstream, MODELBRIDGE_MIN_FREE_BYTES=str(2**50)) as bridge:
        assert ready(bridge) == (503, ["disk_low"])
        assert bridge.call().status_code == 200


def test_check_49_a_locked_database_is_a_503_and_over_without_a_restart(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with bridge_of(tmp_path, upstream) as bridge:
        path = bridge.directory / "modelbridge.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert wait_for(lambda: ready(bridge) == (503, ["ledger"]))
            refused = bridge.call()
            assert refused.status_code == 503
            assert "retry-after" in refused.headers
            assert upstream.seen() == []
            other.execute("ROLLBACK")
        assert wait_for(lambda: ready(bridge) == (200, []))
        assert bridge.call().status_code == 200


def test_books_that_do_not_add_up_stop_calls_from_being_sent_here(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with bridge_of(tmp_path, upstream) as bridge:
        assert bridge.call().status_code == 200

        def change(by: int) -> int:
            with closing(sqlite3.connect(tmp_path / "modelbridge.db")) as connection, connection:
                connection.execute("UPDATE accounts SET balance_nanos = balance_nanos + ?", (by,))
            return flask(tmp_path, "books", "check").returncode

        assert change(1) == 1
        assert wait_for(lambda: ready(bridge) == (503, ["books"]))
        metrics = requests.get(f"{bridge.url}/metrics", timeout=10).text
        assert "modelbridge_books_ok 0.0" in metrics
        assert change(-1) == 0
        assert wait_for(lambda: ready(bridge) == (200, []))


@pytest.mark.timeout(300)
def test_check_60_requests_that_nobody_should_send_get_no_5xx_and_cost_nothing(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    answers = fuzz(400, tmp_path, upstream)
    assert answers["4xx"] > 100


@pytest.mark.timeout(300)
def test_a_steady_load_makes_nothing_grow(tmp_path: Path, upstream: HostileUpstream) -> None:
    found = steady(20, tmp_path, upstream, streams=20, calls_a_second=10)
    assert found["streams and calls that ended well"]
