"""One team: its members, invitations and money."""

from collections.abc import Sequence
from dataclasses import dataclass

from flask import render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelbridge.dashboard.navigation import Entry
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.teams.blueprint import pages
from modelbridge.dashboard.teams.loading import OfTeam, load_team
from modelbridge.identity import invitations, permissions, teams
from modelbridge.identity.permissions import (
    KEYS_ALL,
    KEYS_OWN,
    MEMBERS_MANAGE,
    TEAM_BILLING,
    TEAM_USAGE,
    TEAM_VIEW,
)
from modelbridge.ledger import accounts
from modelbridge.store.tables import ApiKey, Invitation, Membership, User

# The pages that exist for a team too, and who may open them.
_PLACES = (
    (Entry("Overview", "home.index", "grid"), TEAM_USAGE),
    (Entry("Keys", "keys.index", "key"), KEYS_OWN),
    (Entry("Usage", "usage.index", "bar-chart"), TEAM_USAGE),
    (Entry("Billing", "billing.index", "receipt"), TEAM_BILLING),
)


@dataclass(frozen=True, slots=True)
class MemberRow:
    """Somebody in the team. `keys` counts those not revoked; None if the visitor may not know."""

    member: Membership
    keys: int | None
    is_self: bool
    can_be_changed: bool


@pages.get("/<team_id>")
def show(team_id: str) -> ResponseReturnValue:
    """The team, as much of it as the visitor's role shows."""
    with bridge().database.reading() as session:
        of = load_team(session, team_id, TEAM_VIEW)
        pending = invitations.pending(session, of.team) if of.scope.may(MEMBERS_MANAGE) else []
        return render_template(
            "teams/show.html",
            team=of.team,
            scope=of.scope,
            places=[entry for entry, permission in _PLACES if of.scope.may(permission)],
            rows=_rows(session, of),
            pending=pending,
            inviters=_names(session, pending),
            account=accounts.account_view(session, of.team.account_id)
            if of.scope.may(TEAM_BILLING)
            else None,
        )


def _rows(session: Session, of: OfTeam) -> list[MemberRow]:
    counts = _key_counts(session, of) if of.scope.may(KEYS_ALL) else None
    return [
        MemberRow(
            member,
            None if counts is None else counts.get(member.user_id, 0),
            is_self=member.user_id == of.membership.user_id,
            can_be_changed=member.user_id != of.membership.user_id
            and permissions.may_touch(of.membership.role, member.role),
        )
        for member in teams.members_of(session, of.team)
    ]


def _key_counts(session: Session, of: OfTeam) -> dict[str | None, int]:
    counts = session.execute(
        select(ApiKey.user_id, func.count())
        .where(ApiKey.account_id == of.team.account_id, ApiKey.revoked_at.is_(None))
        .group_by(ApiKey.user_id)
    )
    return {user_id: count for user_id, count in counts}


def _names(session: Session, pending: Sequence[Invitation]) -> dict[str, str]:
    inviters = session.scalars(
        select(User).where(User.id.in_([invitation.invited_by for invitation in pending]))
    )
    return {user.id: user.name or user.email for user in inviters}
