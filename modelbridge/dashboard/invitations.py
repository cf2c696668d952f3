"""Invitations, from the side of those who follow the link: who may join, and as whom."""

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from modelbridge.dashboard import access
from modelbridge.dashboard.forms import RegisterForm
from modelbridge.dashboard.services import bridge
from modelbridge.identity import (
    auditlog,
    invitations,
    passwords,
    permissions,
    preferences,
    users,
)
from modelbridge.ledger import accounts
from modelbridge.store.tables import Invitation, User

pages = Blueprint("invitations", __name__)


class _GoneError(Exception):
    """The link works no longer, or never did."""


@pages.route("/invitations/<token>", methods=["GET", "POST"])
def accept(token: str) -> ResponseReturnValue:
    """Joins whoever is logged in with the invited address; a newcomer registers here."""
    try:
        with bridge().database.reading() as session:
            invitation = _open(session, token)
            known = users.find_user(session, invitation.email)
            is_closed = preferences.registration(session) == "closed"
        if current_user.is_authenticated:
            return _as_visitor(token, invitation)
        if known is not None or is_closed:
            return _page(invitation, "closed" if known is None else "log_in", token=token)
        return _as_newcomer(token, invitation)
    except _GoneError:
        return render_template("invitations/gone.html"), 410


def _as_visitor(token: str, invitation: Invitation) -> ResponseReturnValue:
    user = access.the_user()
    if user.email != invitation.email:
        return _page(invitation, "other_person")
    if request.method != "POST":
        return _page(invitation, "join")
    with bridge().database.transaction() as session:
        _join(session, token, session.get_one(User, user.id))
    return _welcome(invitation)


def _as_newcomer(token: str, invitation: Invitation) -> ResponseReturnValue:
    form = RegisterForm(invitation.email)
    if form.validate_on_submit():
        try:
            user, session_token = _register(token, form)
        except ValueError as error:
            form.blame(error)
        else:
            access.enter(user, session_token)
            return _welcome(invitation)
    return _page(invitation, "register", form=form), 400 if form.errors else 200


def _register(token: str, form: RegisterForm) -> tuple[User, str]:
    """Raises _GoneError if the link was used meanwhile, ValueError for an unfit name."""
    password_hash = passwords.hash_password(form.password.data)
    with bridge().database.transaction() as session:
        invitation = _open(session, token)
        zone = invitation.team.account.time_zone
        user = users.create_user(
            session,
            email=invitation.email,
            name=form.name.data,
            account_id=accounts.open_account(session, "user", zone).id,
            password_hash=password_hash,
        )
        _join(session, token, user)
        session_token = access.start_session(session, user)
        session.refresh(user)
    return user, session_token


def _join(session: Session, token: str, user: User) -> None:
    """Raises _GoneError if somebody was faster."""
    invitation = _open(session, token)
    if not invitations.accept(session, invitation, user):
        raise _GoneError
    membership = permissions.membership(session, user.id, invitation.team_id)
    auditlog.record(
        session,
        actor=user,
        action="team.join",
        subject_kind="team",
        subject_id=invitation.team_id,
        subject=invitation.team.name,
        details={"role": membership.role if membership else invitation.role},
        address=request.remote_addr or "",
    )


def _open(session: Session, token: str) -> Invitation:
    invitation = invitations.open_invitation(session, token)
    if invitation is None:
        raise _GoneError
    return invitation


def _welcome(invitation: Invitation) -> ResponseReturnValue:
    flash(f"You are in “{invitation.team.name}” now.", "success")
    return redirect(url_for("teams.show", team_id=invitation.team_id), 303)


def _page(invitation: Invitation, state: str, **more: object) -> str:
    with bridge().database.reading() as session:
        inviter = users.get_user(session, invitation.invited_by)
    return render_template(
        "invitations/accept.html", invitation=invitation, state=state, inviter=inviter, **more
    )
