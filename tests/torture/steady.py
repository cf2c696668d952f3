"""A long quiet load: streams and calls for minutes, while idle and trickling clients look on.

Memory, threads and files of the process must not grow, its log of writes stays bounded, and a
healthy call beside all of it stays quick.
"""

import json
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from hostile import HostileUpstream, reply, stream
from people import HELLO

from torture.real_bridge import RealBridge

STREAMS, CALLS_A_SECOND = 100, 30
IDLE, TRICKLING = 100, 50
WAL_BYTES = 64 * 2**20
GROWTH_BYTES = 30 * 2**20


@dataclass(frozen=True)
class Measure:
    """The process at one moment."""

    resident_bytes: int
    threads: int
    files: int
    wal_bytes: int


def steady(
    seconds: int,
    directory: Path,
    upstream: HostileUpstream,
    *,
    streams: int = STREAMS,
    calls_a_second: int = CALLS_A_SECOND,
) -> Mapping[str, object]:
    """The load for that long; what was measured. Raises AssertionError."""
    bridge = RealBridge(directory, upstream, MODELBRIDGE_THREADS="256")
    upstream.for_model("gpt-test", stream(n_chunks=8, spacing_seconds=0.5))
    upstream.for_model("gpt-exact", reply(completion_tokens=20))
    bridge.start()
    measures: list[Measure] = []
    load = Load(bridge, streams, calls_a_second)
    try:
        with load.running(), _onlookers(bridge.url):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                time.sleep(min(5.0, seconds / 12))
                measures.append(_measure(bridge))
    finally:
        bridge.stop()
    assert load.answers["failed"] == 0, load.failures[:3]
    assert bridge.problems() == []
    rate = round(len(load.healthy_seconds) / seconds, 1)
    assert rate > 0.9 * calls_a_second, f"only {rate} calls a second were made"
    return {**_judged(measures, load), "plain calls a second": rate}


def _judged(measures: list[Measure], load: "Load") -> Mapping[str, object]:
    """Compare the middle third with the last: what starts up is no leak."""
    third = len(measures) // 3
    early, late = measures[third : 2 * third], measures[2 * third :]

    def middle(of: list[Measure], name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in of))

    grown = middle(late, "resident_bytes") - middle(early, "resident_bytes")
    assert grown < GROWTH_BYTES, grown
    for name in ("threads", "files"):
        assert max(getattr(one, name) for one in late) <= 1.1 * max(
            getattr(one, name) for one in early
        ), name
    wal_bytes = max(one.wal_bytes for one in measures)
    assert wal_bytes < WAL_BYTES
    healthy = sorted(load.healthy_seconds)
    assert statistics.median(healthy) < 1
    return {
        "streams and calls that ended well": dict(load.answers),
        "memory, MiB: middle, end": [
            round(middle(part, "resident_bytes") / 2**20, 1) for part in (early, late)
        ],
        "threads, at most": max(one.threads for one in measures),
        "files, at most": max(one.files for one in measures),
        "log of writes, MiB, at most": round(wal_bytes / 2**20, 1),
        "a healthy call, s: median, 99th of 100": [
            round(statistics.median(healthy), 3),
            round(healthy[int(0.99 * (len(healthy) - 1))], 3),
        ],
    }


class Load:
    """Callers of a bridge. `healthy_seconds`: how long each plain call took."""

    def __init__(self, bridge: RealBridge, streams: int, calls_a_second: int) -> None:
        self._bridge, self._streams, self._rate = bridge, streams, calls_a_second
        self._over = threading.Event()
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.healthy_seconds: list[float] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """The load is on within."""
        callers = max(2, self._rate // 2)
        threads = [threading.Thread(target=self._stream_on) for _ in range(self._streams)]
        threads += [
            threading.Thread(target=self._call_on, args=(callers / self._rate,))
            for _ in range(callers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _stream_on(self) -> None:
        while not self._over.is_set():
            self._ask("gpt-test", stream=True)

    def _call_on(self, every_seconds: float) -> None:
        """A call at each tick, however long the last one took; one that is late goes at once."""
        tick = time.monotonic()
        while not self._over.wait(max(0.0, tick - time.monotonic())):
            begun = time.monotonic()
            tick = max(tick + every_seconds, begun - every_seconds)
            self._ask("gpt-exact")
            self.healthy_seconds.append(time.monotonic() - begun)

    def _ask(self, model: str, **more: Any) -> None:
        place = urlsplit(self._bridge.url)
        connection = HTTPConnection(str(place.hostname), place.port, timeout=60)
        headers = {"Content-Type": "application/json"} | self._bridge.key.headers
        body = json.dumps({"model": model, "messages": HELLO, "max_tokens": 50} | more)
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            content = answer.read()
            good = answer.status == 200 and (b"[DONE]" in content or not more)
            self._note(model if good else "failed", f"{answer.status} {content[-300:]!r}")
        except OSError as error:
            self._note("failed", repr(error))
        finally:
            connection.close()

    def _note(self, what: str, words: str) -> None:
        self.answers[what] += 1
        if what == "failed":
            self.failures.append(words)


@contextmanager
def _onlookers(url: str) -> Iterator[None]:
    """Clients that say nothing, and clients that send a byte of their head every second."""
    place = urlsplit(url)
    over = threading.Event()
    with ExitStack() as sockets:
        for _ in range(IDLE):
            sockets.enter_context(_connected(place.hostname, place.port))
        trickling = [
            sockets.enter_context(_connected(place.hostname, place.port)) for _ in range(TRICKLING)
        ]

        def trickle() -> None:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: "
            for sock in trickling:
                sock.sendall(head)
            while not over.wait(1.0):
                for sock in trickling:
                    with suppress(OSError):  # the bridge has had enough of it
                        sock.sendall(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _connected(host: str | None, port: int | None) -> socket.socket:
    return socket.create_connection((str(host), int(port or 80)), timeout=10)


def _measure(bridge: RealBridge) -> Measure:
    found = {
        line.split(" ")[0]: float(line.split(" ")[1])
        for line in requests.get(f"{bridge.url}/metrics", timeout=30).text.splitlines()
        if line.startswith("process_")
    }
    process = Path(f"/proc/{bridge.pid}/task")
    wal = bridge.directory / "modelbridge.db-wal"
    return Measure(
        resident_bytes=int(found["process_resident_memory_bytes"]),
        threads=len(list(process.iterdir())),
        files=int(found["process_open_fds"]),
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
    )
