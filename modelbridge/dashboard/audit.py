"""Notes for the audit log about what the person who is logged in does from this browser."""

from typing import Any

from flask import request
from sqlalchemy.orm import Session

from modelbridge.dashboard import access
from modelbridge.identity import auditlog
from modelbridge.store.tables import ApiKey, Team, User


def note(
    session: Session,
    action: str,
    kind: str,
    subject_id: str,
    subject: str,
    actor: User | None = None,
    **details: Any,
) -> None:
    """The event is in the log if this transaction commits; see `auditlog.record`.

    `actor`: who did it, if they are not logged in yet.
    """
    auditlog.record(
        session,
        actor=actor or access.the_user(),
        action=action,
        subject_kind=kind,
        subject_id=subject_id,
        subject=subject,
        details=details or None,
        address=request.remote_addr or "",
    )


def note_team(session: Session, action: str, team: Team, **details: Any) -> None:
    """Something happened to that team."""
    note(session, action, "team", team.id, team.name, **details)


def note_key(session: Session, action: str, key: ApiKey, **details: Any) -> None:
    """Something happened to that key; it is called by its name and beginning."""
    note(session, action, "key", key.id, f"{key.name} ({key.prefix}…)", **details)
