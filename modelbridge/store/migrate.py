"""Migrations are applied at start; a database that is newer than the code is refused.

Migrating and verifying are one transaction: whatever goes wrong, the file is as it was.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import Engine

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
HEAD = "0005"


class SchemaError(RuntimeError):
    """The database does not fit this version of ModelBridge; the message says what to do."""


def current_revision(connection: Connection) -> str | None:
    """The revision of the schema in the file; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(
    engine: Engine,
    revision: str = HEAD,
    *,
    snapshot: Callable[[str], Path] | None = None,
    verify: Callable[[Connection], Iterable[str]] | None = None,
) -> None:
    """The schema is at `revision` afterwards, or the file is as it was. Raises SchemaError.

    Before a database of an earlier revision is touched, `snapshot` copies it and says where to;
    before it is committed, `verify` says what is wrong with it. Costs one query when there is
    nothing to do: Alembic is imported only to migrate.
    """
    with engine.begin() as connection:
        found = current_revision(connection)
        strangers = [] if found else inspect(connection).get_table_names()
    if found == revision:
        return
    refuse_newer(found)
    if any(name != "alembic_version" for name in strangers):
        raise SchemaError(
            "The database is not ModelBridge's: it has tables of another program. Name another "
            "file with MODELBRIDGE_DATABASE_URL, or another folder with MODELBRIDGE_DATA_DIR."
        )
    kept = snapshot(found) if snapshot and found else None
    try:
        _run(engine, "upgrade", revision, verify if found else None)
    except Exception as error:
        if found is None:
            raise
        raise SchemaError(_not_upgraded(found, revision, error, kept)) from error


def refuse_newer(found: str | None) -> None:
    """Raises SchemaError for a revision that this code does not know."""
    if found is not None and not list(MIGRATIONS.glob(f"versions/{found}_*.py")):
        raise SchemaError(
            f"The database is at revision {found}, which this version of ModelBridge does not "
            "know: it was used by a newer one. Start that version, or restore a backup."
        )


def _not_upgraded(found: str, revision: str, error: Exception, kept: Path | None) -> str:
    said = str(getattr(error, "orig", None) or error)
    copy = f" A copy of it from before is {kept}." if kept else ""
    return (
        f"The database could not be brought from revision {found} to {revision}: {said} "
        "Nothing was changed: the version of ModelBridge that ran before runs on it as it is."
        f"{copy}"
    )


def downgrade(engine: Engine, revision: str) -> None:
    """The schema is back at `revision` afterwards: for tests of the migrations."""
    _run(engine, "downgrade", revision)


def _run(
    engine: Engine,
    direction: str,
    revision: str,
    verify: Callable[[Connection], Iterable[str]] | None = None,
) -> None:
    from alembic import command  # noqa: PLC0415  slow to import, needed only to migrate
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        getattr(command, direction)(config, revision)
        problems = list(verify(connection)) if verify else []
        if problems:
            raise SchemaError(f"afterwards the data would be wrong ({'; '.join(problems[:3])}).")
