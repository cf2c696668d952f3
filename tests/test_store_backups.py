"""Backups that are taken while the database is written to: whole, sound, and quick to be had."""

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostile import HostileUpstream
from people import wait_for
from torture.backups import backups

from modelbridge.store import backup as backup_module
from modelbridge.store.backup import BackupError, backup
from modelbridge.store.database import Database

ROWS = 60_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A file of some megabytes, with a running writer."""
    database = Database(tmp_path / "large.db")
    database.submit(lambda cursor: cursor.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)"))
    database.submit(
        lambda cursor: cursor.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO t SELECT i, hex(randomblob(150)) FROM n",
            (ROWS,),
        )
    )
    database.start_writer()
    yield database
    database.close()


@contextmanager
def being_written(database: Database) -> Iterator[None]:
    """Somebody writes on and on."""
    over = threading.Event()
    written = [0]

    def write() -> None:
        while not over.is_set():
            database.submit(lambda cursor: cursor.execute("INSERT INTO t (x) VALUES ('new')"))
            written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for(lambda: written[0] > 10)
        yield
    finally:
        over.set()
        writer.join()


def rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (count,) = connection.execute("SELECT count(*) FROM t").fetchone()
        return int(count)
    finally:
        connection.close()


@pytest.mark.timeout(30)
def test_a_backup_ends_although_the_database_never_rests(
    database: Database, tmp_path: Path
) -> None:
    with being_written(database):
        before = rows(database.path)
        size = backup(database.path, tmp_path / "copy.db")
    assert size > 8 * 2**20
    assert ROWS + 10 < before <= rows(tmp_path / "copy.db") <= rows(database.path)
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.timeout(180)
def test_backups_under_load_restore_and_their_books_balance(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    assert backups(2, tmp_path, upstream)["restored, books in order"] == 2


def test_nothing_is_overwritten_and_a_directory_must_be_there(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(BackupError, match="exists; name a file that does not"):
        backup(database.path, tmp_path / "mine")
    with pytest.raises(BackupError, match="is not a directory"):
        backup(database.path, tmp_path / "nowhere" / "copy.db")
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = backup_module._copy

    def slow(source: Path, draft: Path) -> None:
        copy(source, draft)
        (tmp_path / "copy.db").write_text("precious")

    monkeypatch.setattr(backup_module, "_copy", slow)
    with pytest.raises(BackupError, match="exists"):
        backup(database.path, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "precious"
    assert not list(tmp_path.glob(".*.part"))


def test_a_database_that_is_damaged_makes_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)")
    connection.execute("CREATE INDEX i ON t (x)")
    connection.executemany("INSERT INTO t (x) VALUES (?)", [(f"{n:090}",) for n in range(2_000)])
    connection.commit()
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'i'").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\x07" * 4096)
    with pytest.raises(BackupError, match="not sound|could not be made"):
        backup(path, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_what_is_no_database_makes_no_backup(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("Dear Alice, " * 1_000)
    with pytest.raises(BackupError, match="could not be made"):
        backup(tmp_path / "letter.db", tmp_path / "copy.db")
    assert not list(tmp_path.glob("*copy*"))
