"""Backups: a consistent copy of the database, made while it is in use, and verified."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path


class BackupError(ValueError):
    """The backup was not made; the message says why."""


def clear_drafts(folder: Path, prefix: str) -> None:
    """Unfinished copies of names with that prefix, of processes that were killed, are gone."""
    for draft in folder.glob(f".{prefix}*.part"):
        draft.unlink(missing_ok=True)


def backup(database_path: Path, destination: Path) -> int:
    """A verified copy stands at `destination`, on the disk; returns its bytes.

    Raises BackupError if something is there already, or the copy is not sound.
    """
    draft = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    if destination.exists():
        raise BackupError(f"{destination} exists; name a file that does not")
    if not destination.parent.is_dir():
        raise BackupError(f"{destination.parent} is not a directory")
    try:
        _copy(database_path, draft)
        _sync(draft)
        os.link(draft, destination)  # whole or not at all, and never over another file
        _sync(destination.parent)
    except FileExistsError:
        raise BackupError(f"{destination} exists; name a file that does not") from None
    except (sqlite3.Error, OSError) as error:
        raise BackupError(f"the copy could not be made: {error}") from None
    finally:
        draft.unlink(missing_ok=True)
    return destination.stat().st_size


def _copy(source_path: Path, draft: Path) -> None:
    with (
        closing(sqlite3.connect(f"file:{source_path}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(draft)) as copy,
    ):
        draft.chmod(0o600)
        source.backup(copy)  # in one step: with more, every write in between begins it anew
        copy.execute("PRAGMA journal_mode = DELETE")
        (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
        if verdict != "ok":
            raise BackupError(f"the copy is not sound: {verdict}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
