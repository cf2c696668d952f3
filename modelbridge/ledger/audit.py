"""The audit of the books: whether every invariant of docs/money.md holds, and where not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy import ColumnElement, and_, exists, func, not_, or_, select
from sqlalchemy.orm import Session, aliased

from modelbridge.ledger import audit_receipts as receipts
from modelbridge.ledger import audit_windows as windows
from modelbridge.store.tables import (
    Account,
    Attempt,
    BalanceTransaction,
    Base,
    Call,
    DailyUsage,
    Hold,
    Shortfall,
    is_open,
)

MOST_PROBLEMS = 100


@dataclass(slots=True)
class BooksReport:
    """What the audit found. `counts` are numbers of rows by name."""

    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every invariant holds."""
        return not self.problems


def check_books(session: Session, rest: Callable[[], None] = lambda: None) -> BooksReport:
    """Audit everything, in one consistent state of the database.

    `rest` is called between the steps, each of which looks at one state only. It may move on to a
    later one: what a step asks for holds after every commit, and what is wrong mends itself never.
    """
    report = BooksReport(counts=_counts(session))
    for check in (
        _balances,
        _running_balances,
        _kinds,
        _held,
        windows.spending_of_keys,
        windows.spending_of_accounts,
        windows.missing,
        _postings_and_holds,
        _postings_elsewhere,
        _postings_twice,
        _attempts,
        partial(receipts.wrong, rest=rest),
        receipts.missing,
        receipts.without_charge,
        _daily_usage,
        _refunds,
    ):
        for problem in check(session):
            if len(report.problems) < MOST_PROBLEMS:
                report.problems.append(problem)
        rest()
    return report


def _counts(session: Session) -> dict[str, int]:
    def count(what: type[Base], *where: ColumnElement[bool]) -> int:
        return session.scalar(select(func.count()).select_from(what).where(*where)) or 0

    return {
        "accounts": count(Account),
        "balance_transactions": count(BalanceTransaction),
        "holds": count(Hold),
        "open_holds": count(Hold, is_open(Hold.state)),
        "unknown_holds": count(Hold, Hold.state == "unknown"),
        "shortfalls": count(Shortfall),
    }


def _balances(session: Session) -> Iterator[str]:
    posted = (
        select(func.coalesce(func.sum(BalanceTransaction.amount_nanos), 0))
        .where(BalanceTransaction.account_id == Account.id)
        .scalar_subquery()
    )
    for account_id, balance, total in session.execute(
        select(Account.id, Account.balance_nanos, posted).where(Account.balance_nanos != posted)
    ):
        yield f"{account_id}: balance {balance} is not the sum of its transactions {total}"


def _running_balances(session: Session) -> Iterator[str]:
    running = func.sum(BalanceTransaction.amount_nanos).over(
        partition_by=BalanceTransaction.account_id, order_by=BalanceTransaction.sequence
    )
    lines = select(
        BalanceTransaction.id, BalanceTransaction.balance_after_nanos, running.label("running")
    ).subquery()
    for row in session.execute(select(lines).where(lines.c.balance_after_nanos != lines.c.running)):
        yield f"{row.id}: running balance {row.balance_after_nanos} should be {row.running}"


def _kinds(session: Session) -> Iterator[str]:
    """A top-up adds, and a refund gives a charge back."""
    rows = select(
        BalanceTransaction.id,
        BalanceTransaction.kind,
        BalanceTransaction.amount_nanos,
        BalanceTransaction.refunds_id,
    ).where(
        or_(
            and_(
                BalanceTransaction.kind.in_(("top_up", "refund")),
                BalanceTransaction.amount_nanos <= 0,
            ),
            (BalanceTransaction.kind == "refund") != BalanceTransaction.refunds_id.is_not(None),
        )
    )
    for row in session.execute(rows):
        yield f"{row.id}: a {row.kind} of {row.amount_nanos}, which gives back {row.refunds_id}"


def _held(session: Session) -> Iterator[str]:
    holds = (
        select(Hold.account_id, func.sum(Hold.amount_nanos).label("sum"))
        .where(is_open(Hold.state))
        .group_by(Hold.account_id)
        .subquery()
    )
    total = func.coalesce(holds.c.sum, 0)
    for account_id, held, open_holds in session.execute(
        select(Account.id, Account.held_nanos, total)
        .join(holds, holds.c.account_id == Account.id, isouter=True)
        .where(Account.held_nanos != total)
    ):
        yield f"{account_id}: held {held} is not the sum of its open holds {open_holds}"
    for account_id in session.scalars(
        select(Account.id).where(Account.balance_nanos - Account.held_nanos < 0)
    ):
        yield f"{account_id}: more is held than there is"


def _postings_and_holds(session: Session) -> Iterator[str]:
    """A posted hold has one usage of the same amount, and no other hold has any."""
    paired = session.execute(
        select(
            Hold.id,
            Hold.state,
            Hold.amount_nanos,
            Hold.charged_nanos,
            BalanceTransaction.amount_nanos,
        )
        .join(BalanceTransaction, BalanceTransaction.hold_id == Hold.id, isouter=True)
        .where(
            or_(
                and_(Hold.state == "posted", BalanceTransaction.id.is_(None)),
                and_(Hold.state != "posted", BalanceTransaction.id.is_not(None)),
                and_(
                    Hold.state == "posted",
                    Hold.charged_nanos + BalanceTransaction.amount_nanos != 0,
                ),
                (Hold.state == "posted") != Hold.charged_nanos.is_not(None),
                not_(Hold.charged_nanos.between(0, Hold.amount_nanos)),
                is_open(Hold.state) != Hold.resolved_at.is_(None),
            )
        )
    )
    for hold_id, state, held, charged, amount in paired:
        yield f"{hold_id}: {state}, charged {charged} of {held}, but its usage is {amount}"


def _postings_elsewhere(session: Session) -> Iterator[str]:
    """A usage has its hold's account, key and moment of admission."""
    rows = (
        select(BalanceTransaction.id)
        .join(Hold, Hold.id == BalanceTransaction.hold_id)
        .where(
            or_(
                BalanceTransaction.account_id != Hold.account_id,
                BalanceTransaction.key_id.is_distinct_from(Hold.key_id),
                BalanceTransaction.admitted_at.is_distinct_from(Hold.admitted_at),
            )
        )
    )
    for posting_id in session.scalars(rows):
        yield f"{posting_id}: is not posted where its hold was placed"


def _postings_twice(session: Session) -> Iterator[str]:
    rows = (
        select(BalanceTransaction.hold_id)
        .where(BalanceTransaction.hold_id.is_not(None))
        .group_by(BalanceTransaction.hold_id)
        .having(func.count() > 1)
    )
    for hold_id in session.scalars(rows):
        yield f"{hold_id}: was charged twice"


def _attempts(session: Session) -> Iterator[str]:
    """Every hold has a try at an upstream on record."""
    for hold_id in session.scalars(
        select(Hold.id).where(
            ~exists().where(Attempt.call_id == Hold.call_id, Attempt.hold_id == Hold.id)
        )
    ):
        yield f"{hold_id}: held without an attempt"


def _daily_usage(session: Session) -> Iterator[str]:
    """The totals by day, which pages show, add up to what the receipts say."""
    days = select(DailyUsage.account_id, func.sum(DailyUsage.cost_nanos))
    shown = {one: total for one, total in session.execute(days.group_by(DailyUsage.account_id))}
    receipts = select(Call.account_id, func.sum(Call.cost_nanos)).where(
        Call.account_id.is_not(None)
    )
    told = {one: total or 0 for one, total in session.execute(receipts.group_by(Call.account_id))}
    for account_id in sorted({str(one) for one in (*shown, *told)}):
        by_day, by_call = shown.get(account_id, 0), told.get(account_id, 0)
        if by_day != by_call:
            yield f"{account_id}: its days add up to {by_day}, its receipts to {by_call}"


def _refunds(session: Session) -> Iterator[str]:
    charge, given = aliased(BalanceTransaction), aliased(BalanceTransaction)
    over = (
        select(charge.id, charge.amount_nanos, func.sum(given.amount_nanos).label("given"))
        .join(given, given.refunds_id == charge.id)
        .group_by(charge.id, charge.amount_nanos)
        .having(func.sum(given.amount_nanos) > -charge.amount_nanos)
    )
    for charge_id, amount, total in session.execute(over):
        yield f"{charge_id}: {total} given back of a charge of {-amount}"
    elsewhere = (
        select(given.id)
        .join(charge, charge.id == given.refunds_id)
        .where(given.account_id != charge.account_id)
    )
    for refund_id in session.scalars(elsewhere):
        yield f"{refund_id}: was given back to another account"
