"""Billing: the balance transactions of an account, and its statements by month."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.dashboard import access, names, periods, usage_query
from modelbridge.dashboard.exports import csv_response
from modelbridge.dashboard.paging import place_of
from modelbridge.dashboard.periods import Period
from modelbridge.dashboard.scope import load_scope, scopes
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.usage_query import Total, Wanted
from modelbridge.identity import permissions
from modelbridge.ledger import accounts, history
from modelbridge.ledger.history import Statement
from modelbridge.money import format_amount
from modelbridge.store.database import Database
from modelbridge.store.tables import BalanceTransaction, Hold, User

pages = Blueprint("billing", __name__, url_prefix="/billing")

EXPORT_ROWS = 1_000
KINDS = {
    "top_up": "Top-up", "usage": "Usage", "adjustment": "Adjustment", "refund": "Refund",
}  # fmt: skip
_HEADINGS = (
    "time_utc", "kind", "amount_aud", "balance_aud", "key", "model", "call", "reference", "note",
    "transaction",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Month:
    """A month's statement. What is summed `by_…` counts calls by the day on which they began.

    `edges_nanos`: what calls took that began in another month than they were posted in.
    """

    period: Period
    statement: Statement
    by_model: Mapping[str, Total]
    by_key: Mapping[str, Total]
    by_person: Mapping[str, Total]
    edges_nanos: int


@pages.get("")
def index() -> ResponseReturnValue:
    """The balance and everything that was ever posted, page by page."""
    only_payments = request.args.get("show") == "payments"
    with bridge().database.reading() as session:
        scope = load_scope(session, permissions.TEAM_BILLING)
        page = history.page(session, scope.account_id, read_sequence(), payments_only=only_payments)
        return render_template(
            "billing/index.html",
            scope=scope,
            scopes=scopes(session, access.the_user(), permissions.TEAM_BILLING),
            account=accounts.account_view(session, scope.account_id),
            page=page,
            details=details_of(session, page.transactions),
            only_payments=only_payments,
            months=_months(session, scope.account_id, scope.time_zone),
            kinds=KINDS,
        )


@pages.get("/statements/<month>")
def statement(month: str) -> ResponseReturnValue:
    """One month on a page that prints well."""
    with bridge().database.reading() as session:
        scope = load_scope(session, permissions.TEAM_BILLING)
        found = _month(session, scope.account_id, _period(month, scope.time_zone))
        keys = names.keys_of_account(session, scope.account_id)
        people = {**names.people_of_account(session, scope.account_id), "": names.NOBODY}
        owner = access.the_user().email if scope.team is None else scope.label
    return render_template(
        "billing/statement.html",
        scope=scope,
        owner=owner,
        month=found,
        keys=keys,
        people=people if scope.team else None,
        kinds=KINDS,
    )


@pages.get("/statements/<month>.csv")
def statement_csv(month: str) -> Response:
    """Every transaction of one month, oldest first, with the balance after each."""
    with bridge().database.reading() as session:
        scope = load_scope(session, permissions.TEAM_BILLING)
        period = _period(month, scope.time_zone)
        found = history.statement(session, scope.account_id, period.start, period.end)
        keys = names.keys_of_account(session, scope.account_id)
    chunks = _chunks(bridge().database, scope.account_id, period, found, keys)
    return csv_response(f"statement-{month}.csv", _HEADINGS, chunks)


def read_sequence() -> int | None:
    """The place that `?before=` names, None for the first page."""
    return place_of(request.args.get("before", ""), most_digits=18)


@dataclass(frozen=True, slots=True)
class Details:
    """What a list of transactions says beside the amounts, by hold, key and person."""

    holds: Mapping[str, Hold]
    keys: Mapping[str, str]
    people: Mapping[str, str]
    charges: Mapping[str, Hold]


def details_of(session: Session, transactions: Sequence[BalanceTransaction]) -> Details:
    """The calls, keys and persons behind the transactions of one page.

    `charges` has the holds of refunded charges, by the charge's id.
    """
    hold_ids = [row.hold_id for row in transactions if row.hold_id]
    holds = {hold.id: hold for hold in session.scalars(select(Hold).where(Hold.id.in_(hold_ids)))}
    refunded = [row.refunds_id for row in transactions if row.refunds_id]
    charges = session.execute(
        select(BalanceTransaction.id, Hold)
        .join(Hold, Hold.id == BalanceTransaction.hold_id)
        .where(BalanceTransaction.id.in_(refunded))
    )
    actors = {row.actor_id for row in transactions if row.actor_id}
    people = session.execute(select(User.id, User.email).where(User.id.in_(actors)))
    return Details(
        holds=holds,
        keys=names.of_keys(session, {row.key_id for row in transactions if row.key_id}),
        people={user_id: email for user_id, email in people},
        charges={charge_id: hold for charge_id, hold in charges},
    )


def _months(session: Session, account_id: str, time_zone: str) -> list[date]:
    """The first days of the months since the first transaction, newest first."""
    first = history.first_posting(session, account_id)
    month = periods.today(time_zone).replace(day=1)
    if first is None:
        return [month]
    begun = periods.day_of(first.created_at, time_zone)
    found: list[date] = []
    while month >= begun.replace(day=1) or not found:
        found.append(month)
        month = (month - timedelta(days=1)).replace(day=1)
    return found


def _period(month: str, time_zone: str) -> Period:
    """The month that was written as 2026-11. Aborts with 404 for anything else."""
    try:
        first = date.fromisoformat(f"{month}-01")
    except ValueError:
        abort(404)
    if not periods.EARLIEST <= first <= periods.LATEST or len(month) != len("2026-11"):
        abort(404)
    return periods.month_of(first, time_zone)


def _month(session: Session, account_id: str, period: Period) -> Month:
    found = history.statement(session, account_id, period.start, period.end)
    sums = {
        by: _by_name(usage_query.totals(session, Wanted(account_id, period), by))
        for by in ("model", "key", "person")
    }
    counted = sum(total.cost_nanos for total in sums["model"].values())
    by = (sums["model"], sums["key"], sums["person"])
    return Month(period, found, *by, edges_nanos=-found.usage_nanos - counted)


def _by_name(sums: Mapping[tuple[str, str], Total]) -> dict[str, Total]:
    """Without the days and without what cost nothing, the dearest first."""
    grouped: dict[str, Total] = defaultdict(Total)
    for (_, name), total in sums.items():
        grouped[name] += total
    paid = [(name, total) for name, total in grouped.items() if total.cost_nanos]
    return dict(sorted(paid, key=lambda one: (-one[1].cost_nanos, one[0])))


def _chunks(
    database: Database, account_id: str, period: Period, found: Statement, keys: Mapping[str, str]
) -> Iterator[list[Sequence[object]]]:
    """The opening balance, every transaction, the closing balance."""
    yield [_edge(period.start, "opening balance", found.opening_nanos)]
    first = found.first_sequence
    while True:
        with database.reading() as session:
            rows = history.chunk(session, account_id, first, found.end_sequence, EXPORT_ROWS)
            details = details_of(session, rows)
        yield [_row(row, details, keys) for row in rows]
        if len(rows) < EXPORT_ROWS:
            break
        first = rows[-1].sequence + 1
    yield [_edge(period.end, "closing balance", found.closing_nanos)]


def _edge(moment: object, words: str, nanos: int) -> Sequence[object]:
    return (moment, words, "", format_amount(nanos), "", "", "", "", "", "")


def _row(row: BalanceTransaction, details: Details, keys: Mapping[str, str]) -> Sequence[object]:
    hold = details.holds.get(row.hold_id or "") or details.charges.get(row.refunds_id or "")
    return (
        row.created_at.isoformat(timespec="microseconds"), row.kind,
        format_amount(row.amount_nanos), format_amount(row.balance_after_nanos),
        keys.get(row.key_id or "", ""), hold.model if hold else "", hold.call_id if hold else "",
        row.reference, row.note, row.id,
    )  # fmt: skip
