"""Teams: a group with a shared balance, its members and their roles (permissions.py)."""

import unicodedata

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.identity import permissions
from modelbridge.identity.permissions import ROLES
from modelbridge.store.tables import ApiKey, Invitation, Membership, Team, User

MAX_NAME = 100


def create_team(session: Session, *, name: str, owner: User, account_id: str) -> Team:
    """A new team that `account_id` pays for, with `owner` as its only member.

    Raises ValueError, naming the field, for a bad name or one that is taken (whatever its case).
    """
    shown = _checked_name(name)
    if find_team(session, shown) is not None:
        raise ValueError(f"name: there is a team {shown!r} already; choose another name")
    team = Team(
        id=ids.new_id("team"),
        name=shown,
        name_key=_name_key(shown),
        account_id=account_id,
        created_at=clock.now(),
    )
    session.add(team)
    session.flush()
    add_member(session, team, owner, "owner")
    return team


def add_member(session: Session, team: Team, user: User, role: str) -> Membership:
    """`user` is in the team with that role, whether or not they were in it before.

    Raises ValueError for an unknown role, and when the team would be left without an owner.
    """
    if role not in ROLES:
        raise ValueError(f"role: must be one of {', '.join(ROLES)}, not {role!r}")
    membership = membership_of(session, team, user)
    if membership is None:
        membership = Membership(team_id=team.id, user_id=user.id, role=role, created_at=clock.now())
        session.add(membership)
    elif role != "owner":
        _refuse_last_owner(session, membership)
    membership.role = role
    session.flush()
    return membership


def remove_member(session: Session, membership: Membership) -> None:
    """The person is not in the team any more. What becomes of their keys is the caller's line.

    Raises ValueError when the team would be left without an owner.
    """
    _refuse_last_owner(session, membership)
    session.delete(membership)
    session.flush()


def rename_team(session: Session, team: Team, name: str) -> None:
    """The team has that name. Raises ValueError as `create_team` does."""
    shown = _checked_name(name)
    found = find_team(session, shown)
    if found is not None and found.id != team.id:
        raise ValueError(f"name: there is a team {shown!r} already; choose another name")
    team.name, team.name_key = shown, _name_key(shown)
    session.flush()


def archive_team(session: Session, team: Team) -> int:
    """Nobody is in the team, its keys and invitations are revoked, and its name is free again.

    Its rows stay, since the books refer to them. Says how many keys were revoked. Raises
    ValueError while there is money on its account.
    """
    account = team.account
    session.refresh(account)
    if account.balance_nanos or account.held_nanos:
        raise ValueError(
            "team: there is money on its account still; spend it, or ask an administrator to "
            "adjust the balance to 0, then delete the team"
        )
    now = clock.now()
    revoked = session.scalars(
        update(ApiKey)
        .where(ApiKey.account_id == team.account_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(ApiKey.id)
    ).all()
    session.execute(
        update(Invitation)
        .where(
            Invitation.team_id == team.id,
            Invitation.accepted_at.is_(None),
            Invitation.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    for membership in members_of(session, team):
        session.delete(membership)
    team.name_key = f"{team.name_key} {team.id}"
    session.flush()
    return len(revoked)


def members_of(session: Session, team: Team) -> list[Membership]:
    """Everybody in the team: owners first, then by role and address."""
    rank = case({role: at for at, role in enumerate(ROLES)}, value=Membership.role)
    return list(
        session.scalars(
            select(Membership)
            .join(Membership.user)
            .where(Membership.team_id == team.id)
            .order_by(rank, User.email)
        )
    )


def memberships_of(session: Session, user: User) -> list[Membership]:
    """The person's teams, in the order of their names."""
    return list(
        session.scalars(
            select(Membership)
            .join(Membership.team)
            .where(Membership.user_id == user.id)
            .order_by(Team.name_key)
        )
    )


def find_team(session: Session, name: str) -> Team | None:
    """The team of that name, whatever its case, or None."""
    return session.scalar(select(Team).where(Team.name_key == _name_key(name)))


def membership_of(session: Session, team: Team, user: User) -> Membership | None:
    """The user's place in the team, or None."""
    return session.get(Membership, (team.id, user.id))


def may_hold_keys(membership: Membership | None) -> bool:
    """Whether keys that the team pays for may be that person's: viewers and strangers may not."""
    return membership is not None and permissions.allowed(membership.role, permissions.KEYS_OWN)


def is_last_owner(session: Session, membership: Membership) -> bool:
    """Whether nobody else owns the team; somebody who is disabled doesn't count."""
    if membership.role != "owner":
        return False
    others = (
        select(func.count())
        .select_from(Membership)
        .join(Membership.user)
        .where(
            Membership.team_id == membership.team_id,
            Membership.role == "owner",
            Membership.user_id != membership.user_id,
            User.disabled_at.is_(None),
        )
    )
    return not session.scalar(others)


def _refuse_last_owner(session: Session, membership: Membership) -> None:
    if is_last_owner(session, membership):
        email = session.get_one(User, membership.user_id).email
        name = session.get_one(Team, membership.team_id).name
        raise ValueError(
            f"role: {email} is the only owner of {name!r}; make somebody else owner first"
        )


def _name_key(name: str) -> str:
    """Names that look alike are one: width, case and spacing don't tell teams apart."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _checked_name(name: str) -> str:
    stripped = " ".join(name.split())
    if not 1 <= len(stripped) <= MAX_NAME or not _name_key(stripped):
        raise ValueError(f"name: give the team a name of 1 to {MAX_NAME} characters")
    if not stripped.isprintable():
        raise ValueError("name: has characters that cannot be shown; leave them out")
    return stripped
