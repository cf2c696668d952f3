"""Backups of a database that is written to all the while: each restores, and its books balance."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostile import HostileUpstream, reply
from people import TestBridge, flask

from modelbridge import config
from modelbridge.factory import Bridge
from modelbridge.ledger.audit import check_books
from torture.real_bridge import RealBridge

CALLERS = 6


def backups(count: int, directory: Path, upstream: HostileUpstream) -> dict[str, object]:
    """Take that many with `flask backup` under load; what they held. Raises AssertionError."""
    data, copies = directory / "data", directory / "copies"
    data.mkdir()
    copies.mkdir()
    bridge = RealBridge(data, upstream)
    upstream.reset()
    upstream.will(reply())
    make_large(bridge)
    bridge.start()
    sizes = []
    try:
        with _load(bridge):
            for number in range(count):
                path = copies / f"{number}.db"
                done = flask(data, "backup", str(path))
                assert done.returncode == 0, done.stderr
                sizes.append(path.stat().st_size)
    finally:
        bridge.stop()
    calls = [_restored_calls(copies / f"{number}.db", directory) for number in range(count)]
    assert calls == sorted(calls), "a later backup has fewer calls"
    return {
        "restored, books in order": len(calls),
        "megabytes each": round(sum(sizes) / len(sizes) / 2**20),
        "calls in the first and the last": f"{calls[0]} and {calls[-1]}",
    }


def make_large(bridge: RealBridge, rows: int = 60_000) -> None:
    """Old entries of the audit log, so that a copy takes more than a moment."""
    with bridge.books() as books:
        books.database.submit(
            lambda cursor: cursor.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
                "INSERT INTO audit_events (at, actor, action, subject_kind, subject_id, subject, "
                "address) SELECT i, 'alice', 'looked', 'key', 'key_1', hex(randomblob(100)), '' "
                "FROM n",
                (rows,),
            )
        )


@contextmanager
def _load(bridge: RealBridge) -> Iterator[None]:
    over = threading.Event()
    alice = TestBridge(None, bridge.url)  # type: ignore[arg-type]
    bridge.key.bridge = alice

    def call() -> None:
        while not over.is_set():
            assert bridge.key.chat().status_code == 200

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        over.set()
        for caller in callers:
            caller.join()


def _restored_calls(copy: Path, directory: Path) -> int:
    """How many calls the copy holds, whose books are in order."""
    home = directory / f"restored-{copy.stem}"
    home.mkdir()
    copy.rename(home / "modelbridge.db")
    bridge = Bridge(config.load({"MODELBRIDGE_DATA_DIR": str(home)}))
    try:
        with bridge.database.reading() as session:
            report = check_books(session)
            assert report.problems == []
            return report.counts["holds"]
    finally:
        bridge.close()
