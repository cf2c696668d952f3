"""Doors that open once: the set-up of the first administrator, the reset of a password."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from modelbridge.dashboard import access
from modelbridge.dashboard.audit import note_key
from modelbridge.dashboard.forms import NewPasswordForm, SetupForm
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.session import enter_or_ask
from modelbridge.identity import (
    auditlog,
    keys,
    links,
    passwords,
    preferences,
    sessions,
    users,
)
from modelbridge.ledger import accounts
from modelbridge.store.tables import OneTimeLink, User

pages = Blueprint("links", __name__)


class _LinkGoneError(Exception):
    """The link works no longer, or never did."""


@pages.route("/setup/<token>", methods=["GET", "POST"])
def setup(token: str) -> ResponseReturnValue:
    """The first administrator names themselves, chooses a password, and is logged in."""
    form = SetupForm()
    try:
        with bridge().database.reading() as session:
            _open_setup(session, token)
        if form.validate_on_submit():
            user, session_token = _make_administrator(token, form)
            access.enter(user, session_token)
            flash(f"Welcome, {user.name}. This bridge is yours.", "success")
            return redirect(url_for("home.index"), 303)
    except _LinkGoneError:
        return _gone("setup")
    except ValueError as error:
        form.blame(error)
    return render_template("session/setup.html", form=form), 400 if form.errors else 200


@pages.route("/reset/<token>", methods=["GET", "POST"])
def reset(token: str) -> ResponseReturnValue:
    """The person chooses a new password and is logged in nowhere else any more.

    Whoever has a second step is asked for it before being logged in here.
    """
    try:
        with bridge().database.reading() as session:
            user = _open_reset(session, token)[1]
        form = NewPasswordForm((user.email, user.name))
        if form.validate_on_submit():
            user = _change_password(token, form.password.data)
            answer = enter_or_ask(user)
            flash("Your password is changed. Other browsers are logged out.", "success")
            return answer
    except _LinkGoneError:
        return _gone("reset")
    page = render_template("session/reset.html", form=form, email=user.email)
    return page, 400 if form.errors else 200


def _make_administrator(token: str, form: SetupForm) -> tuple[User, str]:
    """Raises _LinkGoneError if somebody was faster, ValueError for an unfit name or address."""
    password_hash = passwords.hash_password(form.password.data)
    with bridge().database.transaction() as session:
        if not links.use_link(session, _open_setup(session, token)):
            raise _LinkGoneError
        zone = preferences.default_time_zone(session)
        user = users.create_user(
            session,
            email=form.email.data,
            name=form.name.data,
            is_admin=True,
            account_id=accounts.open_account(session, "user", zone).id,
            password_hash=password_hash,
        )
        _note(session, "user.setup", user)
        for key in keys.adopt_orphan_keys(session, user):
            note_key(session, "key.transfer", key, actor=user, to=user.email)
        session_token = access.start_session(session, user)
        session.refresh(user)
    return user, session_token


def _change_password(token: str, password: str) -> User:
    """Raises _LinkGoneError if somebody was faster."""
    password_hash = passwords.hash_password(password)
    with bridge().database.transaction() as session:
        link, user = _open_reset(session, token)
        if not links.use_link(session, link):
            raise _LinkGoneError
        users.set_password(session, user, password_hash)
        sessions.end_all(session, user.id)
        _note(session, "user.reset", user)
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


def _open_setup(session: Session, token: str) -> OneTimeLink:
    link = links.open_link(session, "setup", token)
    if link is None or users.has_admin(session):
        raise _LinkGoneError
    return link


def _open_reset(session: Session, token: str) -> tuple[OneTimeLink, User]:
    link = links.open_link(session, "reset", token)
    user = users.get_user(session, link.user_id or "") if link else None
    if link is None or user is None or user.disabled_at is not None:
        raise _LinkGoneError
    return link, user


def _gone(kind: str) -> ResponseReturnValue:
    with bridge().database.reading() as session:
        is_set_up = users.has_admin(session)
    return render_template("session/link_gone.html", kind=kind, is_set_up=is_set_up), 410
