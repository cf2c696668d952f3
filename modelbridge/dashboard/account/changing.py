"""Changes to the person's own account, each from a form of its own."""

from typing import Any

from flask import flash, redirect, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from modelbridge.dashboard import access
from modelbridge.dashboard.account.blueprint import pages
from modelbridge.dashboard.account.forms import (
    EmailForm,
    OwnLimitForm,
    PasswordForm,
    ProfileForm,
)
from modelbridge.dashboard.account.page import show
from modelbridge.dashboard.audit import note
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.session import recognised
from modelbridge.identity import links, passwords, sessions, users
from modelbridge.ledger import limits
from modelbridge.money import format_amount
from modelbridge.store.tables import User


@pages.post("/profile")
def change_profile() -> ResponseReturnValue:
    """What the others see, and when the person's days begin: what was spent is sorted anew."""
    form = ProfileForm(access.the_user().account.time_zone)
    if not form.validate_on_submit():
        return show(form)
    with bridge().database.transaction() as session:
        user, zone = _own_row(session), form.time_zone.data
        users.rename(session, user, form.name.data)
        limits.set_account_time_zone(session, user.account_id, zone)
        _note(session, "account.profile", user, name=user.name, time_zone=zone)
    return _done("Saved.")


@pages.post("/email")
def change_email() -> ResponseReturnValue:
    """Another address to log in with; the password is asked for."""
    form = EmailForm()
    if not form.validate_on_submit():
        return show(form)
    if not knows_password(form.email_password.data):
        form.blame(ValueError("email_password: this is not your password"))
        return show(form)
    try:
        with bridge().database.transaction() as session:
            user = _own_row(session)
            before = user.email
            users.change_email(session, user, form.email.data)
            links.end_all(session, user.id)
            _note(session, "account.email", user, before=before, after=user.email)
    except ValueError as error:
        form.blame(error)
        return show(form)
    return _done(f"From now on you log in as {user.email}.")


@pages.post("/password")
def change_password() -> ResponseReturnValue:
    """Another password; every other browser of the person is logged out."""
    own = access.the_user()
    form = PasswordForm((own.email, own.name))
    if not form.validate_on_submit():
        return show(form)
    if not knows_password(form.current_password.data):
        form.blame(ValueError("current_password: this is not your password"))
        return show(form)
    password_hash = passwords.hash_password(form.new_password.data)
    with bridge().database.transaction() as session:
        user = _own_row(session)
        users.set_password(session, user, password_hash)
        sessions.end_all(session, user.id)
        links.end_all(session, user.id)
        token = access.start_session(session, user)
        _note(session, "account.password", user)
    access.enter(user, token)
    return _done("Your password is changed. Other browsers are logged out.")


@pages.post("/limit")
def change_limit() -> ResponseReturnValue:
    """What all of the person's own keys together may spend."""
    form = OwnLimitForm()
    if not form.validate_on_submit():
        return show(form)
    try:
        with bridge().database.transaction() as session:
            user = _own_row(session)
            window = form.limit_window
            limits.set_account_limit(session, user.account_id, form.limit_nanos, window)
            limit = None if form.limit_nanos is None else format_amount(form.limit_nanos)
            _note(session, "account.limit", user, limit=limit, window=window)
    except ValueError as error:
        form.blame(error)
        return show(form)
    return _done("Your spending limit is changed.")


def _own_row(session: Session) -> User:
    return session.get_one(User, access.the_user().id)


def knows_password(password: str) -> bool:
    """Whether it is theirs. Guesses are counted, and slowed down, with those at the login."""
    own = access.the_user()
    found = recognised(own.email, password)
    return found is not None and found.id == own.id and current_user.is_authenticated


def _note(session: Session, action: str, user: User, **details: Any) -> None:
    note(session, action, "user", user.id, user.email, **details)


def _done(words: str) -> ResponseReturnValue:
    flash(words, "success")
    return redirect(url_for("account.index"), 303)
