"""The audit of the books: whether every invariant of docs/money.md holds, and where not."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, exists, func, not_, or_, select
from sqlalchemy.orm import Session, aliased

from modelbridge import clock
from modelbridge.ledger.windows import window_end
from modelbridge.money import MAX_NANOS, USAGE_CLASSES, Price, Usage, cost_nanos, format_amount
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
        _kinds,
        _held,
        _spending_of_keys,
        _spending_of_accounts,
        _windows_missing,
        _postings_and_holds,
        _postings_elsewhere,
        _postings_twice,
        _attempts,
        _receipts,
        _receipts_missing,
        _costs_without_charge,
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


def _windows_missing(session: Session) -> Iterator[str]:
    """An open hold counts in the windows of its admission."""
    for subject, start in (
        (Hold.key_id, Hold.key_window_start),
        (Hold.account_id, Hold.account_window_start),
    ):
        window = exists().where(Spending.subject_id == subject, Spending.window_start == start)
        for hold_id, name in session.execute(
            select(Hold.id, subject).where(Hold.state.in_(OPEN_STATES), ~window)
        ):
            yield f"{name}: has no row for the window of {hold_id}"


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
                Hold.state.in_(OPEN_STATES) != Hold.resolved_at.is_(None),
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


def _receipts(session: Session) -> Iterator[str]:
    """Every receipt, reckoned again from its usage, price and exchange rate, gives its cost."""
    prices = {
        version: Price.from_json(price)
        for version, price in session.execute(select(PriceVersion.id, PriceVersion.price))
    }
    rates = {row.version: row.aud_per_usd_nanos for row in session.scalars(select(FxVersion))}
    calls = session.execute(
        select(Call, Hold, Shortfall.amount_nanos)
        .join(Hold, Hold.id == Call.hold_id)
        .join(Shortfall, Shortfall.hold_id == Hold.id, isouter=True)
        .where(Hold.state == "posted")
        .execution_options(yield_per=500)
    )
    for call, hold, shortfall in calls:
        if call.price_version is None or call.fx_version != hold.fx_version:
            yield f"{call.id}: its receipt names no price, or its exchange rate is not its hold's"
            continue
        cost = cost_nanos(usage_of(call), prices[call.price_version], rates[hold.fx_version])
        charge = min(cost, hold.amount_nanos)
        if not call.cost_nanos == hold.charged_nanos == charge:
            yield (
                f"{call.id}: its receipt says AUD {format_amount(call.cost_nanos or 0)}, "
                f"reckoned again it is AUD {format_amount(charge)}"
            )
        if (shortfall or 0) != min(cost - charge, MAX_NANOS):
            yield (
                f"{call.id}: its shortfall is AUD {format_amount(shortfall or 0)}, "
                f"reckoned again it is AUD {format_amount(cost - charge)}"
            )


def usage_of(call: Call) -> Usage:
    """The token counts of a receipt."""
    return Usage(**{name: getattr(call, f"{name}_tokens") for name in USAGE_CLASSES})


def _receipts_missing(session: Session) -> Iterator[str]:
    for hold_id in session.scalars(
        select(Hold.id).where(Hold.state == "posted", ~exists().where(Call.hold_id == Hold.id))
    ):
        yield f"{hold_id}: charged without a receipt"


def _costs_without_charge(session: Session) -> Iterator[str]:
    rows = (
        select(Call.id, Call.cost_nanos)
        .join(Hold, Hold.id == Call.hold_id, isouter=True)
        .where(Call.cost_nanos > 0, Hold.state.is_distinct_from("posted"))
    )
    for call_id, cost in session.execute(rows):
        yield f"{call_id}: costs AUD {format_amount(cost or 0)}, but nothing was charged"


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
