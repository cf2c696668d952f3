"""The audit log: who did what, when, to what. Rows are only ever added; none holds a secret."""

from typing import Any

from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.store.tables import AuditEvent, User

COMMAND_LINE = "command line"
FIRST_START = "first start"
NOBODY = "nobody"
_MOST_TEXT = 300


def record(
    session: Session,
    *,
    actor: User | None,
    action: str,
    subject_kind: str,
    subject_id: str,
    subject: str,
    details: dict[str, Any] | None = None,
    address: str = "",
    actor_text: str = COMMAND_LINE,
) -> None:
    """The event is in the log when the session's transaction commits.

    `action` is "noun.verb" such as "key.revoke"; `subject` is what people call the thing (a name,
    an address), as it was then. Without an `actor` the event is `actor_text`'s. `details` is JSON
    and holds no secret: that is the caller's promise.
    """
    session.add(
        AuditEvent(
            at=clock.now(),
            actor_id=actor.id if actor else None,
            actor=actor.email if actor else actor_text,
            action=action,
            subject_kind=subject_kind,
            subject_id=subject_id,
            subject=subject[:_MOST_TEXT],
            details=details,
            address=address,
        )
    )
    session.flush()
