"""Browsers that are logged in. A session is a row; the browser holds a token, the row its SHA-256.

A session ends with its row: at logout, at a change of password, 14 days after it was last seen,
60 days after it began. A disabled person has none.
"""

from datetime import timedelta

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.store.tables import LoginSession, User

IDLE = timedelta(days=14)
ABSOLUTE = timedelta(days=60)
HANDLE_LENGTH = 16

# How stale `last_seen_at` may be: a page view is not worth a write.
_SEEN_EVERY = timedelta(minutes=5)
_MOST_USER_AGENT = 300


def start(session: Session, user: User, *, address: str, user_agent: str) -> str:
    """The token of a new session of that person. Their sessions that have ended are swept away."""
    token = ids.new_token()
    now = clock.now()
    session.execute(
        delete(LoginSession).where(
            LoginSession.user_id == user.id,
            or_(LoginSession.last_seen_at <= now - IDLE, LoginSession.created_at <= now - ABSOLUTE),
        )
    )
    session.add(
        LoginSession(
            token_sha256=ids.sha256_hex(token),
            user_id=user.id,
            created_at=now,
            last_seen_at=now,
            address=address,
            user_agent=user_agent[:_MOST_USER_AGENT],
        )
    )
    session.flush()
    return token


def find(session: Session, token: str) -> LoginSession | None:
    """The session of that token, with its person, while it lasts; else None."""
    now = clock.now()
    return session.scalar(
        select(LoginSession)
        .join(LoginSession.user)
        .where(
            LoginSession.token_sha256 == ids.sha256_hex(token),
            LoginSession.last_seen_at > now - IDLE,
            LoginSession.created_at > now - ABSOLUTE,
            User.disabled_at.is_(None),
        )
    )


def is_stale(row: LoginSession) -> bool:
    """Whether it is time to write down that the session was seen (`touch`)."""
    return row.last_seen_at <= clock.now() - _SEEN_EVERY


def touch(session: Session, row: LoginSession) -> None:
    """The session was seen just now."""
    found = session.get(LoginSession, row.token_sha256)
    if found is not None:
        found.last_seen_at = clock.now()


def end(session: Session, token: str) -> None:
    """No session has that token."""
    session.execute(delete(LoginSession).where(LoginSession.token_sha256 == ids.sha256_hex(token)))


def list_open(session: Session, user_id: str) -> list[LoginSession]:
    """Where the person is logged in, the latest seen first."""
    now = clock.now()
    return list(
        session.scalars(
            select(LoginSession)
            .where(
                LoginSession.user_id == user_id,
                LoginSession.last_seen_at > now - IDLE,
                LoginSession.created_at > now - ABSOLUTE,
            )
            .order_by(LoginSession.last_seen_at.desc(), LoginSession.token_sha256)
        )
    )


def handle(row: LoginSession) -> str:
    """What an address may call the session: a piece of its hash, which opens nothing."""
    return row.token_sha256[:HANDLE_LENGTH]


def handle_of(token: str) -> str:
    """The handle of that token's session."""
    return ids.sha256_hex(token)[:HANDLE_LENGTH]


def find_by_handle(session: Session, user_id: str, text: str) -> LoginSession | None:
    """That person's own session of that handle, or None: somebody else's is none too."""
    open_ones = list_open(session, user_id)
    return next((row for row in open_ones if handle(row) == text), None)


def end_others(session: Session, user_id: str, token: str) -> int:
    """The person stays logged in with that token only; says how many other sessions ended."""
    ended = session.scalars(
        delete(LoginSession)
        .where(
            LoginSession.user_id == user_id,
            LoginSession.token_sha256 != ids.sha256_hex(token),
        )
        .returning(LoginSession.token_sha256)
    ).all()
    return len(ended)


def end_all(session: Session, user_id: str) -> None:
    """The person is logged in nowhere."""
    session.execute(delete(LoginSession).where(LoginSession.user_id == user_id))
