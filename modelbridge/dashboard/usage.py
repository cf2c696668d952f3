"""Usage: which calls there were, what they came to, and all of them as CSV."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from flask import Blueprint, Response, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from modelbridge.dashboard import access, charts, names, usage_query
from modelbridge.dashboard.exports import csv_response
from modelbridge.dashboard.scope import Scope, load_scope, scopes
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.usage_form import Choices, UsageForm
from modelbridge.dashboard.usage_query import Total, Wanted
from modelbridge.identity import permissions
from modelbridge.money import format_amount
from modelbridge.store.database import Database
from modelbridge.store.tables import Call

pages = Blueprint("usage", __name__)

MOST_LINES = 100
EXPORT_ROWS = 1_000
_TABS = {"model": "By model", "key": "By key", "person": "By person", "day": "By day"}
_HEADINGS = (
    "time_utc", "call", "model", "key", "person", "endpoint", "stream", "status", "error",
    "result", "input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "audio_input_tokens", "output_tokens", "audio_output_tokens", "reasoning_tokens",
    "tokens_known_as", "duration_seconds", "cost_aud",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the totals."""

    name: str
    total: Total


@dataclass(frozen=True, slots=True)
class View:
    """The totals as the page shows them; `hidden` lines are left out of a long table."""

    lines: Sequence[Line]
    hidden: int
    total: Total
    chart: charts.Chart


@pages.get("/usage")
def index() -> ResponseReturnValue:
    """Totals with a chart, and the calls page by page."""
    form = UsageForm(request.args)
    by = request.args.get("by", "model")
    with bridge().database.reading() as session:
        scope = load_scope(session, permissions.TEAM_USAGE)
        tabs = {name: words for name, words in _TABS.items() if scope.team or name != "person"}
        by = by if by in tabs else "model"
        choices, wanted = _read(session, form, scope)
        view = _view(session, wanted, by, choices)
        page = usage_query.page_of_calls(session, wanted, request.args.get("before"))
        switch = scopes(session, access.the_user(), permissions.TEAM_USAGE)
    return render_template(
        "usage/index.html",
        scope=scope,
        scopes=switch,
        form=form,
        period=wanted.period,
        tabs=tabs,
        by=by,
        view=view,
        page=page,
        choices=choices,
        asked=_asked(),
    )


@pages.get("/usage.csv")
def export() -> Response:
    """Every call that the filters let through, newest first, written as it is read."""
    form = UsageForm(request.args)
    with bridge().database.reading() as session:
        scope = load_scope(session, permissions.TEAM_USAGE)
        choices, wanted = _read(session, form, scope)
        people = names.people_of_account(session, scope.account_id)
    filename = f"usage-{wanted.period.first}-to-{wanted.period.last}.csv"
    return csv_response(
        filename, _HEADINGS, _chunks(bridge().database, wanted, choices.keys, people)
    )


def _asked() -> dict[str, str]:
    """This request's filters, for links that keep them."""
    return {name: value for name, value in request.args.items() if name not in ("before", "by")}


def _read(session: Session, form: UsageForm, scope: Scope) -> tuple[Choices, Wanted]:
    """What may be chosen here, and what was."""
    keys = names.keys_of_account(session, scope.account_id)
    people = names.people_of_account(session, scope.account_id) if scope.team else {}
    form.offer(Choices(keys, (), people))
    form.validate()
    wanted = form.wanted(scope.account_id, scope.time_zone)
    choices = Choices(keys, usage_query.models_called(session, wanted)[:200], people)
    form.offer(choices)
    return choices, wanted


def _view(session: Session, wanted: Wanted, by: str, choices: Choices) -> View:
    buckets = charts.buckets(wanted.period.first, wanted.period.last)
    monthly = len(buckets[0].key) == len("2026-11")
    sums = usage_query.totals(session, wanted, "model" if by == "day" else by, monthly=monthly)
    labels = {"key": choices.keys, "person": {**choices.people, "": names.NOBODY}}.get(by, {})
    named = _relabelled(sums, labels)
    lines = _lines_by_day(session, wanted) if by == "day" else _lines(named)
    return View(
        lines=lines[:MOST_LINES],
        hidden=max(0, len(lines) - MOST_LINES),
        total=sum(sums.values(), Total()),
        chart=charts.stacked({what: total.cost_nanos for what, total in named.items()}, buckets),
    )


def _lines(named: Mapping[tuple[str, str], Total]) -> list[Line]:
    """The dearest first."""
    grouped: dict[str, Total] = defaultdict(Total)
    for (_, name), total in named.items():
        grouped[name] += total
    lines = [Line(name, total) for name, total in grouped.items()]
    return sorted(lines, key=lambda one: (-one.total.cost_nanos, -one.total.calls, one.name))


def _lines_by_day(session: Session, wanted: Wanted) -> list[Line]:
    """The newest first."""
    days = usage_query.totals_by_day(session, wanted)
    return [Line(_day(day), days[day]) for day in sorted(days, reverse=True)]


def _relabelled(
    sums: Mapping[tuple[str, str], Total], labels: Mapping[str, str]
) -> dict[tuple[str, str], Total]:
    """Names instead of ids; what shares a name is added up."""
    named: dict[tuple[str, str], Total] = defaultdict(Total)
    for (day, name), total in sums.items():
        named[day, labels.get(name, name)] += total
    return named


def _day(text: str) -> str:
    day = date.fromisoformat(text)
    return f"{day.day} {day:%b %Y}"


def _chunks(
    database: Database, wanted: Wanted, keys: Mapping[str, str], people: Mapping[str, str]
) -> Iterator[list[Sequence[object]]]:
    """Rows of the CSV, each chunk from a short look of its own at the database."""
    place = None
    while True:
        with database.reading() as session:
            calls = usage_query.chunk_of_calls(session, wanted, place, EXPORT_ROWS)
        yield [_row(call, keys, people) for call in calls]
        if len(calls) < EXPORT_ROWS:
            return
        place = usage_query.place_of(calls[-1])


def _row(call: Call, keys: Mapping[str, str], people: Mapping[str, str]) -> Sequence[object]:
    micros = call.duration_micros
    return (
        call.started_at.isoformat(timespec="milliseconds"), call.id, call.model,
        keys.get(call.key_id, ""), people.get(call.user_id or "", ""), call.endpoint,
        "yes" if call.stream else "no", call.status, call.error_code, call.finish,
        call.input_tokens, call.cache_read_tokens, call.cache_write_tokens,
        call.cache_write_1h_tokens, call.audio_input_tokens, call.output_tokens,
        call.audio_output_tokens, call.reasoning_tokens, call.usage_source,
        f"{micros // 1_000_000}.{micros % 1_000_000:06d}",
        "" if call.cost_nanos is None else format_amount(call.cost_nanos),
    )  # fmt: skip
