"""The audit of spending: what keys and accounts spent and hold in each window of their limits."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, and_, case, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelbridge import clock
from modelbridge.ledger.windows import window_end
from modelbridge.store.tables import (
    Account,
    ApiKey,
    BalanceTransaction,
    Hold,
    Spending,
    is_open,
)


def spending_of_keys(session: Session) -> Iterator[str]:
    """What a key spent and holds is its usage and its open holds, of each window."""
    sums = (
        _sums(ApiKey.limit_window, BalanceTransaction.key_id, Hold.key_id, Hold.key_window_start)
        .join(ApiKey, ApiKey.id == Spending.subject_id)
        .join(Account, Account.id == ApiKey.account_id)
    )
    yield from _wrong(session, sums)


def spending_of_accounts(session: Session) -> Iterator[str]:
    """The same of an account."""
    sums = _sums(
        Account.limit_window,
        BalanceTransaction.account_id,
        Hold.account_id,
        Hold.account_window_start,
    ).join(Account, Account.id == Spending.subject_id)
    yield from _wrong(session, sums)


def missing(session: Session) -> Iterator[str]:
    """An open hold counts in the windows of its admission."""
    for subject, start in (
        (Hold.key_id, Hold.key_window_start),
        (Hold.account_id, Hold.account_window_start),
    ):
        window = exists().where(Spending.subject_id == subject, Spending.window_start == start)
        for hold_id, name in session.execute(
            select(Hold.id, subject).where(is_open(Hold.state), ~window)
        ):
            yield f"{name}: has no row for the window of {hold_id}"


def _sums(
    window: InstrumentedAttribute[str],
    usage_of: InstrumentedAttribute[Any],
    holds_of: InstrumentedAttribute[str],
    held_in: InstrumentedAttribute[int],
) -> Select[tuple[str, int, int, int, int]]:
    """Every window's row, and beside it what its postings and its open holds add up to.

    A window is a range of the postings' index, so each posting is read once.
    """
    holds = (
        select(holds_of.label("of"), held_in.label("in"), func.sum(Hold.amount_nanos).label("sum"))
        .where(is_open(Hold.state))
        .group_by(holds_of, held_in)
        .subquery()
    )
    usage = (
        select(func.coalesce(func.sum(-BalanceTransaction.amount_nanos), 0))
        .where(usage_of == Spending.subject_id, BalanceTransaction.kind == "usage")
        .correlate(Spending, Account, ApiKey)
    )
    within = usage.where(
        BalanceTransaction.admitted_at >= Spending.window_start,
        BalanceTransaction.admitted_at
        < func.window_end(window, Account.time_zone, Spending.window_start),
    )
    return select(
        Spending.subject_id,
        Spending.spent_nanos,
        case(
            (Spending.window_start == 0, usage.scalar_subquery()), else_=within.scalar_subquery()
        ).label("usage"),
        Spending.held_nanos,
        func.coalesce(holds.c.sum, 0).label("holds"),
    ).join(
        holds,
        and_(holds.c.of == Spending.subject_id, holds.c["in"] == Spending.window_start),
        isouter=True,
    )


def _wrong(session: Session, sums: Select[tuple[str, int, int, int, int]]) -> Iterator[str]:
    connection: Any = session.connection().connection.driver_connection
    connection.create_function("window_end", 3, _window_end, deterministic=True)
    lines = sums.subquery()
    differ = or_(lines.c.spent_nanos != lines.c.usage, lines.c.held_nanos != lines.c.holds)
    for subject, spent, usage, held, holds in session.execute(select(lines).where(differ)):
        if spent != usage:
            yield f"{subject}: spent {spent} is not the sum of its usage {usage}"
        if held != holds:
            yield f"{subject}: held {held} is not the sum of its open holds {holds}"


@lru_cache(maxsize=65_536)
def _window_end(window: str, time_zone: str, start: int) -> int | None:
    """For SQL, which knows no time zones: when a window ends, in microseconds since 1970."""
    end = window_end(window, time_zone, clock.from_micros(start))
    return None if end is None else clock.to_micros(end)
