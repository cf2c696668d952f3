"""Registration, while the administrators leave it open to anybody."""

import math

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from werkzeug.exceptions import TooManyRequests

from modelbridge.dashboard import access
from modelbridge.dashboard.forms import SetupForm
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.throttle import LoginThrottle
from modelbridge.identity import auditlog, passwords, preferences, users
from modelbridge.ledger import accounts
from modelbridge.store.tables import User

pages = Blueprint("register", __name__)

_SUBJECT = "registration"


@pages.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    """The form; a new person is logged in at once. 404 unless registration is open."""
    with bridge().database.reading() as session:
        if preferences.registration(session) != "open" or not users.has_admin(session):
            abort(404)
    if current_user.is_authenticated:
        return redirect(url_for("home.index"), 303)
    form = SetupForm()
    if form.validate_on_submit():
        _slow_down()
        try:
            user, token = _create(form)
        except ValueError as error:
            form.blame(error)
        else:
            access.enter(user, token)
            flash(f"Welcome, {user.name}.", "success")
            return redirect(url_for("home.index"), 303)
    return render_template("session/register.html", form=form), 400 if form.errors else 200


def _slow_down() -> None:
    """Counts an attempt of this address. Raises TooManyRequests."""
    throttle: LoginThrottle = current_app.extensions["modelbridge.login_throttle"]
    wait_seconds = math.ceil(throttle.begin(_SUBJECT, request.remote_addr or ""))
    if wait_seconds > 0:
        raise TooManyRequests(
            "There were too many registrations from your network. "
            f"Try again in {math.ceil(wait_seconds / 60)} minutes.",
            retry_after=wait_seconds,
        )


def _create(form: SetupForm) -> tuple[User, str]:
    """The person and the token of their session. Raises ValueError naming the field."""
    password_hash = passwords.hash_password(form.password.data)
    with bridge().database.transaction() as session:
        if preferences.registration(session) != "open":
            abort(404)
        account = accounts.open_account(session, "user", preferences.default_time_zone(session))
        user = users.create_user(
            session,
            email=form.email.data,
            name=form.name.data,
            account_id=account.id,
            password_hash=password_hash,
        )
        auditlog.record(
            session,
            actor=user,
            action="user.register",
            subject_kind="user",
            subject_id=user.id,
            subject=user.email,
            address=request.remote_addr or "",
        )
        token = access.start_session(session, user)
        session.refresh(user)
    return user, token
