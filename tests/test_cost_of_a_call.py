"""What one call costs, in numbers that are the same on every machine.

Not a timed test: statements, commits, connections and Python calls are counted. If a figure moves,
a change made each call dearer or cheaper; say so in bench/RESULTS.md and set the new figure here.
"""

import itertools
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest
from hostile import HostileUpstream, reply, stream
from people import Key, TestBridge, serving

CALLS = 20
PIECES = 50


@pytest.fixture
def hostile() -> Iterator[HostileUpstream]:
    with HostileUpstream.start() as upstream:
        yield upstream


@pytest.fixture
def counted(tmp_path: Path, hostile: HostileUpstream) -> Iterator[tuple[Key, "Counts"]]:
    """Alice's key with a limit, on a warm bridge, and what is counted while she calls."""
    counts = Counts()
    with counts.python_calls(), serving(tmp_path) as bridge:
        bridge.upstream("hostile", hostile.base_url)
        bridge.model()
        key = bridge.person("alice").key(limit="5")
        hostile.will(*[reply("Hello")] * 2, *[stream(n_chunks=2)] * 2)
        for _ in range(2):
            assert key.chat().status_code == 200
        for _ in range(2):
            assert key.stream().text.endswith("[DONE]\n\n")
        bridge.settle_down()
        counts.watch(bridge)
        yield key, counts
        counts.leave(bridge)
        bridge.check_books()


class Counts:
    """Statements and commits of the writer, statements of readers, Python calls of all threads."""

    def __init__(self) -> None:
        self.written: Counter[str] = Counter()
        self.read = 0
        self._calls = itertools.count()

    def watch(self, bridge: TestBridge) -> None:
        bridge.database._connection.set_trace_callback(self._wrote)
        for connection, _ in bridge.database._readers:
            connection.set_trace_callback(self._saw)

    def leave(self, bridge: TestBridge) -> None:
        bridge.database._connection.set_trace_callback(None)
        for connection, _ in bridge.database._readers:
            connection.set_trace_callback(None)

    @contextmanager
    def python_calls(self) -> Iterator[None]:
        """Threads that start in here are counted."""

        def count(frame: FrameType, event: str, argument: object) -> None:
            if event == "call":
                next(self._calls)

        threading.setprofile(count)
        try:
            yield
        finally:
            threading.setprofile(None)

    def calls_so_far(self) -> int:
        return int(next(self._calls))

    def _wrote(self, statement: str) -> None:
        self.written[statement.split(" ", 1)[0].strip().upper()] += 1

    def _saw(self, statement: str) -> None:
        self.read += statement.split(" ", 1)[0].upper() not in ("BEGIN", "COMMIT", "ROLLBACK")


def python_calls_of(counts: Counts, work: Callable[[], None]) -> int:
    before = counts.calls_so_far()
    work()
    return counts.calls_so_far() - before - 1


def test_a_plain_call_asks_for_its_key_and_commits_twice(
    counted: tuple[Key, Counts], hostile: HostileUpstream
) -> None:
    key, counts = counted
    hostile.will(*[reply("Hello")] * CALLS)
    opened = hostile.connections()
    for _ in range(CALLS):
        assert key.chat().status_code == 200
    assert counts.read // CALLS == 1  # the sweep may look once meanwhile
    assert counts.written["COMMIT"] / CALLS <= 2
    assert hostile.connections() - opened == 0
    changes = sum(counts.written[verb] for verb in ("SELECT", "INSERT", "UPDATE", "DELETE"))
    assert changes / CALLS <= 15, counts.written


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="counted with Python 3.11")
def test_a_plain_call_makes_no_more_python_calls_than_it_did(
    counted: tuple[Key, Counts], hostile: HostileUpstream
) -> None:
    key, counts = counted
    hostile.will(*[reply("Hello")] * CALLS)

    def work() -> None:
        for _ in range(CALLS):
            key.chat()

    assert python_calls_of(counts, work) / CALLS <= 1000


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="counted with Python 3.11")
def test_a_piece_of_a_stream_makes_no_more_python_calls_than_it_did(
    counted: tuple[Key, Counts], hostile: HostileUpstream
) -> None:
    key, counts = counted
    hostile.will(stream(n_chunks=2), stream(n_chunks=2 + PIECES, spacing_seconds=0.01))
    short = python_calls_of(counts, lambda: key.stream().close())
    long = python_calls_of(counts, lambda: key.stream().close())
    assert (long - short) / PIECES <= 100
