"""Upgrading the data at a start: a copy is kept, and what would be wrong afterwards is refused."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.ledger.audit import check_books
from modelbridge.operations.readiness import free_bytes_at
from modelbridge.store.backup import BackupError, backup, clear_drafts
from modelbridge.store.migrate import HEAD, SchemaError

KEPT = 3
_PREFIX = "before-upgrade-"


def snapshot(database_path: Path, revision: str) -> Path:
    """A copy of the database beside it, from before its upgrade; the last KEPT ones stay.

    Raises SchemaError if there is no room for it.
    """
    folder, size = database_path.parent, database_path.stat().st_size
    clear_drafts(folder, _PREFIX)
    if free_bytes_at(folder) < 3 * size:
        raise SchemaError(
            f"The database is of revision {revision} and is to be brought to {HEAD}, but {folder} "
            f"has no room for a copy of it first: make {3 * size // 2**20 + 1} MiB free."
        )
    moment = clock.now().strftime("%Y%m%dT%H%M%S%fZ")
    kept = folder / f"{_PREFIX}{HEAD}-from-{revision}-{moment}.db"
    try:
        backup(database_path, kept)
    except BackupError as error:
        raise SchemaError(f"The database was not upgraded: {error}") from None
    for old in sorted(folder.glob(f"{_PREFIX}*.db"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        old.unlink(missing_ok=True)
    return kept


def problems(connection: Connection) -> Iterator[str]:
    """What is wrong with the database as this transaction sees it."""
    for table, rowid, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"row {rowid} of {table} names a row of {parent} that is not there"
    with Session(connection) as session:
        yield from check_books(session).problems
