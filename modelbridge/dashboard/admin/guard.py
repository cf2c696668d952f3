"""The blueprint of all administration, its guard, and what its pages share."""

from typing import Any

from flask import Blueprint, abort, flash, request
from sqlalchemy.orm import Session

from modelbridge.dashboard import access
from modelbridge.identity import auditlog

PAGE_SIZE = 50

pages = Blueprint("admin", __name__, url_prefix="/admin")


@pages.before_request
def require_admin() -> None:
    """Only administrators get further; to everybody else these pages do not exist."""
    if not access.the_user().is_admin:
        abort(404)


def note(
    session: Session, action: str, kind: str, subject_id: str, subject: str, **details: Any
) -> None:
    """The audit log tells what this administrator does in this transaction."""
    auditlog.record(
        session,
        actor=access.the_user(),
        action=action,
        subject_kind=kind,
        subject_id=subject_id,
        subject=subject,
        details=details or None,
        address=request.remote_addr or "",
    )


def say(done: bool, words: str) -> None:
    """A flash: what happened, or that nothing did."""
    flash(words, "success" if done else "warning")


def page_of(rows: list[Any]) -> tuple[list[Any], Any | None]:
    """Of up to PAGE_SIZE + 1 rows those to show, and the last of them if more follow."""
    shown = rows[:PAGE_SIZE]
    return shown, shown[-1] if len(rows) > PAGE_SIZE else None


def search_words() -> str:
    """What was typed into the page's search box."""
    return request.args.get("q", "").strip()[:100]
