"""A new secret for the same key; the old one opens it a while longer, so that programs can follow.

The key's name, limit and spend go on as they were. A revoked key opens with neither secret.
"""

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.identity.keys import NewKey, Status
from modelbridge.store.tables import ApiKey, RetiredSecret

MOST_OVERLAP_HOURS = 72


def rotate(session: Session, key: ApiKey, overlap_hours: int) -> NewKey:
    """The key has a new secret; the old one works for that many hours more, 0 to 72.

    The row of the old secret stays, so that the key is found by it for ever. Raises ValueError
    for an overlap out of range, and for a key that doesn't work anyway.
    """
    now = clock.now()
    if not 0 <= overlap_hours <= MOST_OVERLAP_HOURS:
        raise ValueError(f"overlap: must be between 0 and {MOST_OVERLAP_HOURS} hours")
    if key.revoked_at is not None:
        raise ValueError("key: is revoked; a new secret would not work either")
    if key.expires_at is not None and key.expires_at <= now:
        raise ValueError("key: has expired; give it a later expiry first")
    session.add(
        RetiredSecret(
            sha256=key.sha256,
            key_id=key.id,
            prefix=key.prefix,
            last4=key.last4,
            retired_at=now,
            expires_at=now + timedelta(hours=overlap_hours),
            last_used_at=None,
        )
    )
    secret = ids.new_api_key(test=key.mode == "test")
    key.sha256 = ids.sha256_hex(secret)
    key.prefix, key.last4 = ids.key_prefix(secret), secret[-4:]
    session.flush()
    return NewKey(key, secret)


def overlapping(session: Session, key: ApiKey) -> list[RetiredSecret]:
    """The earlier secrets that still open the key, the latest first."""
    return list(
        session.scalars(
            select(RetiredSecret)
            .where(RetiredSecret.key_id == key.id, RetiredSecret.expires_at > clock.now())
            .order_by(RetiredSecret.retired_at.desc())
        )
    )


def find_by_secret(session: Session, secret: str) -> tuple[ApiKey, RetiredSecret | None] | None:
    """The key that this very secret opens, or once did; with its row if it is an earlier one."""
    sha256 = ids.sha256_hex(secret)
    key = session.scalar(select(ApiKey).where(ApiKey.sha256 == sha256))
    if key is not None:
        return key, None
    retired = session.get(RetiredSecret, sha256)
    return None if retired is None else (session.get_one(ApiKey, retired.key_id), retired)


def end_secret(session: Session, retired: RetiredSecret) -> bool:
    """That earlier secret opens nothing from now on. False: it did not before."""
    now = clock.now()
    if retired.expires_at <= now:
        return False
    retired.expires_at = now
    session.flush()
    return True


def end_overlap(session: Session, key: ApiKey) -> int:
    """Only the key's present secret opens it from now on; says how many others did."""
    now = clock.now()
    ended = session.scalars(
        update(RetiredSecret)
        .where(RetiredSecret.key_id == key.id, RetiredSecret.expires_at > now)
        .values(expires_at=now)
        .returning(RetiredSecret.sha256)
    ).all()
    return len(ended)


def may_rotate(status: Status) -> bool:
    """Whether a key of that status can be given a new secret."""
    return status in ("active", "limit_reached")
