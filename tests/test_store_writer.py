"""The writer: one thread, one commit for all who wait, and nobody is told yes before it stands."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faulty import (
    be_impatient,
    full_disk,
    locked_by_another_process,
    make_faulty,
    writer_held_up,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from people import wait_for

from modelbridge.errors import Overloaded
from modelbridge.store import writer
from modelbridge.store.database import SERVER_BUSY_SECONDS, Database
from modelbridge.store.statements import Cursor


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A file with a table of numbers, and a running writer."""
    database = Database(tmp_path / "numbers.db")
    database.submit(lambda cursor: cursor.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
    database.submit(lambda cursor: cursor.execute("CREATE TABLE blobs (b BLOB)"))
    database.start_writer()
    yield database
    database.close()


def add(number: int) -> Callable[[Cursor], int]:
    def unit(cursor: Cursor) -> int:
        cursor.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return unit


def add_and_stumble(number: int) -> Callable[[Cursor], int]:
    def unit(cursor: Cursor) -> int:
        add(number)(cursor)
        raise LookupError("lost")

    return unit


def refuse(number: int) -> Callable[[Cursor], int]:
    def unit(cursor: Cursor) -> int:
        raise LookupError(number)

    return unit


def add_and_break(number: int) -> Callable[[Cursor], int]:
    def unit(cursor: Cursor) -> int:
        add(number)(cursor)
        return add(0)(cursor)  # which is there already

    return unit


UNITS = {"add": add, "refuse": refuse, "stumble": add_and_stumble, "break": add_and_break}


def numbers(database: Database) -> list[int]:
    with database.cursor() as cursor:
        cursor.execute("SELECT n FROM numbers ORDER BY n")
        return [n for (n,) in cursor.fetchall()]


def nothing() -> None:
    """What is to be done before a queue moves on, mostly."""


@contextmanager
def a_queue(
    database: Database, *units: Callable[[Cursor], Any], before: Callable[[], None] = nothing
) -> Iterator[list[Future[Any]]]:
    """All units wait in the queue, in their order, behind an empty one; then they are let go."""
    with ThreadPoolExecutor(len(units)) as pool:
        with writer_held_up(database):
            waiting = []
            for length, unit in enumerate(units, start=1):
                waiting.append(pool.submit(database.submit, unit))
                wait_for(lambda n=length: database.queue_length() == n)  # type: ignore[misc]
            before()
        yield waiting


def test_all_that_waits_is_committed_at_once_and_everybody_gets_their_own_result(
    database: Database,
) -> None:
    statements: list[str] = []
    database._connection.set_trace_callback(statements.append)
    with a_queue(database, *(add(n) for n in range(40))) as waiting:
        assert [one.result() for one in waiting] == list(range(40))
    assert statements.count("COMMIT") == 2  # the one before, and one for all forty
    assert numbers(database) == list(range(40))


def test_a_unit_that_raises_leaves_nothing_behind_and_its_neighbours_stand(
    database: Database,
) -> None:
    with a_queue(database, add(1), add_and_stumble(2), add(3)) as (before, stumbling, after):
        assert before.result() == 1
        with pytest.raises(LookupError, match="lost"):
            stumbling.result()
        assert after.result() == 3
    assert numbers(database) == [1, 3]
    with pytest.raises(LookupError, match="lost"):
        database.submit(add_and_stumble(2))
    assert numbers(database) == [1, 3]


def test_a_unit_that_stumbles_over_a_row_that_it_has_not_read_to_the_end_is_undone(
    database: Database,
) -> None:
    def stumble(cursor: Cursor) -> None:
        cursor.execute("INSERT INTO numbers VALUES (2), (4) RETURNING n")
        raise LookupError("lost")

    with a_queue(database, add(1), stumble, add(3)) as (before, stumbling, after):
        assert before.result() == 1
        with pytest.raises(LookupError, match="lost"):
            stumbling.result()
        assert after.result() == 3
    assert numbers(database) == [1, 3]


def test_a_unit_that_is_refused_before_it_wrote_costs_its_neighbours_nothing(
    database: Database,
) -> None:
    def refuse(cursor: Cursor) -> None:
        cursor.execute("SELECT n FROM numbers")
        raise LookupError("refused")

    statements: list[str] = []
    database._connection.set_trace_callback(statements.append)
    with a_queue(database, add(1), refuse, add(3)) as (before, refused, after):
        assert before.result() == 1
        with pytest.raises(LookupError, match="refused"):
            refused.result()
        assert after.result() == 3
    assert sum(one.startswith("INSERT") for one in statements) == 2
    assert not any("SAVEPOINT" in one for one in statements)


@given(groups=st.lists(st.lists(st.sampled_from(["add", "refuse", "stumble", "break"]))))
@settings(max_examples=60)
def test_of_any_group_exactly_those_that_were_told_yes_stand(groups: list[list[str]]) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
    told, number = [0], 0
    connection.execute("INSERT INTO numbers VALUES (0)")
    for kinds in groups:
        jobs = []
        for kind in kinds:
            number += 1
            jobs.append(writer.Job(UNITS[kind](number)))
        writer.Writer.commit(connection, jobs)
        for job in jobs:
            with suppress(LookupError, Overloaded):
                told.append(job.wait())
    assert [n for (n,) in connection.execute("SELECT n FROM numbers ORDER BY n")] == told
    connection.close()


def test_a_broken_rule_fails_its_own_unit_alone(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with a_queue(database, add(1), add(1), add(3)) as (before, broken, after):
        assert before.result() == 1
        with pytest.raises(Overloaded):
            broken.result()
        assert after.result() == 3
    assert numbers(database) == [1, 3]
    assert "a rule of the books was about to be broken" in caplog.text


def test_a_commit_that_fails_fails_for_all_of_its_group(database: Database) -> None:
    faulty = make_faulty(database)
    # two statements of the empty one, then BEGIN, one for each unit, and COMMIT
    with a_queue(database, add(1), add(2), before=lambda: faulty.fail_at(2 + 4)) as waiting:
        for one in waiting:
            with pytest.raises(Overloaded) as failure:
                one.result()
            assert failure.value.retry_after
    faulty.fail_at(None)
    assert numbers(database) == []
    assert database.submit(add(3)) == 3


@pytest.mark.parametrize("nth", range(1, 19))
@pytest.mark.parametrize("still", [False, True])
def test_whatever_statement_fails_nobody_is_told_yes_in_vain_and_the_writer_lives(
    database: Database, nth: int, still: bool
) -> None:
    faulty = make_faulty(database)
    told = set()
    start_failing = partial(faulty.fail_at, nth, still=still)
    # the one that stumbles makes it 18 statements: all are undone, and each has its savepoint
    units = add(1), add_and_stumble(4), add(2)
    with a_queue(database, *units, before=start_failing) as waiting:
        for one in waiting:
            with suppress(Overloaded, LookupError):
                told.add(one.result(timeout=10))
    faulty.fail_at(None)
    assert database.submit(add(3)) == 3
    assert set(numbers(database)) == told | {3}


def test_a_full_disk_is_an_overload_until_there_is_room_again(database: Database) -> None:
    def fill(cursor: Cursor) -> None:
        cursor.execute("INSERT INTO blobs VALUES (zeroblob(1000000))")

    with full_disk(database), a_queue(database, add(1), fill, add(2)) as waiting:
        for one in waiting:
            with pytest.raises(Overloaded):
                one.result()
    assert database.submit(add(3)) == 3
    database.submit(fill)
    assert numbers(database) == [3]


def test_a_file_that_another_process_has_locked_is_an_overload_until_it_is_free(
    database: Database,
) -> None:
    be_impatient(database)
    with locked_by_another_process(database.path):
        for _ in range(3):
            with pytest.raises(Overloaded):
                database.submit(add(1))
        assert numbers(database) == []  # reading goes on
    assert database.submit(add(2)) == 2
    assert numbers(database) == [2]


def test_a_full_queue_refuses_at_once_and_drops_what_nobody_waits_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "MAX_QUEUED", 3)
    with a_queue(database, add(1), add(2)) as waiting:
        assert [one.result() for one in waiting] == [1, 2]
    with ThreadPoolExecutor(3) as pool:
        with writer_held_up(database):
            more = [pool.submit(database.submit, add(n)) for n in (3, 4, 5)]
            wait_for(lambda: database.queue_length() == 3)
            with pytest.raises(Overloaded, match="queue is full"):
                database.submit(add(6))
            database.enqueue(add(7))
        assert sorted(one.result() for one in more) == [3, 4, 5]
    assert numbers(database) == [1, 2, 3, 4, 5]


def test_closing_commits_what_is_queued_and_refuses_what_comes_later(tmp_path: Path) -> None:
    database = Database(tmp_path / "numbers.db")
    database.submit(lambda cursor: cursor.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
    database.start_writer()
    for number in range(600):
        database.enqueue(add(number))
    assert database._writer is not None
    database._writer.stop()
    assert numbers(database) == list(range(600))
    with pytest.raises(Overloaded):
        database.submit(add(1_000))
    database.enqueue(add(1_001))
    database.close()


def test_nobody_waits_for_ever_for_a_writer_that_stops(tmp_path: Path) -> None:
    for _ in range(20):
        database = Database(tmp_path / "numbers.db")
        database.submit(lambda cursor: cursor.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)"))
        database.start_writer()
        assert database._writer is not None
        begun = threading.Barrier(5)

        def call(database: Database = database, begun: threading.Barrier = begun) -> int:
            begun.wait()
            done = 0
            try:
                while True:
                    database.submit(lambda cursor: cursor.execute("INSERT INTO t VALUES (1)"))
                    done += 1
            except Overloaded:
                return done

        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(call) for _ in range(4)]
            begun.wait()
            database._writer.stop()
            acknowledged = sum(one.result(timeout=10) for one in calls)
        with database.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM t")
            assert cursor.fetchone()[0] >= acknowledged
            database._connection.execute("DELETE FROM t")
        database.close()


def test_the_checkpoint_waits_for_commands_and_does_its_work_when_they_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = database.path.with_name("numbers.db-wal")
    monkeypatch.setattr(writer, "CHECKPOINT_BYTES", 1)
    monkeypatch.setattr(writer, "TRUNCATE_BYTES", 1)
    assert database._writer is not None
    command = type(database.lock)(database.lock._path)  # as another process would have it
    assert command.acquire(blocking=True)
    for number in range(50):
        database._writer._next_checkpoint = 0.0
        database.submit(add(number))
        assert log.stat().st_size > 0
    assert not database.lock.acquire(blocking=False)
    command.release()

    def next_one() -> bool:
        assert database._writer is not None
        database._writer._next_checkpoint = 0.0
        database.submit(lambda cursor: None)
        return log.stat().st_size == 0

    wait_for(next_one)
    assert numbers(database) == list(range(50))


def test_a_checkpoint_that_fails_is_tried_again_and_hurts_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_BYTES", 1)
    assert database._writer is not None

    def broken(**_: object) -> bool:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(database.lock, "acquire", broken)
    database._writer._next_checkpoint = 0.0
    database.submit(add(1))
    assert database.submit(add(2)) == 2
    assert "Too many open files" in caplog.text
    monkeypatch.undo()
    assert database.submit(add(3)) == 3


# Sessions


def test_who_reads_for_long_delays_no_commit_and_the_log_is_folded_in_afterwards(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CHECKPOINT_BYTES", 1)
    monkeypatch.setattr(writer, "TRUNCATE_BYTES", 1)
    log = database.path.with_name("numbers.db-wal")

    def commit() -> int:
        assert database._writer is not None
        database._writer._next_checkpoint = 0.0
        database.submit(lambda cursor: cursor.execute("INSERT INTO numbers DEFAULT VALUES"))
        with database._write_lock:  # the checkpoint after it is over
            return log.stat().st_size

    with closing(sqlite3.connect(database.path, isolation_level=None)) as backup:
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM numbers").fetchone()
        begun = time.monotonic()
        assert all(commit() for _ in range(5))
        assert time.monotonic() - begun < 3  # a commit that meets a lock waits for five seconds
    wait_for(lambda: commit() == 0)
    with database._write_lock:
        (patience_millis,) = database._connection.execute("PRAGMA busy_timeout").fetchone()
    assert patience_millis == SERVER_BUSY_SECONDS * 1000


def test_a_transaction_stands_as_a_whole_or_not_at_all(database: Database) -> None:
    from sqlalchemy import text

    with database.transaction() as session:
        session.execute(text("INSERT INTO numbers VALUES (1)"))

    def stumble() -> None:
        with database.transaction() as session:
            session.execute(text("INSERT INTO numbers VALUES (2)"))
            raise LookupError

    with pytest.raises(LookupError):
        stumble()
    assert numbers(database) == [1]
    assert database.submit(add(3)) == 3


def test_a_transaction_inside_a_transaction_is_told_so_and_does_not_wait_for_itself(
    database: Database,
) -> None:
    with (
        database.transaction(),
        pytest.raises(RuntimeError, match="inside a transaction"),
        database.transaction(),
    ):
        pass
    assert database.submit(add(1)) == 1


def test_what_reads_cannot_write(database: Database) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    with database.reading() as session, pytest.raises(OperationalError, match="readonly"):
        session.execute(text("INSERT INTO numbers VALUES (1)"))
    with database.cursor() as cursor, pytest.raises(sqlite3.OperationalError, match="readonly"):
        cursor.execute("INSERT INTO numbers VALUES (1)")
    assert numbers(database) == []


def test_a_reader_sees_one_state_from_its_first_look_to_its_last(database: Database) -> None:
    from sqlalchemy import text

    with database.reading() as session:
        before = session.execute(text("SELECT count(*) FROM numbers")).scalar()
        database.submit(add(1))
        assert session.execute(text("SELECT count(*) FROM numbers")).scalar() == before == 0
    assert numbers(database) == [1]


def test_many_readers_at_once_are_closed_but_for_a_few(database: Database) -> None:
    begun = threading.Barrier(30)

    def look() -> None:
        with database.cursor():
            begun.wait()

    with ThreadPoolExecutor(30) as pool:
        for one in [pool.submit(look) for _ in range(30)]:
            one.result()
    assert len(database._readers) == 16
