"""What a restore lets in again: access that was taken away after the backup was made."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.store.tables import ApiKey, User


@dataclass(frozen=True, slots=True)
class Revived:
    """Ids of keys, and addresses of people. `rotated`: keys that open with an earlier secret."""

    revoked: tuple[str, ...] = ()
    rotated: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()


def compare(before: Session, restored: Session) -> Revived:
    """What was shut in the database of before, and is open in the restored one."""
    columns = select(ApiKey.id, ApiKey.sha256, ApiKey.revoked_at)  # not those that came later
    keys = {key_id: (sha256, revoked) for key_id, sha256, revoked in before.execute(columns)}
    alive = restored.execute(columns.where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id))
    known = [(key_id, sha256, *keys[key_id]) for key_id, sha256, _ in alive if key_id in keys]
    shut = set(before.scalars(select(User.id).where(User.disabled_at.is_not(None))))
    enabled = select(User.id, User.email).where(User.disabled_at.is_(None)).order_by(User.email)
    return Revived(
        revoked=tuple(key_id for key_id, _, _, revoked in known if revoked),
        rotated=tuple(key_id for key_id, now, was, revoked in known if not revoked and now != was),
        disabled=tuple(email for user_id, email in restored.execute(enabled) if user_id in shut),
    )
