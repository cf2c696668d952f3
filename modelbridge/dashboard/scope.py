"""Whose page this is: the visitor's own, or that of one of their teams (`?team=<id>`).

Pages that exist for both load their scope first; a team that the visitor is not in, or in which
their role doesn't allow the page, is a 404, as if there were no such team.
"""

from dataclasses import dataclass
from typing import Any

from flask import abort, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.dashboard import access
from modelbridge.identity import permissions
from modelbridge.store.tables import Membership, Team, User


@dataclass(frozen=True, slots=True)
class Scope:
    """One account and what the visitor may do with it; `team` and `role` are None if personal."""

    account_id: str
    label: str
    time_zone: str
    team: Team | None = None
    role: str | None = None

    def may(self, permission: str) -> bool:
        """Whether the visitor has that permission here: what is their own, they own."""
        return self.team is None or permissions.allowed(self.role, permission)

    @property
    def args(self) -> dict[str, Any]:
        """What `url_for` needs to stay in this scope."""
        return {} if self.team is None else {"team": self.team.id}


def personal(user: User) -> Scope:
    """The person's own account."""
    return Scope(user.account_id, "Personal", user.account.time_zone)


def of_membership(membership: Membership) -> Scope:
    """The team's account, with what that member may do with it."""
    team = membership.team
    return Scope(team.account_id, team.name, team.account.time_zone, team, membership.role)


def load_scope(session: Session, permission: str) -> Scope:
    """The scope that this request's `?team=` names; personal without one. Aborts with 404."""
    team_id = request.args.get("team")
    return team_scope(session, team_id, permission) if team_id else personal(access.the_user())


def team_scope(session: Session, team_id: str, permission: str) -> Scope:
    """The scope of that team, if the visitor is in it and may do that there. Aborts with 404."""
    membership = permissions.membership(session, access.the_user().id, team_id)
    if membership is None or not permissions.allowed(membership.role, permission):
        abort(404)
    return of_membership(membership)


def scopes(session: Session, user: User, permission: str) -> list[Scope]:
    """Personal first, then the person's teams in which they have that permission, by name."""
    memberships = session.scalars(
        select(Membership)
        .join(Membership.team)
        .where(
            Membership.user_id == user.id, Membership.role.in_(permissions.PERMISSIONS[permission])
        )
        .order_by(Team.name_key)
    )
    return [personal(user), *(of_membership(membership) for membership in memberships)]
