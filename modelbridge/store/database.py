"""The SQLite file: one connection that writes, a few that read, and the writer thread.

Every write of the process goes through one connection, one transaction at a time: calls through
the writer thread (group commit, acknowledged after COMMIT), pages and commands through
`transaction()`. See docs/decisions/0001-one-writer.md for why.
"""

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from modelbridge.errors import Overloaded
from modelbridge.store.lock import LockFile
from modelbridge.store.migrate import SchemaError
from modelbridge.store.statements import Cursor
from modelbridge.store.writer import Job, Writer

T = TypeVar("T")
MOST_READERS = 16
COMMAND_BUSY_SECONDS = 30.0  # a command may wait for a busy bridge
SERVER_BUSY_SECONDS = 5.0  # a call is told soon that the ledger cannot be written
_TROUBLES = {  # the last byte of a code, see https://sqlite.org/rescode.html
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
_log = logging.getLogger("modelbridge.store")


class Database:
    """The store of one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = LockFile(path.with_name("database.lock"))
        self._write_lock = threading.Lock()
        self._write_thread: int | None = None
        self._connection = _connect(path, read_only=False)
        self._engine = _engine(self._connection, begin="BEGIN IMMEDIATE")
        self._readers: deque[tuple[sqlite3.Connection, Engine]] = deque()
        self._writer: Writer | None = None

    @property
    def engine(self) -> Engine:
        """The engine of the writing connection: for migrations only."""
        return self._engine

    def start_writer(self) -> None:
        """Calls may be submitted from now on, in groups, on a thread of their own."""
        self._connection.execute(f"PRAGMA busy_timeout = {SERVER_BUSY_SECONDS * 1000:.0f}")
        self._writer = Writer(self._connection, self._write_lock, self.path, self.lock)
        self._writer.start()

    def submit(self, unit: Callable[[Cursor], T]) -> T:
        """Run `unit`, all of it or nothing; returns its result once it is committed.

        What `unit` raises is raised here, and its changes are undone. It may be run twice, with
        everything undone in between, when another unit of its group raised. Raises Overloaded when
        the queue is full or the database cannot commit.
        """
        job = Job(unit)
        if self._writer is not None:
            self._writer.put(job)
            return job.wait()
        with self._write_lock:
            Writer.commit(self._connection, [job])
        return job.wait()

    def try_write(self, seconds: float) -> None:
        """A row was written, with the value that it had, and is on the disk.

        Raises TimeoutError if that takes longer than `seconds`, as when another process has
        locked the file, and Overloaded if it fails, as when the disk is full.
        """
        job = Job(_touch)
        if self._writer is None:
            self.submit(_touch)
        else:
            self._writer.put(job)
            job.wait(seconds)

    def enqueue(self, unit: Callable[[Cursor], object]) -> None:
        """Run `unit` with the next commit; nobody waits for it. Dropped when the queue is full."""
        if self._writer is not None:
            self._writer.put_if_room(Job(unit))
        else:
            self.submit(unit)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Read and write; commits on normal exit, rolls back on any exception.

        Raises Overloaded if the database cannot be written: a full disk, another process's lock.
        """
        if self._write_thread == threading.get_ident():
            raise RuntimeError("a transaction inside a transaction would wait for itself")
        with self._write_lock:
            self._write_thread = threading.get_ident()
            try:
                with (
                    _told("written"),
                    Session(self._engine, expire_on_commit=False) as session,
                    session.begin(),
                ):
                    yield session
            finally:
                self._write_thread = None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A short look at one consistent state; writing fails.

        Raises Overloaded if the database cannot be read just now.
        """
        with _told("read"):
            reader = self._take_reader()
            try:
                with Session(reader[1], expire_on_commit=False) as session:
                    yield session
            finally:
                self._give_back(reader)

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """A cursor for one reading statement on the path of a call.

        Raises Overloaded if the database cannot be read just now.
        """
        try:
            reader = self._take_reader()
            cursor = reader[0].cursor()
            try:
                yield cursor
            finally:
                cursor.close()
                self._give_back(reader)
        except sqlite3.OperationalError as error:
            _refuse_trouble(error, "read")
            raise

    def queue_length(self) -> int:
        """How many units wait for the writer."""
        return 0 if self._writer is None else self._writer.queue_length()

    def close(self) -> None:
        """Everything that was queued is committed; then all connections are closed."""
        if self._writer is not None:
            self._writer.stop()
        while self._readers:
            self._readers.pop()[0].close()
        self._connection.close()

    def _take_reader(self) -> tuple[sqlite3.Connection, Engine]:
        try:
            return self._readers.pop()
        except IndexError:
            connection = _connect(self.path, read_only=True)
            return connection, _engine(connection, begin="BEGIN")

    def _give_back(self, reader: tuple[sqlite3.Connection, Engine]) -> None:
        if len(self._readers) < MOST_READERS:
            self._readers.append(reader)
        else:
            reader[0].close()


@contextmanager
def looking_at(path: Path) -> Iterator[Session]:
    """A long look at one consistent state by a process that writes nothing, checkpoints included.

    Meanwhile the log of writes cannot be folded in, and grows.
    """
    with (
        closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as connection,
        Session(_engine(connection, begin="BEGIN")) as session,
    ):
        yield session


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Whoever opens or reads the file within is told, as SchemaError, what to do about it.

    That is where it is damaged or locked, its disk is full, or this user may not open it.
    """
    try:
        yield
    except (sqlite3.DatabaseError, DatabaseError) as error:
        cause = error.orig if isinstance(error, DatabaseError) else error
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            advice = "It is damaged: stop the bridge and restore a backup with `flask restore`."
        elif code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            advice = "Run the bridge and its commands as the user who owns it and its folder."
        elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            advice = f"Another program holds it: find it with `fuser -v {path}`, and end it."
        elif code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            advice = "Make room on its disk; if there is room, look whether the disk is sound."
        else:
            raise
        raise SchemaError(f"The database {path} cannot be opened: {cause}. {advice}") from None


@contextmanager
def _told(verb: str) -> Iterator[None]:
    """What the disk or another process is to blame for is Overloaded, in SQLite's words."""
    try:
        yield
    except (sqlite3.OperationalError, OperationalError) as error:
        _refuse_trouble(error, verb)
        raise


def _refuse_trouble(error: sqlite3.OperationalError | OperationalError, verb: str) -> None:
    """Raises Overloaded, unless it is a mistake in a statement."""
    cause = error.orig if isinstance(error, OperationalError) else error
    if getattr(cause, "sqlite_errorcode", 0) & 0xFF not in _TROUBLES:
        return
    _log.error("the database cannot be %s: %s", verb, cause)
    raise Overloaded(
        f"the database cannot be {verb} just now ({cause}); try again soon", retry_after=2
    ) from error


def _touch(cursor: Cursor) -> None:
    cursor.execute("UPDATE alembic_version SET version_num = version_num")


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # its -wal and -shm get the same
    connection = sqlite3.connect(
        path,
        timeout=COMMAND_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA temp_store = MEMORY")  # a savepoint's journal is no file
    return connection


def _engine(connection: sqlite3.Connection, *, begin: str) -> Engine:
    """An engine over this one connection; its transactions start with `begin`."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: connection,
        poolclass=StaticPool,
        hide_parameters=True,  # a logged error must not show hashes or addresses
    )

    @event.listens_for(engine, "begin")
    def _begin(sqlalchemy_connection: Connection) -> None:
        sqlalchemy_connection.exec_driver_sql(begin)

    return engine
