"""Faults of the database: a connection whose Nth statement fails, files that are full or locked."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from people import wait_for
from sqlalchemy import Engine, event

from modelbridge.store.database import Database
from modelbridge.store.writer import Writer


class FaultyConnection:
    """The writing connection; `failing` counts down, and the statement that meets 0 fails.

    With `still`, so does every statement after it. `statements` counts them all.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.real = connection
        self.statements = 0
        self.failing: int | None = None
        self.still = False

    def cursor(self) -> "FaultyCursor":
        return FaultyCursor(self)

    def execute(self, statement: str) -> Any:
        return self.cursor().execute(statement)

    @property
    def in_transaction(self) -> bool:
        return self.real.in_transaction

    @property
    def total_changes(self) -> int:
        return self.real.total_changes

    def rollback(self) -> None:
        self.count("ROLLBACK")
        self.real.rollback()

    def close(self) -> None:
        self.real.close()

    def fail_at(self, nth: int | None, *, still: bool = False) -> None:
        """The nth statement from now on fails; None: no more do."""
        self.failing, self.still = nth, still

    def count(self, statement: str) -> None:
        """One statement more. Raises OperationalError if it is the one."""
        self.statements += 1
        if self.failing is None:
            return
        self.failing -= 1
        if self.failing == 0 or (self.still and self.failing < 0):
            error = sqlite3.OperationalError(f"disk I/O error (planted) at {statement[:40]!r}")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error


class FaultyCursor:
    """A cursor of it."""

    def __init__(self, connection: FaultyConnection) -> None:
        self._connection = connection
        self._real = connection.real.cursor()

    def execute(self, statement: str, values: Any = ()) -> Any:
        self._connection.count(statement)
        self._real.execute(statement, values)
        return self

    @property
    def rowcount(self) -> int:
        return self._real.rowcount

    def fetchone(self) -> Any:
        return self._real.fetchone()

    def fetchall(self) -> list[Any]:
        return self._real.fetchall()

    def close(self) -> None:
        self._real.close()


def make_faulty(database: Database) -> FaultyConnection:
    """Units of the writer run on a faulty connection from now on; sessions do not."""
    faulty = FaultyConnection(database._connection)
    database._connection = faulty  # type: ignore[assignment]
    if database._writer is not None:
        database._writer._connection = faulty  # type: ignore[assignment]
    return faulty


BACKGROUND = {"sweeper", "flights"}  # their looks at the database come when they come


def make_reading_faulty(database: Database, faulty: FaultyConnection) -> None:
    """What calls and pages read counts among the statements of `faulty`, too, and fails with it."""
    take, give_back = database._take_reader, database._give_back
    heard = set[int]()

    def count(statement: str) -> None:
        if threading.current_thread().name not in BACKGROUND:
            faulty.count(statement)

    def take_faulty() -> tuple[Any, Engine]:
        connection, engine = take()
        if id(engine) not in heard:
            heard.add(id(engine))
            event.listen(engine, "before_cursor_execute", lambda *all: count(all[2]))
        part = FaultyConnection(connection)
        part.count = count  # type: ignore[method-assign]
        return part, engine

    def give_back_real(reader: tuple[Any, Engine]) -> None:
        give_back((reader[0].real, reader[1]))

    database._take_reader = take_faulty  # type: ignore[method-assign]
    database._give_back = give_back_real  # type: ignore[method-assign]


@contextmanager
def writer_held_up(database: Database) -> Iterator[None]:
    """What is submitted meanwhile waits in the queue: the writer has an empty unit to commit."""
    with database._write_lock:
        database.enqueue(lambda cursor: None)
        wait_for(lambda: database.queue_length() == 0 and _has_its_group(database))
        yield


def _has_its_group(database: Database) -> bool:
    """The writer looks into its queue no more, and waits for the lock."""
    assert database._writer is not None
    frame = sys._current_frames()[cast(int, database._writer._thread.ident)]
    return frame.f_code is Writer._run.__code__


@contextmanager
def full_disk(database: Database) -> Iterator[None]:
    """The file may not grow by a page."""
    (pages,) = database._connection.execute("PRAGMA page_count").fetchone()
    database._connection.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        database._connection.execute(f"PRAGMA max_page_count = {2**31 - 2}")


_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked_by_another_process(path: Path) -> Iterator[None]:
    """Somebody else has the file for themselves."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LOCK, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    try:
        yield
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()


def be_impatient(database: Database, milliseconds: int = 100) -> None:
    """The writing connection waits no longer than that for a lock."""
    database._connection.execute(f"PRAGMA busy_timeout = {milliseconds}")
