"""Statements of the money path: named values, the same everywhere, on PostgreSQL too."""

from collections.abc import Iterator

import pytest
from ledger_world import World, world_in
from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from modelbridge import factory
from modelbridge.gateway import journal, recovery
from modelbridge.identity import callers
from modelbridge.ledger import sql
from modelbridge.store.statements import Statement
from modelbridge.store.tables import Account, Hold, is_open, table

POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]
STATEMENTS = {
    f"{module.__name__}.{name}": value
    for module in (sql, journal, recovery, callers, factory)
    for name, value in vars(module).items()
    if isinstance(value, Statement)
}


def test_the_statements_are_found() -> None:
    assert len(STATEMENTS) > 30


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_compiles_for_postgresql_with_the_same_values(name: str) -> None:
    statement = STATEMENTS[name]
    compiled = statement.core.compile(dialect=POSTGRESQL)  # type: ignore[attr-defined]
    assert isinstance(compiled, SQLCompiler)
    wanted = set(statement._names) - set(statement._defaults)  # SQLite has an OFFSET beside LIMIT
    assert set(compiled.params) - set(statement._defaults) == wanted
    text = str(compiled)
    for word in ("INSERT OR", "REPLACE INTO", "PRAGMA", "datetime(", "ifnull(", " IS ?"):
        assert word not in text
        assert word not in statement.sql


def test_values_are_named_and_one_that_is_missing_is_noticed() -> None:
    accounts = table(Account)
    statement = Statement(select(accounts.c.id).where(accounts.c.id == bindparam("account_id")))
    assert statement.sql.count("?") == 1
    with pytest.raises(KeyError, match="account_id"):
        statement._arguments({})
    assert statement._arguments({"account_id": "a"}) == ["a"]


ONE_ROW = {"catalog_state"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world_in(tmp_path_factory.mktemp("plans")) as made:
        yield made


def plan_of(world: World, statement: str) -> list[str]:
    parameters = [None] * statement.count("?")
    with world.database.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [detail for *_, detail in cursor.fetchall()]


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_reads_no_table_from_end_to_end(world: World, name: str) -> None:
    """A bridge two years old has millions of calls: what runs by itself must not read them all."""
    for step in plan_of(world, STATEMENTS[name].sql):
        assert not step.startswith("SCAN") or step.split()[1] in ONE_ROW, step


def test_open_holds_are_found_by_their_index_in_the_orm_as_well(world: World) -> None:
    dialect = sqlite.dialect(paramstyle="qmark")
    counted = select(Hold.state, func.count()).where(is_open(Hold.state)).group_by(Hold.state)
    (step, *_) = plan_of(world, str(counted.compile(dialect=dialect)))
    assert "ix_holds_open" in step
