"""The history of an account: its balance transactions page by page, and by month.

Transactions are read along `sequence`, the order in which they were posted, so that the balance
after each is the one before it plus its amount. Moments of posting grow with it: where a month
begins is found by halving, which needs no index that every call would have to keep up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, literal_column, select
from sqlalchemy.orm import Session

from modelbridge.store.tables import BalanceTransaction

PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Page:
    """Transactions, newest first; `older` is what the next page comes before, None on the last."""

    transactions: Sequence[BalanceTransaction]
    older: int | None


@dataclass(frozen=True, slots=True)
class Statement:
    """An account over some time, in nano-AUD: `opening`, what was posted, and `closing`.

    `payments` are all transactions but usage, oldest first; `usage_nanos` is below zero.
    Its transactions have `first_sequence <= sequence < end_sequence`.
    """

    opening_nanos: int
    closing_nanos: int
    payments: Sequence[BalanceTransaction]
    first_sequence: int
    end_sequence: int

    def total_nanos(self, kind: str) -> int:
        """The sum of the payments of one kind."""
        return sum(row.amount_nanos for row in self.payments if row.kind == kind)

    @property
    def usage_nanos(self) -> int:
        """What calls took: whatever the payments don't explain."""
        paid = sum(row.amount_nanos for row in self.payments)
        return self.closing_nanos - self.opening_nanos - paid


def page(
    session: Session, account_id: str, before: int | None = None, *, payments_only: bool = False
) -> Page:
    """Fifty transactions, those older than the sequence `before`."""
    query = _of(account_id)
    if payments_only:
        query = query.where(_IS_PAYMENT)
    if before is not None:
        query = query.where(BalanceTransaction.sequence < before)
    newest_first = query.order_by(BalanceTransaction.sequence.desc()).limit(PAGE_ROWS + 1)
    found = session.scalars(newest_first).all()
    older = found[PAGE_ROWS - 1].sequence if len(found) > PAGE_ROWS else None
    return Page(found[:PAGE_ROWS], older)


def statement(session: Session, account_id: str, start: datetime, end: datetime) -> Statement:
    """What was posted from `start` until just before `end`."""
    first, after = _first_since(session, account_id, start), _first_since(session, account_id, end)
    payments = session.scalars(
        _of(account_id)
        .where(_IS_PAYMENT, _sequence_between(first, after))
        .order_by(BalanceTransaction.sequence)
    ).all()
    return Statement(
        opening_nanos=_balance_before(session, account_id, first),
        closing_nanos=_balance_before(session, account_id, after),
        payments=payments,
        first_sequence=first,
        end_sequence=after,
    )


def chunk(
    session: Session, account_id: str, first: int, end: int, rows: int
) -> Sequence[BalanceTransaction]:
    """At most that many transactions, oldest first, with `first <= sequence < end`."""
    query = _of(account_id).where(_sequence_between(first, end))
    return session.scalars(query.order_by(BalanceTransaction.sequence).limit(rows)).all()


def first_posting(session: Session, account_id: str) -> BalanceTransaction | None:
    """The oldest transaction of the account, None if it has none."""
    return session.scalar(_of(account_id).order_by(BalanceTransaction.sequence).limit(1))


def charge_of(session: Session, hold_id: str) -> BalanceTransaction | None:
    """The usage that a hold was posted as, None if it was not."""
    return session.scalar(select(BalanceTransaction).where(BalanceTransaction.hold_id == hold_id))


def refunds_of(session: Session, charge: BalanceTransaction) -> Sequence[BalanceTransaction]:
    """What was given back of a charge, oldest first."""
    query = select(BalanceTransaction).where(BalanceTransaction.refunds_id == charge.id)
    return session.scalars(query.order_by(BalanceTransaction.sequence)).all()


# Word for word the condition of the index `ix_balance_transactions_payments`: a bound parameter
# would not be recognised.
_IS_PAYMENT: ColumnElement[bool] = BalanceTransaction.kind != literal_column("'usage'")


def _of(account_id: str) -> Select[BalanceTransaction]:
    return select(BalanceTransaction).where(BalanceTransaction.account_id == account_id)


def _sequence_between(first: int, end: int) -> ColumnElement[bool]:
    sequence = BalanceTransaction.sequence
    return (sequence >= first) & (sequence < end)


def _first_since(session: Session, account_id: str, moment: datetime) -> int:
    """The least sequence from which on everything was posted at `moment` or later."""
    newest = session.scalar(
        select(func.max(BalanceTransaction.sequence)).where(
            BalanceTransaction.account_id == account_id
        )
    )
    low, high = 1, (newest or 0) + 1
    while low < high:
        middle = (low + high) // 2
        row = session.execute(
            select(BalanceTransaction.sequence, BalanceTransaction.created_at)
            .where(
                BalanceTransaction.account_id == account_id, BalanceTransaction.sequence >= middle
            )
            .order_by(BalanceTransaction.sequence)
            .limit(1)
        ).one()
        if row.created_at >= moment:
            high = middle
        else:
            low = row.sequence + 1
    return low


def _balance_before(session: Session, account_id: str, sequence: int) -> int:
    last = (
        select(BalanceTransaction.balance_after_nanos)
        .where(BalanceTransaction.account_id == account_id, BalanceTransaction.sequence < sequence)
        .order_by(BalanceTransaction.sequence.desc())
        .limit(1)
    )
    return session.scalar(last) or 0
