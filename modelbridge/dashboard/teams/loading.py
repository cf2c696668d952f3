"""Teams and their members as the visitor may see them; what is not theirs is a 404."""

from dataclasses import dataclass

from flask import abort
from sqlalchemy.orm import Session

from modelbridge.dashboard import access
from modelbridge.dashboard.scope import Scope, team_scope
from modelbridge.identity import permissions
from modelbridge.identity.permissions import MEMBERS_MANAGE
from modelbridge.store.tables import Membership, Team


@dataclass(frozen=True, slots=True)
class OfTeam:
    """A team that the visitor is in, and their place in it."""

    scope: Scope
    team: Team
    membership: Membership


def load_team(session: Session, team_id: str, permission: str) -> OfTeam:
    """The team, if the visitor is in it and may do that there. Aborts with 404."""
    scope = team_scope(session, team_id, permission)
    own = permissions.membership(session, access.the_user().id, team_id)
    if scope.team is None or own is None:
        abort(404)
    return OfTeam(scope, scope.team, own)


def load_other(session: Session, team_id: str, user_id: str) -> tuple[OfTeam, Membership]:
    """Somebody else in the team whose place the visitor may change. Aborts with 404."""
    of = load_team(session, team_id, MEMBERS_MANAGE)
    other = permissions.membership(session, user_id, team_id)
    if other is None or other.user_id == of.membership.user_id:
        abort(404)
    if not permissions.may_touch(of.membership.role, other.role):
        abort(404)
    return of, other
