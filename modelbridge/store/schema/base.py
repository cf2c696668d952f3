"""The base of all tables: names of constraints, column types, and the way to a Core table."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    MetaData,
    SQLColumnExpression,
    Table,
    literal_column,
)
from sqlalchemy.orm import DeclarativeBase

from modelbridge.store.columns import Json, Moment

OPEN_STATES = ("held", "unknown")


class Base(DeclarativeBase):
    """The schema."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment, int: BigInteger, list[str]: Json, dict[str, Any]: Json}


def is_open(state: SQLColumnExpression[str]) -> ColumnElement[bool]:
    """Whether a hold's state is an open one, in the words of the index of open holds.

    SQLite takes such an index only for a condition that says, without parameters, what the index
    says; or else it reads every hold there ever was.
    """
    return state.in_([literal_column(f"'{name}'") for name in OPEN_STATES])


def table(entity: type[Base]) -> Table:
    """The Core table of a class."""
    found = entity.__table__
    assert isinstance(found, Table)  # noqa: S101  what mapped classes have
    return found
