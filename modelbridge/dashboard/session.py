"""Logging in and out."""

import math

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session
from werkzeug.exceptions import TooManyRequests

from modelbridge.dashboard import access
from modelbridge.dashboard.forms import LoginForm
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.throttle import LoginThrottle
from modelbridge.identity import auditlog, passwords, preferences, users
from modelbridge.store.tables import User

pages = Blueprint("session", __name__)

_REFUSAL = "The e-mail address or the password is wrong."


@pages.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """The form; a right password starts a session and leads to where the person wanted to go."""
    form = LoginForm()
    if request.method == "GET":
        form.next.data = request.args.get("next", "")
    if current_user.is_authenticated:
        return redirect(access.safe_next(form.next.data), 303)
    refused = False
    if form.validate_on_submit():
        user = recognised(form.email.data, form.password.data)
        if user is not None:
            with bridge().database.transaction() as session:
                token = access.start_session(session, user)
                _note(session, "session.login", user)
            access.enter(user, token)
            return redirect(access.safe_next(form.next.data), 303)
        refused = True
    with bridge().database.reading() as session:
        is_new = not users.has_admin(session)
        can_register = not is_new and preferences.registration(session) == "open"
    page = render_template(
        "session/login.html",
        form=form,
        refusal=_REFUSAL if refused else None,
        is_new=is_new,
        can_register=can_register,
    )
    return page, 401 if refused else 400 if form.errors else 200


@pages.post("/logout")
def logout() -> ResponseReturnValue:
    """The session is over, on the server too."""
    with bridge().database.transaction() as session:
        _note(session, "session.logout", access.the_user())
    access.leave()
    flash("You are logged out.", "success")
    return redirect(url_for("session.login"), 303)


def recognised(email: str, password: str) -> User | None:
    """The person, if the password is theirs and they are not disabled.

    An unknown address costs as much time as a wrong password. Raises TooManyRequests.
    """
    account, address = email.strip().lower(), request.remote_addr or ""
    throttle: LoginThrottle = current_app.extensions["modelbridge.login_throttle"]
    if (wait_seconds := throttle.begin(account, address)) > 0:
        if throttle.is_news(address):
            _note_throttled(account)
        raise _too_many(math.ceil(wait_seconds))
    with bridge().database.reading() as session:
        user = users.find_user(session, email)
    is_right = passwords.verify(user.password_hash if user else None, password)
    if user is None or not is_right or user.disabled_at is not None:
        return None
    throttle.succeeded(account, address)
    if user.password_hash and passwords.is_outdated(user.password_hash):
        _renew_hash(user, password)
    return user


def _note(session: Session, action: str, user: User) -> None:
    auditlog.record(
        session,
        actor=user,
        action=action,
        subject_kind="user",
        subject_id=user.id,
        subject=user.email,
        address=request.remote_addr or "",
    )


def _note_throttled(account: str) -> None:
    """Somebody guesses passwords; of what they typed only the account is on record."""
    with bridge().database.transaction() as session:
        auditlog.record(
            session,
            actor=None,
            actor_text=auditlog.NOBODY,
            action="session.throttled",
            subject_kind="user",
            subject_id="",
            subject=account,
            address=request.remote_addr or "",
        )


def _renew_hash(user: User, password: str) -> None:
    password_hash = passwords.hash_password(password)
    with bridge().database.transaction() as session:
        users.set_password(session, session.merge(user, load=True), password_hash)


def _too_many(seconds: int) -> TooManyRequests:
    minutes = math.ceil(seconds / 60)
    when = f"{seconds} seconds" if seconds < 120 else f"{minutes} minutes"
    return TooManyRequests(
        f"There were too many attempts to log in. Try again in {when}.", retry_after=seconds
    )
