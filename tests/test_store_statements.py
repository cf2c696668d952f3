"""Statements of the money path: named values, the same everywhere, on PostgreSQL too."""

import pytest
from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.compiler import SQLCompiler

from modelbridge import factory
from modelbridge.gateway import journal
from modelbridge.identity import callers
from modelbridge.ledger import sql
from modelbridge.store.statements import Statement
from modelbridge.store.tables import Account, table

POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]
STATEMENTS = {
    f"{module.__name__}.{name}": value
    for module in (sql, journal, callers, factory)
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
    assert set(compiled.params) == set(statement._names)
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
