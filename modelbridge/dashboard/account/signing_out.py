"""The end of the person's sessions in other browsers."""

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from modelbridge.dashboard import access
from modelbridge.dashboard.account.blueprint import pages
from modelbridge.dashboard.account.browsers import describe
from modelbridge.dashboard.audit import note
from modelbridge.dashboard.services import bridge
from modelbridge.identity import sessions


@pages.route("/sessions/<handle>/end", methods=["GET", "POST"])
def end_session(handle: str) -> ResponseReturnValue:
    """GET asks, POST logs that browser out, which may be this one."""
    user = access.the_user()
    if request.method != "POST":
        with bridge().database.reading() as session:
            row = sessions.find_by_handle(session, user.id, handle) or abort(404)
        return render_template(
            "account/end_session.html", browser=describe(row.user_agent), row=row
        )
    with bridge().database.transaction() as session:
        row = sessions.find_by_handle(session, user.id, handle) or abort(404)
        browser = describe(row.user_agent)
        session.delete(row)
        note(session, "account.end_session", "user", user.id, user.email)
    flash(f"{browser} is logged out.", "success")
    return redirect(url_for("account.index", _anchor="sessions"), 303)


@pages.route("/sessions/end-others", methods=["GET", "POST"])
def end_others() -> ResponseReturnValue:
    """GET asks, POST logs every other browser out."""
    if request.method != "POST":
        return render_template("account/end_others.html")
    user = access.the_user()
    with bridge().database.transaction() as session:
        ended = sessions.end_others(session, user.id, current_user.token)
        note(session, "account.end_other_sessions", "user", user.id, user.email, ended=ended)
    flash("Every other browser is logged out.", "success")
    return redirect(url_for("account.index", _anchor="sessions"), 303)
