"""The audit of the books: whether every invariant of docs/money.md holds, and where not."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from modelbridge import clock
from modelbridge.ledger.windows import window_end
from modelbridge.money import USAGE_CLASSES, Price, Usage, cost_nanos, format_amount
from modelbridge.store.tables import (
    OPEN_STATES,
    Account,
    ApiKey,
    Attempt,
    BalanceTransaction,
    Base,
    Call,
    DailyUsage,
    FxVersion,
    Hold,
    PriceVersion,
    Shortfall,
    Spending,
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


def check_books(session: Session) -> BooksReport:
    """Audit everything, in one consistent state of the database."""
    report = BooksReport(counts=_counts(session))
    for check in (
        _balances,
        _running_balances,
        _held,
        _spending_of_keys,
        _spending_of_accounts,
        _postings_and_holds,
        _attempts,
        _receipts,
        _receipts_missing,
        _daily_usage,
        _refunds,
    ):
        for problem in check(session):
            if len(report.problems) < MOST_PROBLEMS:
                report.problems.append(problem)
    return report


def _counts(session: Session) -> dict[str, int]:
    def count(what: type[Base], *where: ColumnElement[bool]) -> int:
        return session.scalar(select(func.count()).select_from(what).where(*where)) or 0

    return {
        "accounts": count(Account),
        "balance_transactions": count(BalanceTransaction),
        "holds": count(Hold),
        "open_holds": count(Hold, Hold.state.in_(OPEN_STATES)),
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


def _held(session: Session) -> Iterator[str]:
    open_holds = (
        select(func.coalesce(func.sum(Hold.amount_nanos), 0))
        .where(Hold.account_id == Account.id, Hold.state.in_(OPEN_STATES))
        .scalar_subquery()
    )
    for account_id, held, total in session.execute(
        select(Account.id, Account.held_nanos, open_holds).where(Account.held_nanos != open_holds)
    ):
        yield f"{account_id}: held {held} is not the sum of its open holds {total}"
    for account_id in session.scalars(
        select(Account.id).where(Account.balance_nanos - Account.held_nanos < 0)
    ):
        yield f"{account_id}: more is held than there is"


def _spending_of_keys(session: Session) -> Iterator[str]:
    rows = session.execute(
        select(Spending, ApiKey.limit_window, Account.time_zone)
        .join(ApiKey, ApiKey.id == Spending.subject_id)
        .join(Account, Account.id == ApiKey.account_id)
    )
    for row, window, time_zone in rows.yield_per(500):
        yield from _check_window(
            session,
            row,
            (window, time_zone),
            BalanceTransaction.key_id == row.subject_id,
            and_(Hold.key_id == row.subject_id, Hold.key_window_start == row.window_start),
        )


def _spending_of_accounts(session: Session) -> Iterator[str]:
    rows = session.execute(
        select(Spending, Account.limit_window, Account.time_zone).join(
            Account, Account.id == Spending.subject_id
        )
    )
    for row, window, time_zone in rows.yield_per(500):
        yield from _check_window(
            session,
            row,
            (window, time_zone),
            BalanceTransaction.account_id == row.subject_id,
            and_(Hold.account_id == row.subject_id, Hold.account_window_start == row.window_start),
        )


def _check_window(
    session: Session,
    row: Spending,
    cut: tuple[str, str],
    usage_of: ColumnElement[bool],
    holds_of: ColumnElement[bool],
) -> Iterator[str]:
    usage = select(func.coalesce(func.sum(-BalanceTransaction.amount_nanos), 0)).where(
        usage_of, BalanceTransaction.kind == "usage"
    )
    if row.window_start:
        start = clock.from_micros(row.window_start)
        end = window_end(*cut, start)
        usage = usage.where(
            BalanceTransaction.admitted_at >= start, BalanceTransaction.admitted_at < end
        )
    spent = session.scalar(usage)
    if spent != row.spent_nanos:
        yield f"{row.subject_id}: spent {row.spent_nanos} is not the sum of its usage {spent}"
    held = session.scalar(
        select(func.coalesce(func.sum(Hold.amount_nanos), 0)).where(
            holds_of, Hold.state.in_(OPEN_STATES)
        )
    )
    if held != row.held_nanos:
        yield f"{row.subject_id}: held {row.held_nanos} is not the sum of its open holds {held}"


def _postings_and_holds(session: Session) -> Iterator[str]:
    """A posted hold has one usage of the same amount, and no other hold has any."""
    paired = session.execute(
        select(Hold.id, Hold.state, Hold.charged_nanos, BalanceTransaction.amount_nanos)
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
                Hold.state.in_(OPEN_STATES) != Hold.resolved_at.is_(None),
            )
        )
    )
    for hold_id, state, charged, amount in paired:
        yield f"{hold_id}: {state}, charged {charged}, but its usage is {amount}"


def _attempts(session: Session) -> Iterator[str]:
    """Every charged call has a try at an upstream on record."""
    for hold_id in session.scalars(
        select(Hold.id).where(Hold.state == "posted", ~exists().where(Attempt.hold_id == Hold.id))
    ):
        yield f"{hold_id}: charged without an attempt"


def _receipts(session: Session) -> Iterator[str]:
    """Every receipt, reckoned again from its usage, price and exchange rate, gives its cost."""
    prices = {
        version: Price.from_json(price)
        for version, price in session.execute(select(PriceVersion.id, PriceVersion.price))
    }
    rates = {row.version: row.aud_per_usd_nanos for row in session.scalars(select(FxVersion))}
    calls = session.execute(
        select(Call, Hold)
        .join(Hold, Hold.id == Call.hold_id)
        .where(Hold.state == "posted")
        .execution_options(yield_per=500)
    )
    for call, hold in calls:
        assert call.price_version is not None and call.fx_version is not None  # noqa: S101, PT018
        cost = cost_nanos(usage_of(call), prices[call.price_version], rates[call.fx_version])
        if not call.cost_nanos == hold.charged_nanos == min(cost, hold.amount_nanos):
            yield (
                f"{call.id}: its receipt says AUD {format_amount(call.cost_nanos or 0)}, "
                f"reckoned again it is AUD {format_amount(min(cost, hold.amount_nanos))}"
            )


def usage_of(call: Call) -> Usage:
    """The token counts of a receipt."""
    return Usage(**{name: getattr(call, f"{name}_tokens") for name in USAGE_CLASSES})


def _receipts_missing(session: Session) -> Iterator[str]:
    for hold_id in session.scalars(
        select(Hold.id).where(Hold.state == "posted", ~exists().where(Call.hold_id == Hold.id))
    ):
        yield f"{hold_id}: charged without a receipt"


def _daily_usage(session: Session) -> Iterator[str]:
    """The totals by day, which pages show, add up to what the receipts say."""
    days = select(DailyUsage.account_id, func.sum(DailyUsage.cost_nanos).label("total"))
    daily = {row.account_id: row.total for row in session.execute(days.group_by("account_id"))}
    receipts = select(Call.account_id, func.sum(Call.cost_nanos).label("total")).where(
        Call.account_id.is_not(None)
    )
    for row in session.execute(receipts.group_by(Call.account_id)):
        shown = daily.get(str(row.account_id), 0)
        if (row.total or 0) != shown:
            yield f"{row.account_id}: its days add up to {shown}, its receipts to {row.total}"


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
