"""The place of a member: another role, or none; and leaving by oneself."""

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from modelbridge.dashboard.audit import note_team
from modelbridge.dashboard.forms import sentence
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.teams import handover
from modelbridge.dashboard.teams.blueprint import pages
from modelbridge.dashboard.teams.forms import RoleForm
from modelbridge.dashboard.teams.loading import OfTeam, load_other, load_team
from modelbridge.identity import permissions, teams
from modelbridge.identity.permissions import KEYS_ALL, KEYS_OWN, TEAM_VIEW
from modelbridge.store.tables import Membership


@pages.route("/<team_id>/members/<user_id>/role", methods=["GET", "POST"])
def change_role(team_id: str, user_id: str) -> ResponseReturnValue:
    """Another role, not above the visitor's own. Who becomes a viewer hands over their keys."""
    with bridge().database.reading() as session:
        of, other = load_other(session, team_id, user_id)
        shown = handover.handover_of(session, other, may_transfer=of.scope.may(KEYS_ALL))
    form = RoleForm(permissions.grantable_roles(of.membership.role))
    if form.validate_on_submit():
        try:
            done = _change_role(team_id, user_id, form.role.data)
        except ValueError as error:
            form.blame(error)
        else:
            flash(f"{_called(other)} is {form.role.data} now.{done}", "success")
            return redirect(url_for("teams.show", team_id=team_id), 303)
    elif request.method == "GET":
        form.role.data = other.role
    page = render_template(
        "teams/role.html", form=form, team=of.team, other=other, handover=shown, sent=request.form
    )
    return page, 400 if form.errors else 200


@pages.route("/<team_id>/members/<user_id>/remove", methods=["GET", "POST"])
def remove(team_id: str, user_id: str) -> ResponseReturnValue:
    """GET lists the keys that the member made; POST transfers or revokes each, and removes them."""
    with bridge().database.reading() as session:
        of, other = load_other(session, team_id, user_id)
        shown = handover.handover_of(session, other, may_transfer=of.scope.may(KEYS_ALL))
    problem = None
    if request.method == "POST":
        try:
            with bridge().database.transaction() as session:
                done = _go(session, *load_other(session, team_id, user_id), "team.remove_member")
        except ValueError as error:
            problem = sentence(error)
        else:
            flash(f"{_called(other)} is not in “{of.team.name}” any more.{done}", "success")
            return redirect(url_for("teams.show", team_id=team_id), 303)
    page = render_template(
        "teams/remove.html",
        team=of.team,
        other=other,
        handover=shown,
        sent=request.form,
        problem=problem,
    )
    return page, 409 if problem else 200


@pages.route("/<team_id>/leave", methods=["GET", "POST"])
def leave(team_id: str) -> ResponseReturnValue:
    """The visitor goes; their team keys are revoked, unless they may give them to others."""
    with bridge().database.reading() as session:
        of = load_team(session, team_id, TEAM_VIEW)
        shown = handover.handover_of(session, of.membership, may_transfer=of.scope.may(KEYS_ALL))
        is_last_owner = teams.is_last_owner(session, of.membership)
    problem = None
    if request.method == "POST":
        try:
            with bridge().database.transaction() as session:
                now = load_team(session, team_id, TEAM_VIEW)
                done = _go(session, now, now.membership, "team.leave")
        except ValueError as error:
            problem = sentence(error)
        else:
            flash(f"You have left “{of.team.name}”.{done}", "success")
            return redirect(url_for("teams.index"), 303)
    page = render_template(
        "teams/leave.html",
        team=of.team,
        handover=shown,
        sent=request.form,
        problem=problem,
        is_last_owner=is_last_owner,
        may_transfer=of.scope.may(KEYS_ALL),
    )
    return page, 409 if problem else 200


def _change_role(team_id: str, user_id: str, role: str) -> str:
    """Raises ValueError naming the field. Says what became of the keys."""
    done = ""
    with bridge().database.transaction() as session:
        of, other = load_other(session, team_id, user_id)
        if not permissions.may_touch(of.membership.role, role):
            abort(404)  # their own role was lowered meanwhile
        before = other.role
        if not permissions.allowed(role, KEYS_OWN):
            done = _hand_over(session, of, other)
        teams.add_member(session, of.team, other.user, role)
        details = {"email": other.user.email, "before": before, "after": role}
        note_team(session, "team.change_role", of.team, **details)
    return done


def _go(session: Session, of: OfTeam, going: Membership, action: str) -> str:
    """The person is out of the team. Raises ValueError for its last owner."""
    done = _hand_over(session, of, going)
    email = going.user.email
    teams.remove_member(session, going)
    note_team(session, action, of.team, email=email)
    return done


def _hand_over(session: Session, of: OfTeam, going: Membership) -> str:
    found = handover.handover_of(session, going, may_transfer=of.scope.may(KEYS_ALL))
    return handover.words(*handover.carry_out(session, found, request.form))


def _called(member: Membership) -> str:
    return member.user.name or member.user.email
