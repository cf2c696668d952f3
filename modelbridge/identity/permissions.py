"""What each role in a team may do: the one table that pages, forms and tests ask.

docs/permissions.md shows the same table to people. Whoever administers the bridge has no place in
a team through that: they have pages of their own.
"""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from modelbridge.store.tables import Membership

# From the one who may most to the one who may least.
ROLES = ("owner", "admin", "member", "viewer")

TEAM_VIEW = "team.view"
TEAM_USAGE = "team.usage"
TEAM_BILLING = "team.billing"
TEAM_SETTINGS = "team.settings"
TEAM_DELETE = "team.delete"
MEMBERS_MANAGE = "members.manage"
KEYS_OWN = "keys.own"
KEYS_ALL = "keys.all"

_MANAGERS = frozenset({"owner", "admin"})

PERMISSIONS: Mapping[str, frozenset[str]] = {
    TEAM_VIEW: frozenset(ROLES),
    TEAM_USAGE: frozenset(ROLES),
    TEAM_BILLING: _MANAGERS,
    TEAM_SETTINGS: _MANAGERS,
    TEAM_DELETE: frozenset({"owner"}),
    MEMBERS_MANAGE: _MANAGERS,
    KEYS_OWN: frozenset({"owner", "admin", "member"}),
    KEYS_ALL: _MANAGERS,
}


def allowed(role: str | None, permission: str) -> bool:
    """Whether that role has that permission; None, who is not in the team, has none.

    Raises KeyError for a permission that the table doesn't know.
    """
    return role in PERMISSIONS[permission]


def grantable_roles(role: str | None) -> tuple[str, ...]:
    """The roles that somebody of this role may give to others: those not above their own."""
    return ROLES[ROLES.index(role) :] if role and allowed(role, MEMBERS_MANAGE) else ()


def may_touch(role: str | None, other_role: str) -> bool:
    """Whether somebody of this role may change, or send away, a member of that one."""
    return other_role in grantable_roles(role)


def membership(session: Session, user_id: str, team_id: str) -> Membership | None:
    """The person's place in the team, or None: of a team that doesn't exist nobody is a member."""
    return session.get(Membership, (team_id, user_id))
