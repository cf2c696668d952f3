"""Keys as the visitor may see them: their own, and those of teams that their role lets them."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import abort
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.dashboard import access, scope
from modelbridge.dashboard.scope import Scope
from modelbridge.identity import keys, permissions
from modelbridge.ledger import limits
from modelbridge.ledger.limits import KeySpending
from modelbridge.store.tables import ApiKey, Membership, Team, User


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as pages show it. `holder` is whose key it is, in a team; None if nobody's."""

    key: ApiKey
    hint: str
    status: keys.Status
    spending: KeySpending
    holder: str | None = None


def load_key(session: Session, key_id: str) -> tuple[ApiKey, Scope]:
    """The key of that id, if it is the visitor's to manage, and its account. Aborts with 404."""
    user = access.the_user()
    own = keys.get_for(session, user.id, key_id)
    if own is not None:
        return own, scope.personal(user)
    membership = _paying_team(session, user, key_id) or abort(404)
    key = keys.get_in_team(session, membership, key_id) or abort(404)
    return key, scope.of_membership(membership)


def rows_of(session: Session, of: Scope) -> list[KeyRow]:
    """Every key of that account that the visitor may see, newest first."""
    user = access.the_user()
    if of.team is None:
        return _rows(session, keys.keys_of_user(session, user.id), {})
    membership = permissions.membership(session, user.id, of.team.id) or abort(404)
    found = keys.keys_in_team(session, membership)
    return _rows(session, found, _holders(session, found))


def row_of(session: Session, key: ApiKey) -> KeyRow:
    """That one key."""
    return _rows(session, [key], _holders(session, [key]))[0]


def _paying_team(session: Session, user: User, key_id: str) -> Membership | None:
    """The person's place in the team that pays for that key."""
    return session.scalar(
        select(Membership)
        .join(Membership.team)
        .join(ApiKey, ApiKey.account_id == Team.account_id)
        .where(ApiKey.id == key_id, Membership.user_id == user.id)
    )


def _rows(session: Session, found: list[ApiKey], holders: Mapping[str, str]) -> list[KeyRow]:
    spending = limits.key_spending(session, found)
    return [
        KeyRow(
            key,
            keys.hint(key),
            keys.status(key, spending[key.id].spent_nanos),
            spending[key.id],
            holders.get(key.user_id or ""),
        )
        for key in found
    ]


def _holders(session: Session, found: list[ApiKey]) -> dict[str, str]:
    """What the people are called whose keys these are."""
    user_ids = {key.user_id for key in found if key.user_id}
    people = session.scalars(select(User).where(User.id.in_(user_ids)))
    return {user.id: user.name or user.email for user in people}
