"""The audit log: filtered, paged from the newest on, and as CSV."""

import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from flask import render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import Select, func, select

from modelbridge.dashboard import access
from modelbridge.dashboard.admin.guard import PAGE_SIZE, page_of, pages
from modelbridge.dashboard.exports import Row, csv_response
from modelbridge.dashboard.paging import place_of
from modelbridge.dashboard.services import bridge
from modelbridge.store.database import Database
from modelbridge.store.tables import AuditEvent

_CHUNK = 1_000
_HEADINGS = ("at", "actor", "action", "kind", "id", "subject", "details", "address")


@pages.get("/audit", endpoint="audit")
def index() -> ResponseReturnValue:
    """Fifty events, and the way to the fifty before them."""
    filters = _filters()
    before = place_of(request.args.get("before", ""))
    found = _query(filters).limit(PAGE_SIZE + 1)
    if before is not None:
        found = found.where(AuditEvent.sequence < before)
    with bridge().database.reading() as session:
        rows, last = page_of(list(session.scalars(found)))
        actions = list(
            session.scalars(select(AuditEvent.action).distinct().order_by(AuditEvent.action))
        )
    return render_template(
        "admin/audit.html",
        rows=rows,
        filters=filters,
        actions=actions,
        before=last.sequence if last else None,
    )


@pages.get("/audit.csv", endpoint="audit_csv")
def export() -> ResponseReturnValue:
    """Every event that the filters let through, newest first; moments in UTC."""
    chunks = _chunks(bridge().database, _query(_filters()))
    return csv_response("modelbridge-audit.csv", _HEADINGS, chunks)


def _filters() -> dict[str, str]:
    """Actor, action, first and last day, as they were asked for; only those that are filled."""
    names = ("actor", "action", "from", "to")
    return {name: value for name in names if (value := request.args.get(name, "").strip())}


def _query(filters: dict[str, str]) -> Select[AuditEvent]:
    query = select(AuditEvent).order_by(AuditEvent.sequence.desc())
    if actor := filters.get("actor"):
        query = query.where(func.lower(AuditEvent.actor).contains(actor.lower(), autoescape=True))
    if action := filters.get("action"):
        query = query.where(AuditEvent.action == action)
    if start := _midnight(filters.get("from"), 0):
        query = query.where(AuditEvent.at >= start)
    if end := _midnight(filters.get("to"), 1):
        query = query.where(AuditEvent.at < end)
    return query


def _midnight(text: str | None, days_later: int) -> datetime | None:
    """The beginning of that day, or of a later one, in the viewer's time zone."""
    try:
        day = date.fromisoformat(text or "") + timedelta(days=days_later)
    except (ValueError, OverflowError):
        return None
    zone = ZoneInfo(access.the_user().account.time_zone)
    return datetime.combine(day, time(), zone)


def _chunks(database: Database, query: Select[AuditEvent]) -> Iterator[list[Row]]:
    before: int | None = None
    while True:
        wanted = query if before is None else query.where(AuditEvent.sequence < before)
        with database.reading() as session:
            rows = list(session.scalars(wanted.limit(_CHUNK)))
        yield [_row(row) for row in rows]
        if len(rows) < _CHUNK:
            return
        before = rows[-1].sequence


def _row(row: AuditEvent) -> Row:
    details = json.dumps(row.details, ensure_ascii=False) if row.details else ""
    return (
        row.at.isoformat(timespec="seconds"),
        row.actor,
        row.action,
        row.subject_kind,
        row.subject_id,
        row.subject,
        details,
        row.address,
    )
