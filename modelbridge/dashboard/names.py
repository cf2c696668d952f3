"""What people call the keys and persons that rows only have ids of."""

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.store.tables import ApiKey, DailyUsage, Membership, Team, User

NOBODY = "Nobody in particular"


def keys_of_account(session: Session, account_id: str) -> dict[str, str]:
    """The name of every key that the account pays for, revoked ones too, by id; sorted by name."""
    query = select(ApiKey.id, ApiKey.name).where(ApiKey.account_id == account_id)
    return _sorted((key_id, name) for key_id, name in session.execute(query))


def of_keys(session: Session, key_ids: Iterable[str]) -> dict[str, str]:
    """The names of these keys, by id."""
    query = select(ApiKey.id, ApiKey.name).where(ApiKey.id.in_(set(key_ids)))
    return _sorted((key_id, name) for key_id, name in session.execute(query))


def people_of_account(session: Session, account_id: str) -> dict[str, str]:
    """Whoever is in the account's team, has a key of it or ever called for it; sorted by name."""
    members = select(Membership.user_id).join(Team, Team.id == Membership.team_id)
    makers = select(ApiKey.user_id).where(ApiKey.account_id == account_id)
    callers = select(DailyUsage.user_id).where(DailyUsage.account_id == account_id).distinct()
    of_the_account = members.where(Team.account_id == account_id).union(makers, callers)
    query = select(User.id, User.name, User.email).where(User.id.in_(of_the_account))
    rows = session.execute(query)
    return _sorted((user_id, name or email) for user_id, name, email in rows)


def _sorted(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    return dict(sorted(pairs, key=lambda pair: pair[1].casefold()))
