"""Teams: a group with a shared balance, its members and their roles."""

import unicodedata

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.store.tables import Membership, Team, User

ROLES = ("owner", "admin", "member", "viewer")
MAX_NAME = 100

_KEY_HOLDERS = frozenset({"owner", "admin", "member"})


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
    elif membership.role == "owner" and role != "owner" and _owners(session, team) == 1:
        raise ValueError(
            f"role: {user.email} is the only owner of {team.name!r}; make somebody else owner first"
        )
    membership.role = role
    session.flush()
    return membership


def find_team(session: Session, name: str) -> Team | None:
    """The team of that name, whatever its case, or None."""
    return session.scalar(select(Team).where(Team.name_key == _name_key(name)))


def membership_of(session: Session, team: Team, user: User) -> Membership | None:
    """The user's place in the team, or None."""
    return session.get(Membership, (team.id, user.id))


def may_hold_keys(membership: Membership | None) -> bool:
    """Whether keys that the team pays for may be that person's: viewers and strangers may not."""
    return membership is not None and membership.role in _KEY_HOLDERS


def _owners(session: Session, team: Team) -> int:
    query = select(func.count()).select_from(Membership).filter_by(team_id=team.id, role="owner")
    return session.scalar(query) or 0


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
