"""Invitations, from the side of those who send them."""

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from modelbridge.dashboard import access, mail
from modelbridge.dashboard.audit import note_team
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.teams.blueprint import pages
from modelbridge.dashboard.teams.forms import InviteForm
from modelbridge.dashboard.teams.loading import load_team
from modelbridge.identity import invitations, permissions
from modelbridge.identity.invitations import NewInvitation
from modelbridge.identity.permissions import MEMBERS_MANAGE
from modelbridge.store.tables import Team


@pages.route("/<team_id>/invite", methods=["GET", "POST"])
def invite(team_id: str) -> ResponseReturnValue:
    """The form; then the link, in the answer to the POST and never again."""
    with bridge().database.reading() as session:
        of = load_team(session, team_id, MEMBERS_MANAGE)
    form = InviteForm(permissions.grantable_roles(of.membership.role))
    if form.validate_on_submit():
        try:
            new = _invite(team_id, form)
        except ValueError as error:
            form.blame(error)
        else:
            return _shown_once(of.team, new)
    page = render_template("teams/invite.html", form=form, team=of.team)
    return page, 400 if form.errors else 200


@pages.route("/<team_id>/invitations/<invitation_id>/revoke", methods=["GET", "POST"])
def revoke_invitation(team_id: str, invitation_id: str) -> ResponseReturnValue:
    """GET asks, POST ends the link."""
    if request.method != "POST":
        with bridge().database.reading() as session:
            of = load_team(session, team_id, MEMBERS_MANAGE)
            row = invitations.get_for(session, of.team, invitation_id) or abort(404)
        return render_template("teams/revoke_invitation.html", team=of.team, invitation=row)
    with bridge().database.transaction() as session:
        of = load_team(session, team_id, MEMBERS_MANAGE)
        row = invitations.get_for(session, of.team, invitation_id) or abort(404)
        was_open = invitations.revoke(session, row)
        if was_open:
            note_team(session, "team.revoke_invitation", of.team, email=row.email)
    if was_open:
        flash(f"The invitation of {row.email} is revoked: its link works no longer.", "success")
    else:
        flash(f"The invitation of {row.email} was over already.", "warning")
    return redirect(url_for("teams.show", team_id=team_id), 303)


def _invite(team_id: str, form: InviteForm) -> NewInvitation:
    """Raises ValueError naming the field."""
    with bridge().database.transaction() as session:
        of = load_team(session, team_id, MEMBERS_MANAGE)
        new = invitations.invite(session, of.membership, email=form.email.data, role=form.role.data)
        note_team(session, "team.invite", of.team, email=new.row.email, role=new.row.role)
        return new


def _shown_once(team: Team, new: NewInvitation) -> ResponseReturnValue:
    path = url_for("invitations.accept", token=new.token)
    link = f"{bridge().settings.public_url}{path}"
    user = access.the_user()
    inviter = user.name or user.email
    text = render_template(
        "teams/invitation.txt", team=team, invitation=new.row, inviter=inviter, link=link
    )
    is_mailed = mail.send(new.row.email, f"{inviter} invites you to {team.name}", text)
    return render_template(
        "teams/invited.html",
        team=team,
        invitation=new.row,
        link=link,
        is_mailed=is_mailed,
        has_mail=mail.is_set_up(),
    )
