"""Spending limits of keys and accounts: one mechanism, one table (`spending`)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import available_timezones

from sqlalchemy import ColumnElement, delete, select, tuple_
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.ledger.windows import WINDOWS, window_start
from modelbridge.money import MAX_NANOS
from modelbridge.store.tables import (
    Account,
    ApiKey,
    BalanceTransaction,
    Hold,
    Spending,
    is_open,
)


@dataclass(frozen=True, slots=True)
class KeySpending:
    """What a key spent and holds in the present window of its limit, in nano-AUD."""

    spent_nanos: int = 0
    held_nanos: int = 0


def key_spending(session: Session, keys: Iterable[ApiKey]) -> dict[str, KeySpending]:
    """For each key's id, what it spent and holds now."""
    starts = {
        key.id: window_start(key.limit_window, _zone(session, key), clock.now()) for key in keys
    }
    if not starts:
        return {}
    found = session.scalars(
        select(Spending)
        .where(tuple_(Spending.subject_id, Spending.window_start).in_(list(starts.items())))
        .execution_options(populate_existing=True)
    )
    spent = {row.subject_id: KeySpending(row.spent_nanos, row.held_nanos) for row in found}
    return {key_id: spent.get(key_id, KeySpending()) for key_id in starts}


def set_key_limit(
    session: Session, key_id: str, limit_nanos: int | None, window: str = "none"
) -> None:
    """The key's limit and window are these from the next call on; nothing is clawed back.

    Raises ValueError.
    """
    _check(limit_nanos, window)
    key = session.get_one(ApiKey, key_id)
    key.limit_nanos = limit_nanos
    if key.limit_window != window:
        key.limit_window = window
        _reseat_key(session, key, _zone(session, key))
    session.flush()


def set_account_limit(
    session: Session, account_id: str, limit_nanos: int | None, window: str = "none"
) -> None:
    """The account's own limit and window are these from the next call on. Raises ValueError."""
    _check(limit_nanos, window)
    account = session.get_one(Account, account_id)
    account.limit_nanos = limit_nanos
    if account.limit_window != window:
        account.limit_window = window
        _reseat_account(session, account)
    session.flush()


def set_account_time_zone(session: Session, account_id: str, time_zone: str) -> None:
    """The account's days, weeks and months are that zone's from now on.

    What it and its keys spent and hold is sorted into the new windows. Raises ValueError for a
    zone that the IANA database doesn't have.
    """
    if time_zone not in available_timezones():
        raise ValueError(f"time_zone: {time_zone!r} is not a zone such as Australia/Sydney")
    account = session.get_one(Account, account_id)
    if account.time_zone == time_zone:
        return
    account.time_zone = time_zone
    if account.limit_window != "none":
        _reseat_account(session, account)
    for key in session.scalars(
        select(ApiKey).where(ApiKey.account_id == account_id, ApiKey.limit_window != "none")
    ):
        _reseat_key(session, key, time_zone)
    session.flush()


def _reseat_account(session: Session, account: Account) -> None:
    seats = _Seats(account.id, account.limit_window, account.time_zone, "account_window_start")
    _reseat(
        session,
        seats,
        Hold.account_id == account.id,
        BalanceTransaction.account_id == account.id,
    )


def _reseat_key(session: Session, key: ApiKey, time_zone: str) -> None:
    seats = _Seats(key.id, key.limit_window, time_zone, "key_window_start")
    _reseat(session, seats, Hold.key_id == key.id, BalanceTransaction.key_id == key.id)


@dataclass(frozen=True, slots=True)
class _Seats:
    """Whose windows they are, how they are cut, and where a hold remembers its own."""

    subject_id: str
    window: str
    time_zone: str
    column: str

    def start_of(self, moment: datetime) -> int:
        return window_start(self.window, self.time_zone, moment)


def _reseat(
    session: Session, seats: _Seats, holds_of: ColumnElement[bool], usage_of: ColumnElement[bool]
) -> None:
    """Sort what was spent and is held into the new windows: by the moment of admission.

    Only windows that still matter get a row: the present one and those of open holds.
    """
    present = seats.start_of(clock.now())
    held: dict[int, int] = defaultdict(int)
    for hold in session.scalars(select(Hold).where(holds_of, is_open(Hold.state))):
        setattr(hold, seats.column, seats.start_of(hold.admitted_at))
        held[seats.start_of(hold.admitted_at)] += hold.amount_nanos
    since = clock.from_micros(min([present, *held]))
    spent: dict[int, int] = defaultdict(int)
    usage = select(BalanceTransaction.admitted_at, BalanceTransaction.amount_nanos).where(
        usage_of, BalanceTransaction.kind == "usage", BalanceTransaction.admitted_at >= since
    )
    for admitted_at, amount_nanos in session.execute(usage):
        assert admitted_at is not None  # noqa: S101  a usage always has one
        spent[seats.start_of(admitted_at)] -= amount_nanos
    session.execute(delete(Spending).where(Spending.subject_id == seats.subject_id))
    session.add_all(
        Spending(
            subject_id=seats.subject_id,
            window_start=start,
            spent_nanos=spent[start],
            held_nanos=held[start],
        )
        for start in {present, *held}
    )


def _check(limit_nanos: int | None, window: str) -> None:
    if window not in WINDOWS:
        raise ValueError(f"window: {window!r} is not one of {', '.join(WINDOWS)}")
    if limit_nanos is not None and not 0 <= limit_nanos <= MAX_NANOS // 2:
        raise ValueError("limit: a spending limit is 0 AUD or more")


def _zone(session: Session, key: ApiKey) -> str:
    account = session.get(Account, key.account_id) if key.account_id else None
    return account.time_zone if account else "UTC"
