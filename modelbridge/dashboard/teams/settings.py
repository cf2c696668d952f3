"""What the team is called, when its days begin, what it may spend; and its end."""

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from modelbridge.dashboard.audit import note_team
from modelbridge.dashboard.forms import sentence
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.teams.blueprint import pages
from modelbridge.dashboard.teams.forms import SettingsForm
from modelbridge.dashboard.teams.loading import load_team
from modelbridge.identity import keys, teams
from modelbridge.identity.permissions import TEAM_DELETE, TEAM_SETTINGS
from modelbridge.ledger import accounts, limits
from modelbridge.money import format_amount


@pages.route("/<team_id>/settings", methods=["GET", "POST"])
def settings(team_id: str) -> ResponseReturnValue:
    """The form with what is set."""
    with bridge().database.reading() as session:
        of = load_team(session, team_id, TEAM_SETTINGS)
        account = accounts.account_view(session, of.team.account_id)
    form = SettingsForm(account.time_zone)
    if form.validate_on_submit():
        try:
            _save(team_id, form)
        except ValueError as error:
            form.blame(error)
        else:
            flash("Saved.", "success")
            return redirect(url_for("teams.show", team_id=team_id), 303)
    elif request.method == "GET":
        form.name.data, form.time_zone.data = of.team.name, account.time_zone
        form.show_limit(account.limit_nanos, account.limit_window)
    page = render_template("teams/settings.html", form=form, team=of.team, scope=of.scope)
    return page, 400 if form.errors else 200


@pages.route("/<team_id>/delete", methods=["GET", "POST"])
def delete(team_id: str) -> ResponseReturnValue:
    """GET says what goes and what stays; POST deletes, unless there is money left."""
    with bridge().database.reading() as session:
        of = load_team(session, team_id, TEAM_DELETE)
        account = accounts.account_view(session, of.team.account_id)
        members = teams.members_of(session, of.team)
        working = [
            key for key in keys.keys_in_team(session, of.membership) if key.revoked_at is None
        ]
    problem = None
    if request.method == "POST":
        try:
            with bridge().database.transaction() as session:
                team = load_team(session, team_id, TEAM_DELETE).team
                revoked = teams.archive_team(session, team)
                note_team(session, "team.delete", team, keys_revoked=revoked)
        except ValueError as error:
            problem = sentence(error)
        else:
            flash(f"“{of.team.name}” is deleted.", "success")
            return redirect(url_for("teams.index"), 303)
    page = render_template(
        "teams/delete.html",
        team=of.team,
        account=account,
        members=members,
        keys=working,
        problem=problem,
    )
    return page, 409 if problem else 200


def _save(team_id: str, form: SettingsForm) -> None:
    """Raises ValueError naming the field."""
    with bridge().database.transaction() as session:
        team = load_team(session, team_id, TEAM_SETTINGS).team
        teams.rename_team(session, team, form.name.data)
        limits.set_account_time_zone(session, team.account_id, form.time_zone.data)
        limits.set_account_limit(session, team.account_id, form.limit_nanos, form.limit_window)
        limit = None if form.limit_nanos is None else format_amount(form.limit_nanos)
        note_team(
            session,
            "team.settings",
            team,
            time_zone=form.time_zone.data,
            limit=limit,
            window=form.limit_window,
        )
