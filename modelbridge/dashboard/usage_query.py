"""What usage pages ask: totals from the days' sums, and calls page by page.

A million calls must not be read to show fifty. Totals come from `daily_usage`. It also tells on
which days a filter finds anything at all, so that a search for a rare model reads those days only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelbridge import clock
from modelbridge.dashboard.periods import Period
from modelbridge.store.tables import Call, DailyUsage

PAGE_ROWS = 50
# A day of any time zone is over this long before, or lasts until this long after, that day of UTC.
_ZONE_MARGIN = timedelta(hours=14)
DIMENSIONS: dict[str, InstrumentedAttribute[str]] = {
    "model": DailyUsage.model,
    "key": DailyUsage.key_id,
    "person": DailyUsage.user_id,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which calls: of one account, or of every one; None filters nothing.

    `status`: `ok`, `errors`, `left` (the client hung up) or an error's code. `user_id` "" means
    calls of nobody in particular.
    """

    account_id: str | None
    period: Period
    key_id: str | None = None
    model: str | None = None
    user_id: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over some calls; tokens include those read from and written to caches."""

    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0

    def __add__(self, other: "Total") -> "Total":
        return Total(
            self.calls + other.calls,
            self.errors + other.errors,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_nanos + other.cost_nanos,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Calls, newest first; `older` is where the next page begins, None on the last one."""

    calls: Sequence[Call]
    older: str | None


def totals(
    session: Session, wanted: Wanted, by: str, *, monthly: bool = False
) -> dict[tuple[str, str], Total]:
    """Sums by (day, model | key's id | person's id); the status is not looked at.

    `monthly`: by (month, …), YYYY-MM, where nobody looks at single days.
    """
    when = func.substr(DailyUsage.day, 1, 7).label("month") if monthly else DailyUsage.day
    what = DIMENSIONS[by]
    sums = [func.sum(getattr(DailyUsage, name)) for name in Total.__dataclass_fields__]
    query = select(when, what, *sums).where(*_days_where(wanted)).group_by(when, what)
    return {(at, name): Total(*amounts) for at, name, *amounts in session.execute(query)}


def totals_by_day(session: Session, wanted: Wanted) -> dict[str, Total]:
    """Sums by day; the status is not looked at."""
    sums = [func.sum(getattr(DailyUsage, name)) for name in Total.__dataclass_fields__]
    query = select(DailyUsage.day, *sums).where(*_days_where(wanted)).group_by(DailyUsage.day)
    return {day: Total(*amounts) for day, *amounts in session.execute(query)}


def models_called(session: Session, wanted: Wanted) -> list[str]:
    """The names of models in the period, sorted."""
    where = _days_where(replace(wanted, key_id=None, model=None, user_id=None))
    return sorted(session.scalars(select(DailyUsage.model).where(*where).distinct()))


def page_of_calls(session: Session, wanted: Wanted, before: str | None = None) -> Page:
    """Fifty calls, from the place that `before` names (a page's `older`) on."""
    found = list(_search(session, wanted, _place(before), PAGE_ROWS + 1))
    older = _name(found[PAGE_ROWS - 1]) if len(found) > PAGE_ROWS else None
    return Page(found[:PAGE_ROWS], older)


def chunk_of_calls(
    session: Session, wanted: Wanted, before: tuple[datetime, str] | None, rows: int
) -> list[Call]:
    """At most that many calls older than the place `before`: for exports, piece by piece."""
    return list(_search(session, wanted, before, rows))


def latest_calls(session: Session, account_id: str, rows: int) -> Sequence[Call]:
    """The newest calls of an account, whenever they were."""
    query = select(Call).where(Call.account_id == account_id)
    return session.scalars(_newest_first(query).limit(rows)).all()


def place_of(call: Call) -> tuple[datetime, str]:
    """Where a call stands in the order of pages."""
    return call.started_at, call.id


def _days_where(wanted: Wanted) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [
        DailyUsage.day.between(wanted.period.first.isoformat(), wanted.period.last.isoformat())
    ]
    for column, value in (
        (DailyUsage.account_id, wanted.account_id),
        (DailyUsage.key_id, wanted.key_id),
        (DailyUsage.model, wanted.model),
        (DailyUsage.user_id, wanted.user_id),
    ):
        if value is not None:
            where.append(column == value)
    return where


def _search(
    session: Session, wanted: Wanted, before: tuple[datetime, str] | None, rows: int
) -> Iterator[Call]:
    missing = rows
    for start, end in _stretches(session, wanted):
        if before is not None and start > before[0]:
            continue
        query = select(Call).where(Call.started_at >= start, Call.started_at < end)
        query = query.where(*_calls_where(wanted))
        if before is not None:
            # The first condition is what an index can seek; the second settles ties.
            query = query.where(
                Call.started_at <= before[0], tuple_(Call.started_at, Call.id) < before
            )
        found = session.scalars(_newest_first(query).limit(missing)).all()
        yield from found
        missing -= len(found)
        if not missing:
            return


def _stretches(session: Session, wanted: Wanted) -> Iterator[tuple[datetime, datetime]]:
    """The parts of the period that can hold such calls, newest first, without overlap."""
    whole = wanted.period
    if wanted.model is None and wanted.user_id is None:
        yield whole.start, whole.end  # an index finds these as they are
        return
    days = select(DailyUsage.day).where(*_days_where(wanted)).distinct()
    upper = whole.end
    for first, last in _runs([date.fromisoformat(day) for day in session.scalars(days)]):
        start = max(whole.start, _utc_midnight(first) - _ZONE_MARGIN)
        end = min(upper, _utc_midnight(last + timedelta(days=1)) + _ZONE_MARGIN)
        if start < end:
            yield start, end
            upper = start


def _utc_midnight(day: date) -> datetime:
    """When that day begins in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _runs(days: list[date]) -> Iterator[tuple[date, date]]:
    """Days that follow each other, as (first, last), newest first."""
    run: list[date] = []
    for day in sorted(days, reverse=True):
        if run and run[-1] - day > timedelta(days=1):
            yield run[-1], run[0]
            run = []
        run.append(day)
    if run:
        yield run[-1], run[0]


def _calls_where(wanted: Wanted) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = []
    if wanted.account_id is not None:
        where.append(Call.account_id == wanted.account_id)
    if wanted.key_id is not None:
        where.append(Call.key_id == wanted.key_id)
    if wanted.model is not None:
        where.append(Call.model == wanted.model)
    if wanted.user_id is not None:
        where.append(func.coalesce(Call.user_id, "") == wanted.user_id)
    if wanted.status is not None:
        where.append(_status_is(wanted.status))
    return where


def _status_is(status: str) -> ColumnElement[bool]:
    if status == "ok":
        return Call.error_code.is_(None)
    failed = Call.error_code.is_not(None)
    if status == "left":
        return and_(failed, Call.finish == "client_left")
    if status == "errors":
        return and_(failed, Call.finish != "client_left")
    return and_(failed, Call.error_code == status)


def _newest_first(query: Select[Call]) -> Select[Call]:
    return query.order_by(Call.started_at.desc(), Call.id.desc())


def _name(call: Call) -> str:
    return f"{clock.to_micros(call.started_at)}-{call.id}"


def _place(name: str | None) -> tuple[datetime, str] | None:
    micros, _, call_id = (name or "").partition("-")
    if not (micros.isascii() and micros.isdigit() and len(micros) <= 16):
        return None
    return clock.from_micros(int(micros)), call_id
