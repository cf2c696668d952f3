"""Migrations are applied at start; a database that is newer than the code is refused."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import Engine

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
HEAD = "0001"


class SchemaError(RuntimeError):
    """The database does not fit this version of ModelBridge; the message says what to do."""


def current_revision(connection: Connection) -> str | None:
    """The revision of the schema in the file; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def upgrade(engine: Engine, revision: str = HEAD) -> None:
    """The schema is at `revision` afterwards. Raises SchemaError.

    Costs one query when there is nothing to do: Alembic is imported only to migrate.
    """
    with engine.begin() as connection:
        found = current_revision(connection)
    if found == revision:
        return
    if found is not None and not list(MIGRATIONS.glob(f"versions/{found}_*.py")):
        raise SchemaError(
            f"The database is at revision {found}, which this version of ModelBridge does not "
            "know: it was used by a newer one. Start that version, or restore a backup."
        )
    _run(engine, "upgrade", revision)


def downgrade(engine: Engine, revision: str) -> None:
    """The schema is back at `revision` afterwards: for tests of the migrations."""
    _run(engine, "downgrade", revision)


def _run(engine: Engine, direction: str, revision: str) -> None:
    from alembic import command  # noqa: PLC0415  slow to import, needed only to migrate
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        getattr(command, direction)(config, revision)
