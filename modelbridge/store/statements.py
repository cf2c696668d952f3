"""Statements of the money path: written in SQLAlchemy Core, compiled once, run on a DBAPI cursor.

The same SQL on every database that SQLAlchemy compiles for, at a tenth of the cost of Core's own
execution (docs/decisions/0002-statements-on-a-cursor.md). Values pass as they are: moments as
microseconds, JSON as text.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlalchemy import Executable
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

_DIALECT = sqlite.dialect(paramstyle="qmark")


class Cursor(Protocol):
    """What we use of a DBAPI cursor (PEP 249)."""

    @property
    def rowcount(self) -> int:
        """Rows that the last statement changed."""

    def execute(self, operation: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """Every remaining row."""


class Statement:
    """One statement with named parameters. `core`: as SQLAlchemy knows it, for any database."""

    __slots__ = ("_arguments", "_defaults", "_names", "core", "sql")

    def __init__(self, statement: Executable) -> None:
        self.core = statement
        compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)  # noqa: S101
        self.sql = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._defaults = {
            name: bind.value for name, bind in compiled.binds.items() if not bind.required
        }
        self._arguments = _picker(self._names, self._defaults)

    def run(self, cursor: Cursor, **values: Any) -> int:
        """Execute; returns the number of rows changed. Raises KeyError for a missing value."""
        cursor.execute(self.sql, self._arguments(values))
        return cursor.rowcount

    def row(self, cursor: Cursor, **values: Any) -> Any | None:
        """The first row as a tuple, or None."""
        cursor.execute(self.sql, self._arguments(values))
        return cursor.fetchone()

    def rows(self, cursor: Cursor, **values: Any) -> list[Any]:
        """Every row."""
        cursor.execute(self.sql, self._arguments(values))
        return cursor.fetchall()


def _picker(names: Sequence[str], known: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """Values by name into the order of the question marks; `known` stand in the statement."""
    if len(names) < 2:
        return lambda values: [(known | values)[name] for name in names]
    pick = operator.itemgetter(*names)
    return (lambda values: pick(known | values)) if known else pick
