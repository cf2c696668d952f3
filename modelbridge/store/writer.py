"""The writer: one thread that commits whatever is waiting, in one transaction, for all of them.

Many threads that write to SQLite at once wait for each other by sleeping, some for seconds; one
writer with group commit has no such tail and makes `synchronous=FULL` affordable.
"""

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from modelbridge import clock
from modelbridge.errors import Overloaded
from modelbridge.store.lock import LockFile
from modelbridge.store.statements import Cursor

T = TypeVar("T")
MAX_QUEUED = 4_096
MAX_GROUP = 256
COMPANY_SECONDS = 0.00025
CHECKPOINT_BYTES = 4 * 2**20
TRUNCATE_BYTES = 64 * 2**20
READERS_SECONDS = 0.05  # how long a checkpoint waits for them: every commit waits with it
_log = logging.getLogger("modelbridge.store")


class Job(Generic[T]):
    """A unit of work and the place where its submitter waits for the outcome."""

    __slots__ = ("_done", "_error", "_result", "_unit")

    def __init__(self, unit: Callable[[Cursor], T]) -> None:
        self._unit = unit
        self._result: T | None = None
        self._error: BaseException | None = None
        self._done = threading.Lock()  # the cheapest thing to wait for: released when done
        self._done.acquire()

    def run(self, cursor: sqlite3.Cursor) -> bool:
        """Do the work; False: the unit raised, and its changes have to be undone.

        May be asked again after everything was undone.
        """
        self._error = None
        try:
            self._result = self._unit(cursor)
        except sqlite3.IntegrityError as error:
            self._error = _unavailable(error)
        except sqlite3.Error:
            raise  # the disk or the file: nothing of the group can be kept
        except Exception as error:
            self._error = error
        else:
            return True
        return False

    def fail(self, error: BaseException) -> None:
        """The whole transaction failed: nothing of this unit happened."""
        self._error = error

    def finish(self) -> None:
        """Wake the submitter."""
        self._done.release()

    def wait(self, seconds: float = -1) -> T:
        """The unit's result, after its commit; raises what it raised.

        Raises TimeoutError if that takes longer than `seconds`; the unit may still be committed.
        """
        if not self._done.acquire(timeout=seconds):
            raise TimeoutError("the ledger has not answered in time")
        if self._error is not None:
            raise self._error
        return cast(T, self._result)


class Writer:
    """Owns the thread and the queue; shares the connection with `Database.transaction`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        write_lock: threading.Lock,
        path: Path,
        lock_file: LockFile,
    ) -> None:
        self._connection = connection
        self._write_lock = write_lock
        self._wal = path.with_name(path.name + "-wal")
        self._lock_file = lock_file
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._next_checkpoint = 0.0
        self._stopped = False
        self._door = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        """Begin to take jobs."""
        self._thread.start()

    def put(self, job: Job[Any]) -> None:
        """Queue a job. Raises Overloaded when too many wait."""
        if not self.put_if_room(job):
            raise Overloaded("The ledger's queue is full. Try again in a moment.", retry_after=1)

    def put_if_room(self, job: Job[Any]) -> bool:
        """Queue a job unless too many wait; says whether it was queued."""
        with self._door:
            if self._stopped or self._queue.qsize() >= MAX_QUEUED:
                return False
            self._queue.put(job)
            return True

    def queue_length(self) -> int:
        """How many jobs wait."""
        return self._queue.qsize()

    def stop(self) -> None:
        """Commit what is queued, then end the thread."""
        with self._door:  # nothing is queued behind the end
            self._stopped = True
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        group: list[Job[Any]] = []
        stopping = False
        while not stopping:
            group, stopping = self._next_group(in_company=len(group) > 1)
            with self._write_lock:
                self.commit(self._connection, group)
                try:
                    self._checkpoint(stopping)
                except (sqlite3.Error, OSError) as error:
                    _log.warning("the checkpoint has to wait: %s", error)

    def _next_group(self, *, in_company: bool) -> tuple[list[Job[Any]], bool]:
        """Whatever waits, and whether it is the last.

        Where several came together the next ones are not far: they are waited for, and share a
        commit (docs/decisions/0001-one-writer.md).
        """
        first = self._queue.get()
        if first is None:
            return [], True
        if in_company:
            time.sleep(COMPANY_SECONDS)
        group = [first]
        while len(group) < MAX_GROUP and not self._queue.empty():
            job = self._queue.get()
            if job is None:
                return group, True
            group.append(job)
        return group, False

    @staticmethod
    def commit(connection: sqlite3.Connection, group: Sequence[Job[Any]]) -> None:
        """One transaction for all jobs; each is finished only when it is on the disk."""
        try:
            if connection.in_transaction:
                connection.rollback()  # an earlier rollback failed: nothing of it may stand
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            if not _run_all(connection, cursor, group):
                cursor.execute("ROLLBACK")
                if len(group) == 1:
                    return
                cursor.execute("BEGIN IMMEDIATE")
                _run_apart(cursor, group)
            cursor.execute("COMMIT")
        except Exception as error:
            for job in group:
                job.fail(_unavailable(error))
            _log.error("the ledger could not commit: %s", error)
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.rollback()
        finally:
            for job in group:
                job.finish()

    def _checkpoint(self, stopping: bool) -> None:
        """Move the log into the database now and then, never while a command is at work.

        SQLite before 3.51.3 can corrupt a log that two connections write and reset at once. While
        somebody reads for long, as a backup does, the log grows, and is folded in afterwards.
        """
        now = clock.monotonic()
        if now < self._next_checkpoint and not stopping:
            return
        self._next_checkpoint = now + 1.0
        try:
            size = self._wal.stat().st_size
        except OSError:
            return
        if size < CHECKPOINT_BYTES and not stopping:
            return
        if not self._lock_file.acquire(blocking=False):
            return
        try:
            with self._impatient():
                mode = "TRUNCATE" if stopping or size > TRUNCATE_BYTES else "PASSIVE"
                self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        finally:
            self._lock_file.release()

    @contextmanager
    def _impatient(self) -> Iterator[None]:
        (before,) = self._connection.execute("PRAGMA busy_timeout").fetchone()
        self._connection.execute(f"PRAGMA busy_timeout = {READERS_SECONDS * 1000:.0f}")
        try:
            yield
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {before}")


def _run_all(
    connection: sqlite3.Connection, cursor: sqlite3.Cursor, group: Sequence[Job[Any]]
) -> bool:
    """Run them one after the other; False: one has to be undone, and nothing else can be.

    Most units that raise are refusals that changed nothing, so nobody pays for a savepoint, whose
    journal takes a copy of every page that a unit touches.
    """
    for job in group:
        changes = connection.total_changes
        if not job.run(cursor):
            cursor.execute("SELECT 1")  # ends what the unit left unfinished: then it is counted
            if connection.total_changes != changes:
                return False
    return True


def _run_apart(cursor: sqlite3.Cursor, group: Sequence[Job[Any]]) -> None:
    """Run each in a savepoint of its own, so that one can be undone without the others."""
    for job in group:
        cursor.execute("SAVEPOINT unit")
        if not job.run(cursor):
            cursor.execute("ROLLBACK TO unit")
        cursor.execute("RELEASE unit")


def _unavailable(error: Exception) -> Overloaded:
    if isinstance(error, sqlite3.IntegrityError):
        _log.critical("a rule of the books was about to be broken: %s", error)
    return Overloaded("The ledger cannot be written just now. Try again soon.", retry_after=2)
