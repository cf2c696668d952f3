"""Migrations: what Alembic makes is what the models say, up and down, with rows in every table."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from people import TestBridge, flask, serving
from sqlalchemy import create_engine

from modelbridge import config
from modelbridge.factory import Bridge
from modelbridge.store import migrate
from modelbridge.store.database import Database
from modelbridge.store.migrate import SchemaError
from modelbridge.store.tables import Base

REVISIONS = sorted(path.name[:4] for path in migrate.MIGRATIONS.glob("versions/[0-9]*.py"))
TRIGGERS_APPEND_ONLY = {
    f"{table}_no_{verb}"
    for table in (
        "audit_events",
        "balance_transactions",
        "fx_versions",
        "price_versions",
        "shortfalls",
    )
    for verb in ("update", "delete")
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "modelbridge.db")
    yield database
    database.close()


def schema(path: Path) -> dict[tuple[str, str], str]:
    """Everything in sqlite_master, without white space and what SQLite made by itself."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql NOT NULL")
        return {
            (kind, name): _plain(sql)
            for kind, name, sql in rows
            if name not in ("alembic_version", "sqlite_sequence")
        }


def _plain(sql: str) -> str:
    """Words and signs only, with the clauses of a table in the order of the alphabet."""
    sql = re.sub(r"\\s+", " ", sql).replace('"', "")
    head, _, body = sql.partition("(")
    clauses, depth, clause = [], 0, ""
    for sign in body.rstrip().removesuffix(")"):
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            clauses.append(clause.strip())
            clause = ""
        else:
            clause += sign
    return head.strip() + " ".join(sorted([*clauses, clause.strip()]))


def tables(path: Path) -> dict[str, int]:
    """How many rows every table has."""
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608
            for (name,) in names
            if not name.startswith("sqlite_")
        }


def fill(path: Path) -> None:
    """A row in every table, of the right kind for its columns."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for name, count in tables(path).items():
            if count == 0:
                columns = connection.execute(f'PRAGMA table_info("{name}")').fetchall()
                values = [_value(kind) for _, _, kind, *_ in columns]
                marks = ", ".join("?" * len(values))
                connection.execute(f'INSERT INTO "{name}" VALUES ({marks})', values)  # noqa: S608


def _value(kind: str) -> Any:
    return 1 if kind in ("BIGINT", "INTEGER", "BOOLEAN") else "x"


def test_the_code_expects_the_newest_revision() -> None:
    assert REVISIONS[-1] == migrate.HEAD


def test_the_newest_revision_is_what_the_models_say(database: Database, tmp_path: Path) -> None:
    migrate.upgrade(database.engine)
    engine = create_engine(f"sqlite:///{tmp_path / 'models.db'}")
    Base.metadata.create_all(engine)
    engine.dispose()
    made, said = schema(database.path), schema(tmp_path / "models.db")
    triggers = {name for kind, name in made if kind == "trigger"}
    without_triggers = {key: sql for key, sql in made.items() if key[0] != "trigger"}
    assert without_triggers.keys() == said.keys()
    for key, sql in said.items():
        assert without_triggers[key] == sql, key
    catalog = {
        f"{table}_catalog_{verb}"
        for table in ("upstreams", "models", "routes", "fx_versions")
        for verb in ("insert", "update", "delete")
    }
    assert triggers >= TRIGGERS_APPEND_ONLY | catalog


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_revision_goes_up_and_down_with_rows_in_every_table(
    database: Database, revision: str
) -> None:
    migrate.upgrade(database.engine, revision)
    fill(database.path)
    before = tables(database.path)
    assert all(before.values())
    for newer in REVISIONS[REVISIONS.index(revision) + 1 :]:
        migrate.upgrade(database.engine, newer)
        after = tables(database.path)
        for name in before.keys() & after.keys():
            assert after[name] >= before[name], name
    for older in reversed(REVISIONS[: REVISIONS.index(revision) + 1]):
        migrate.downgrade(database.engine, older)
    migrate.downgrade(database.engine, "base")
    assert set(tables(database.path)) <= {"alembic_version"}
    migrate.upgrade(database.engine)
    assert "balance_transactions" in tables(database.path)


def test_a_database_of_a_newer_version_is_refused_and_told_why(
    database: Database, tmp_path: Path
) -> None:
    migrate.upgrade(database.engine)
    database.submit(
        lambda cursor: cursor.execute("UPDATE alembic_version SET version_num = '9999'")
    )
    with pytest.raises(SchemaError, match="revision 9999.*used by a newer one"):
        migrate.upgrade(database.engine)
    database.close()
    told = flask(tmp_path, "user", "list")
    assert told.returncode == 1
    assert "used by a newer one. Start that version, or restore a backup" in told.stderr
    assert "Traceback" not in told.stderr


def test_an_older_file_is_brought_up_at_start_and_its_books_balance(tmp_path: Path) -> None:
    with serving(tmp_path) as bridge:
        bridge.person("alice")
        bridge.check_books()
    before = schema(tmp_path / "modelbridge.db")
    if len(REVISIONS) > 1:
        bridge_again = Bridge(config.load({"MODELBRIDGE_DATA_DIR": str(tmp_path)}))
        migrate.downgrade(bridge_again.database.engine, REVISIONS[0])
        bridge_again.close()
    else:  # there is no older one yet: an empty file is the oldest
        (tmp_path / "modelbridge.db").unlink()
    with serving(tmp_path) as bridge:
        assert isinstance(bridge, TestBridge)
        bridge.check_books()
        if len(REVISIONS) > 1:
            assert bridge.account(bridge.rows(_accounts())[0].id).balance_nanos == 10**10
    assert schema(tmp_path / "modelbridge.db") == before


def _accounts() -> Any:
    from modelbridge.store.tables import Account

    return Account


def test_nothing_is_asked_of_alembic_when_there_is_nothing_to_do(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(database.engine)
    monkeypatch.setattr(migrate, "_run", None)
    migrate.upgrade(database.engine)
    with database.engine.begin() as connection:
        assert migrate.current_revision(connection) == migrate.HEAD


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("CREATE VIEW shortfalls AS SELECT 1")  # in the way of the last table
    with pytest.raises(Exception, match="already exists"):
        migrate.upgrade(database.engine)
    assert set(tables(database.path)) == set()


def test_a_file_with_tables_of_another_program_is_not_touched(database: Database) -> None:
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("CREATE TABLE shortfalls (id TEXT)")
    with pytest.raises(migrate.SchemaError, match="not ModelBridge's"):
        migrate.upgrade(database.engine)
    assert set(tables(database.path)) == {"shortfalls"}
