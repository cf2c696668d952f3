"""Restoring a backup: verified before it takes the place of what is there, which is kept."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.exc import DatabaseError

from modelbridge import clock
from modelbridge.config import Settings
from modelbridge.identity import auditlog
from modelbridge.operations import upgrade
from modelbridge.operations.revived import Revived, compare
from modelbridge.store import migrate
from modelbridge.store.backup import BackupError, backup
from modelbridge.store.database import Database
from modelbridge.store.lock import LockFile
from modelbridge.store.tables import Call, LoginSession, OneTimeLink


class RestoreError(ValueError):
    """Nothing was restored, and what was there is untouched; the message says why."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it. `newest_call`: the last one that the backup knows.

    `replaced`: where the database that was there is kept; None: there was none. `calls_lost`: how
    many calls it has that the backup has not; None: nobody can tell. `revived`: what it had shut.
    """

    newest_call: datetime | None
    replaced: Path | None
    calls_lost: int | None
    revived: Revived


def restore(settings: Settings, copy: Path) -> Restored:
    """The database is what `copy` holds, brought up to this version, sound, its books checked.

    Nobody is logged in any more, and no link of before works. Raises RestoreError.
    """
    if not copy.is_file():
        raise RestoreError(f"{copy} is not a file")
    path = settings.database_path
    draft = path.with_name(f".restore-{os.getpid()}.db")
    with _alone(settings):
        try:
            newest = _verified(copy, draft)
            lost, revived = _compared(path, draft, newest)
            replaced = _put_aside(path)
            os.replace(draft, path)
            _sync(path.parent)
        finally:
            for leftover in (draft, *_companions(draft)):
                leftover.unlink(missing_ok=True)
    return Restored(newest, replaced, lost, revived)


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """No server and no command is at the data within. Raises RestoreError."""
    server = LockFile(settings.data_dir / "server.lock")
    commands = LockFile(settings.database_path.with_name("database.lock"))
    if not server.acquire(blocking=False):
        raise RestoreError(f"a ModelBridge serves {settings.data_dir}: stop it first")
    with server.held():
        if not commands.acquire(blocking=False):
            raise RestoreError("another `flask` command is at work: wait until it has ended")
        with commands.held():
            yield


def _verified(copy: Path, draft: Path) -> datetime | None:
    """`draft` is the copy, migrated and checked; returns when its newest call began."""
    try:
        backup(copy, draft)  # which checks that the file is sound
        database = Database(draft)
        try:
            with database.engine.begin() as connection:
                if migrate.current_revision(connection) is None:
                    raise RestoreError(f"{copy} is no database of ModelBridge")
            migrate.upgrade(database.engine)
            with database.engine.begin() as connection:
                problems = list(upgrade.problems(connection))
            if problems:
                raise RestoreError(f"the data of {copy} is wrong: {'; '.join(problems[:3])}")
            with database.transaction() as session:
                session.execute(delete(LoginSession))  # some were ended since
                session.execute(delete(OneTimeLink))
                auditlog.record(
                    session,
                    actor=None,
                    action="database.restore",
                    subject_kind="database",
                    subject_id="",
                    subject=copy.name,
                )
                return session.scalar(select(func.max(Call.started_at)))
        finally:
            database.close()
    except (BackupError, migrate.SchemaError) as error:
        raise RestoreError(f"{copy}: {error}") from None
    except (sqlite3.DatabaseError, DatabaseError) as error:
        raise RestoreError(f"{copy} is no sound database: {error}") from None


def _compared(path: Path, draft: Path, newest: datetime | None) -> tuple[int | None, Revived]:
    """How many calls the present database has that began later, and what the draft lets in again.

    None if the present one cannot be read.
    """
    if not path.exists():
        return 0, Revived()
    later = select(func.count()).select_from(Call)
    if newest is not None:
        later = later.where(Call.started_at > newest)
    try:
        present, restored = Database(path), Database(draft)
        try:
            with present.reading() as before, restored.reading() as session:
                return before.scalar(later), compare(before, session)
        finally:
            restored.close()
            present.close()  # the last one to close it folds the log into the file
    except (sqlite3.DatabaseError, DatabaseError):
        return None, Revived()


def _put_aside(path: Path) -> Path | None:
    """What is there has a second name, so that there is a database at every instant."""
    if not path.exists():
        return None
    kept = path.with_name(f"replaced-{clock.now():%Y%m%dT%H%M%S%fZ}.db")
    for companion in _companions(path):  # only of a file that could not be closed properly
        with suppress(FileNotFoundError):
            os.replace(companion, kept.with_name(kept.name + companion.name[len(path.name) :]))
    os.link(path, kept)
    return kept


def _companions(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in ("-wal", "-shm")]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
