"""How the bridge is: its books, its upstreams, and what wants an administrator's attention."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelbridge.catalog import admin as arrangement
from modelbridge.catalog import fx
from modelbridge.dashboard.admin.guard import pages
from modelbridge.dashboard.audit import note
from modelbridge.dashboard.services import bridge
from modelbridge.gateway import books
from modelbridge.gateway.auditor import BrokenOff
from modelbridge.money import NANOS
from modelbridge.store.tables import BooksCheck, Hold, Shortfall, Upstream

PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """An upstream and what recent calls told of it. `state`: working, failing, resting, idle."""

    row: Upstream
    state: str
    failures: int
    rest_seconds: int
    worked_at: datetime | None
    failed_at: datetime | None


@pages.get("", endpoint="index")
def index() -> ResponseReturnValue:
    """The first page of the administration."""
    with bridge().database.reading() as session:
        checks = books.latest(session, 10)
        upstreams = upstream_states(session)
        rate = fx.current(session)
        flagged = session.scalar(select(func.count()).where(Hold.flagged))
        shortfalls = _shortfalls(session)
    return render_template(
        "admin/state.html",
        checks=checks,
        run=bridge().books_clock.last_run(),
        upstreams=upstreams,
        rate=rate,
        shipped=fx.SHIPPED,
        flagged=flagged,
        shortfalls=shortfalls,
        hours=bridge().settings.books_check_hours,
    )


def _shortfalls(session: Session) -> tuple[int, int]:
    """How many there are, and their sum in nano-AUD, which 64 bits may not hold."""
    amount = Shortfall.amount_nanos
    count, whole, rest = session.execute(
        select(func.count(), func.sum(amount // NANOS), func.sum(amount % NANOS))
    ).one()
    return count, (whole or 0) * NANOS + (rest or 0)


@pages.post("/books/check", endpoint="books_check")
def check_books() -> ResponseReturnValue:
    """The books are checked now, and the outcome is kept. Nobody waits for long."""
    try:
        outcome = bridge().books_clock.ask(PATIENCE_SECONDS)
    except BrokenOff as error:
        flash(f"{error} Nothing new is known of the books.", "warning")
        return redirect(url_for("admin.index"), 303)
    told: dict[str, Any] = {"ok": outcome.ok} if outcome else {}
    with bridge().database.transaction() as session:
        note(session, "books.check", "books", outcome.id if outcome else "", "The books", **told)
    flash(*_words(outcome))
    return redirect(url_for("admin.index"), 303)


def _words(outcome: BooksCheck | None) -> tuple[str, str]:
    """What is said of a check, and how grave it is."""
    if outcome is None:
        return "The check goes on: books of this size take a while.", "info"
    if outcome.ok:
        return "The books add up.", "success"
    return "The books do NOT add up: see below.", "danger"


def upstream_states(session: Session) -> list[UpstreamState]:
    """Every upstream in the order in which they were added."""
    seen = bridge().gateway.health.snapshot()
    return [_state(row, seen.get(row.id, {})) for row in arrangement.list_upstreams(session)]


def _state(row: Upstream, told: dict[str, Any]) -> UpstreamState:
    failures, rest = told.get("failures", 0), round(told.get("rest_seconds", 0))
    state = "idle" if not told else "resting" if rest else "failing" if failures else "working"
    return UpstreamState(
        row,
        state,
        failures,
        rest,
        _moment(told.get("worked_at")),
        _moment(told.get("failed_at")),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
