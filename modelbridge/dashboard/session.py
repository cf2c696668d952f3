"""Logging in, in one step or two, and out."""

import math

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session
from werkzeug.exceptions import TooManyRequests

from modelbridge.dashboard import access
from modelbridge.dashboard import second_step as steps
from modelbridge.dashboard.forms import LoginForm, SecondStepForm
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.throttle import LoginThrottle
from modelbridge.identity import auditlog, passwords, preferences, second_step, users
from modelbridge.store.tables import User

pages = Blueprint("session", __name__)

_REFUSAL = "The e-mail address or the password is wrong."
_WRONG_CODE = "This code is wrong, or was used before. Wait for the next one."
_GONE = (
    "This login took more than ten minutes, or was begun in another browser. Nothing happened: "
    "go to the login page and begin again."
)


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
            return enter_or_ask(user, form.next.data)
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


@pages.route("/login/code", methods=["GET", "POST"], endpoint="second_step")
def ask_code() -> ResponseReturnValue:
    """The form for the code, to a browser that has shown the password; then the session starts."""
    form = SecondStepForm()
    if request.method == "GET":
        form.next.data = request.args.get("next", "")
    if current_user.is_authenticated:
        return redirect(access.safe_next(form.next.data), 303)
    with bridge().database.reading() as session:
        user = steps.waiting(session)
    if user is None or not second_step.is_on(user):
        abort(400, _GONE)
    if not form.validate_on_submit():
        return _code_page(form, None)
    throttle: LoginThrottle = current_app.extensions["modelbridge.code_throttle"]
    slow_down(throttle, user.email)
    entered = _enter_with(user, form.code.data)
    if entered is None:
        return _code_page(form, _WRONG_CODE)
    throttle.succeeded(user.email, request.remote_addr or "")
    token, warning = entered
    access.enter(user, token)
    if warning:  # after what the cookie held before is forgotten
        flash(warning, "warning")
    return redirect(access.safe_next(form.next.data), 303)


@pages.post("/logout")
def logout() -> ResponseReturnValue:
    """The session is over, on the server too."""
    with bridge().database.transaction() as session:
        _note(session, "session.logout", access.the_user())
    access.leave()
    flash("You are logged out.", "success")
    return redirect(url_for("session.login"), 303)


def enter_or_ask(user: User, target: str | None = None) -> ResponseReturnValue:
    """Whoever has shown the password of `user` is logged in, or asked for the second step."""
    if second_step.is_on(user):
        steps.ask_for(user)
        return redirect(url_for("session.second_step", next=target or None), 303)
    with bridge().database.transaction() as session:
        token = access.start_session(session, user)
        _note(session, "session.login", user)
    access.enter(user, token)
    return redirect(access.safe_next(target), 303)


def recognised(email: str, password: str) -> User | None:
    """The person, if the password is theirs and they are not disabled.

    An unknown address costs as much time as a wrong password. Raises TooManyRequests.
    """
    account, address = users.known_as(email), request.remote_addr or ""
    throttle: LoginThrottle = current_app.extensions["modelbridge.login_throttle"]
    slow_down(throttle, account)
    with bridge().database.reading() as session:
        user = users.find_user(session, email)
    is_right = passwords.verify(user.password_hash if user else None, password)
    if user is None or not is_right or user.disabled_at is not None:
        return None
    throttle.succeeded(account, address)
    if user.password_hash and passwords.is_outdated(user.password_hash):
        _renew_hash(user, password)
    return user


def slow_down(throttle: LoginThrottle, account: str) -> None:
    """Counts an attempt on that account from this address. Raises TooManyRequests."""
    address = request.remote_addr or ""
    if (wait_seconds := throttle.begin(account, address)) > 0:
        if throttle.is_news(address):
            _note_throttled(account)
        raise _too_many(math.ceil(wait_seconds))


def _enter_with(user: User, code: str) -> tuple[str, str] | None:
    """The token of the new session and what the person must know; None for a wrong code."""
    with bridge().database.transaction() as session:
        row = session.get_one(User, user.id)
        kind = steps.use(session, row, code) if second_step.is_on(row) else None
        if kind is None:
            _note(session, "session.wrong_code", user)
            return None
        left = second_step.recovery_codes_left(session, row)
        _note(session, "session.login", user, second_step=kind)
        token = access.start_session(session, row)
    if kind != "recovery code":
        return token, ""
    return token, f"You used a recovery code; {left} are left. Make new ones on your account page."


def _code_page(form: SecondStepForm, refusal: str | None) -> ResponseReturnValue:
    page = render_template("session/second_step.html", form=form, refusal=refusal)
    return page, 401 if refusal else 400 if form.errors else 200


def _note(session: Session, action: str, user: User, **details: str) -> None:
    auditlog.record(
        session,
        actor=user,
        action=action,
        subject_kind="user",
        subject_id=user.id,
        subject=user.email,
        details=details or None,
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
