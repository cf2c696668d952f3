"""What becomes of a member's team keys when they go: each is given to somebody else, or revoked."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelbridge.dashboard.audit import note_key
from modelbridge.identity import keys, permissions, teams
from modelbridge.identity.permissions import KEYS_OWN
from modelbridge.store.tables import ApiKey, Membership

REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Handover:
    """The keys that a member made, and the members who could have them."""

    keys: list[ApiKey]
    hints: dict[str, str]
    receivers: list[Membership]


def handover_of(session: Session, leaving: Membership, *, may_transfer: bool) -> Handover:
    """What the form shows; nobody can receive a key unless the visitor manages all of them."""
    held = keys.keys_held_in_team(session, leaving)
    receivers = [
        member
        for member in teams.members_of(session, leaving.team)
        if may_transfer
        and member.user_id != leaving.user_id
        and member.user.disabled_at is None
        and permissions.allowed(member.role, KEYS_OWN)
    ]
    return Handover(held, {key.id: keys.hint(key) for key in held}, receivers)


def field_of(key: ApiKey) -> str:
    """What the form calls its choice for that key."""
    return f"key-{key.id}"


def carry_out(session: Session, handover: Handover, form: Mapping[str, str]) -> tuple[int, int]:
    """Every key is given away as the form says, or revoked; says how many of each.

    A key that the form doesn't name, since it was made meanwhile, is revoked. Raises ValueError
    for somebody who can't receive it.
    """
    transferred = 0
    for key in handover.keys:
        wanted = form.get(field_of(key), REVOKE)
        if wanted == REVOKE:
            keys.revoke(session, key)
            note_key(session, "key.revoke", key)
            continue
        receiver = next((one for one in handover.receivers if one.user_id == wanted), None)
        if receiver is None:
            raise ValueError(f"key: choose what becomes of {key.name!r}: that person can't have it")
        keys.transfer(session, key, receiver)
        note_key(session, "key.transfer", key, to=receiver.user.email)
        transferred += 1
    return transferred, len(handover.keys) - transferred


def words(transferred: int, revoked: int) -> str:
    """What became of the keys, as a sentence; nothing if there were none."""
    parts = []
    if transferred:
        parts.append(f"{_keys(transferred)} transferred")
    if revoked:
        parts.append(f"{_keys(revoked)} revoked")
    return f" {' and '.join(parts)}." if parts else ""


def _keys(count: int) -> str:
    return f"{count} key{' was' if count == 1 else 's were'}"
