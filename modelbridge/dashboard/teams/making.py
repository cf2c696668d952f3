"""The visitor's teams, and a new one."""

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, select

from modelbridge.dashboard import access
from modelbridge.dashboard.audit import note_team
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.teams.blueprint import pages
from modelbridge.dashboard.teams.forms import TeamForm
from modelbridge.identity import teams
from modelbridge.ledger import accounts
from modelbridge.store.tables import Membership, Team, User


@pages.get("")
def index() -> ResponseReturnValue:
    """The teams that the person is in."""
    with bridge().database.reading() as session:
        own = teams.memberships_of(session, access.the_user())
        counts = session.execute(
            select(Membership.team_id, func.count())
            .where(Membership.team_id.in_([membership.team_id for membership in own]))
            .group_by(Membership.team_id)
        )
        sizes = {team_id: count for team_id, count in counts}
    return render_template("teams/index.html", memberships=own, sizes=sizes)


@pages.route("/new", methods=["GET", "POST"])
def create() -> ResponseReturnValue:
    """Whoever makes a team owns it."""
    form = TeamForm()
    if form.validate_on_submit():
        try:
            team = _create(form.name.data)
        except ValueError as error:
            form.blame(error)
        else:
            flash(f"“{team.name}” is yours. Invite the others, and have it topped up.", "success")
            return redirect(url_for("teams.show", team_id=team.id), 303)
    return render_template("teams/new.html", form=form), 400 if form.errors else 200


def _create(name: str) -> Team:
    """Raises ValueError naming the field."""
    user = access.the_user()
    with bridge().database.transaction() as session:
        account = accounts.open_account(session, "team", user.account.time_zone)
        owner = session.get_one(User, user.id)
        team = teams.create_team(session, name=name, owner=owner, account_id=account.id)
        note_team(session, "team.create", team)
        return team
