"""The book of alerts: what was raised, what is over, and who has still to be told."""

from datetime import datetime, timedelta

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.operations.alerts.conditions import Condition, Seen
from modelbridge.store.tables import Alert

# Seconds to wait after each try that failed; after the last one it is given up.
WAITS_SECONDS = (60, 300, 1_800, 7_200, 21_600, 43_200, 86_400)
KEPT_DAYS = 90
_QUIET = timedelta(hours=1)  # what comes and goes within it is told once


def keep(session: Session, seen: Seen) -> list[Alert]:
    """What is new is raised, what is no more so is over; returns the new ones."""
    now = clock.now()
    standing = {(one.kind, one.occurrence): one for one in session.scalars(_open())}
    present = {(one.kind, one.occurrence): one for one in seen.conditions}
    for place, alert in standing.items():
        if place not in present and place not in seen.unknown:
            alert.cleared_at = now
            alert.next_try_at = None  # nobody is told of what is over
    raised = []
    for place, condition in present.items():
        if place not in standing and not _comes_again(session, place, now):
            raised.append(raise_one(session, condition))
    _forget_old(session, now)
    session.flush()
    return raised


def raise_one(session: Session, condition: Condition) -> Alert:
    """It stands in the book, and is told at the next round."""
    alert = make(condition)
    session.add(alert)
    return alert


def make(condition: Condition) -> Alert:
    """An alert that stands nowhere yet."""
    now = clock.now()
    return Alert(
        id=ids.new_id("alr"),
        kind=condition.kind,
        occurrence=condition.occurrence,
        subject=condition.subject,
        message=condition.message,
        next_step=condition.next_step,
        raised_at=now,
        tries=0,
        next_try_at=now,
    )


def due(session: Session) -> list[Alert]:
    """Those that have somebody to be told now, oldest first."""
    found = select(Alert).where(Alert.next_try_at <= clock.now()).order_by(Alert.raised_at)
    return list(session.scalars(found.limit(50)))


def open_alerts(session: Session, most: int = 50) -> list[Alert]:
    """What is so now, newest first."""
    return list(session.scalars(_open().order_by(Alert.raised_at.desc()).limit(most)))


def tried(alert: Alert, *, mailed: bool, posted: bool) -> None:
    """One round of telling is over. `mailed`, `posted`: that way is done, or there is none."""
    now = clock.now()
    alert.mailed_at = alert.mailed_at or (now if mailed else None)
    alert.posted_at = alert.posted_at or (now if posted else None)
    alert.tries += 1
    if (mailed and posted) or alert.tries > len(WAITS_SECONDS):
        alert.next_try_at = None
    else:
        alert.next_try_at = now + timedelta(seconds=WAITS_SECONDS[alert.tries - 1])


def _open() -> Select[Alert]:
    return select(Alert).where(Alert.cleared_at.is_(None))


def _comes_again(session: Session, place: tuple[str, str], now: datetime) -> bool:
    """Whether it was told a moment ago, and stands again: nobody is told twice."""
    kind, occurrence = place
    last = session.scalars(
        select(Alert)
        .where(Alert.kind == kind, Alert.occurrence == occurrence, Alert.raised_at > now - _QUIET)
        .order_by(Alert.raised_at.desc())
        .limit(1)
    ).first()
    if last is None:
        return False
    last.cleared_at = None
    if last.tries == 0:
        last.next_try_at = now
    return True


def _forget_old(session: Session, now: datetime) -> None:
    """What is over is not kept for ever."""
    long_ago = now - timedelta(days=KEPT_DAYS)
    session.execute(delete(Alert).where(Alert.cleared_at < long_ago))
