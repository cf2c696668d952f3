"""The person's second step: set up, with a code to prove it; new recovery codes; turned off."""

from urllib.parse import urlsplit

import segno
from flask import current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.orm import Session

from modelbridge.dashboard import access
from modelbridge.dashboard import second_step as steps
from modelbridge.dashboard.account.blueprint import pages
from modelbridge.dashboard.account.changing import knows_password
from modelbridge.dashboard.account.forms import BeginForm, ConfirmForm, NewCodesForm, TurnOffForm
from modelbridge.dashboard.audit import note
from modelbridge.dashboard.forms import Form
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.session import slow_down
from modelbridge.dashboard.throttle import LoginThrottle
from modelbridge.identity import preferences, second_step, sessions
from modelbridge.store.tables import User

_NOT_YOURS = "this is not your password"
_WRONG_CODE = "this code is wrong, or was used before; wait for the next one"


@pages.route("/second-step", methods=["GET", "POST"], endpoint="second_step")
def index() -> ResponseReturnValue:
    """How it stands; POST proves the device with its first code, and shows the recovery codes."""
    form = ConfirmForm()
    if not form.validate_on_submit():
        return _page(form if form.is_submitted() else None)
    with bridge().database.transaction() as session:
        user = _own_row(session)
        codes = None
        if user.totp_sealed is not None:
            codes = second_step.confirm(session, user, steps.unseal(user), form.code.data)
        if codes is not None:
            sessions.end_others(session, user.id, current_user.token)
            _note(session, "account.second_step_on", user)
    if codes is None:
        form.blame(ValueError(f"code: {_WRONG_CODE}"))
        return _page(form)
    return _show_once(codes, is_new=True)


@pages.post("/second-step/begin", endpoint="begin_second_step")
def begin() -> ResponseReturnValue:
    """The person has a secret for their device, once the password is right."""
    form = BeginForm()
    if not form.validate_on_submit():
        return _page(form)
    if not knows_password(form.password.data):
        form.blame(ValueError(f"password: {_NOT_YOURS}"))
        return _page(form)
    with bridge().database.transaction() as session:
        user = _own_row(session)
        if not second_step.is_on(user):
            second_step.begin(session, user, steps.seal(user, second_step.new_secret()))
    return redirect(url_for("account.second_step"), 303)


@pages.post("/second-step/codes", endpoint="new_recovery_codes")
def new_codes() -> ResponseReturnValue:
    """Ten new recovery codes, shown once; the old ones are worth nothing."""
    form = NewCodesForm()
    if not form.validate_on_submit():
        return _page(form)
    if not knows_password(form.codes_password.data):
        form.blame(ValueError(f"codes_password: {_NOT_YOURS}"))
        return _page(form)
    with bridge().database.transaction() as session:
        user = _own_row(session)
        codes = second_step.new_recovery_codes(session, user) if second_step.is_on(user) else None
        if codes is not None:
            _note(session, "account.recovery_codes", user)
    return _page() if codes is None else _show_once(codes, is_new=False)


@pages.post("/second-step/off", endpoint="end_second_step")
def turn_off() -> ResponseReturnValue:
    """The password alone logs in from now on; it and a code are asked for. Others log in anew."""
    form = TurnOffForm()
    if not form.validate_on_submit():
        return _page(form)
    if not knows_password(form.off_password.data):
        form.blame(ValueError(f"off_password: {_NOT_YOURS}"))
        return _page(form)
    email = access.the_user().email
    throttle: LoginThrottle = current_app.extensions["modelbridge.code_throttle"]
    slow_down(throttle, email)  # who knows the password must not get to guess here, either
    with bridge().database.transaction() as session:
        user = _own_row(session)
        if not second_step.is_on(user):
            return _page()
        is_right = steps.use(session, user, form.off_code.data) is not None
        if is_right:
            second_step.turn_off(session, user)
            sessions.end_others(session, user.id, current_user.token)
        _note(session, "account.second_step_off" if is_right else "session.wrong_code", user)
    if not is_right:
        form.blame(ValueError(f"off_code: {_WRONG_CODE}"))
        return _page(form)
    throttle.succeeded(email, request.remote_addr or "")
    flash("Your second step is off. Other browsers are logged out.", "success")
    return redirect(url_for("account.second_step"), 303)


def _page(refused: Form | None = None) -> ResponseReturnValue:
    with bridge().database.reading() as session:
        user = _own_row(session)
        is_needed = preferences.needs_second_step(session)
        left = second_step.recovery_codes_left(session, user)
    is_on = second_step.is_on(user)
    secret = None if is_on or user.totp_sealed is None else steps.unseal(user)
    kinds: tuple[type[Form], ...] = (BeginForm, ConfirmForm, NewCodesForm, TurnOffForm)
    page = render_template(
        "account/second_step.html",
        user=user,
        is_on=is_on,
        is_needed=is_needed,
        left=left,
        secret=secret and " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        qr_code=secret and _qr_code(secret, user.email),
        forms_={
            kind.__name__: refused if isinstance(refused, kind) else kind(formdata=None)
            for kind in kinds
        },
        refused=refused,
    )
    return page, 400 if refused else 200


def _show_once(codes: list[str], *, is_new: bool) -> ResponseReturnValue:
    return render_template("account/recovery_codes.html", codes=codes, is_new=is_new)


def _qr_code(secret: str, email: str) -> str:
    """An image for a data: address; black on white, whatever the theme, since cameras need it."""
    bridge_name = urlsplit(bridge().settings.public_url).netloc
    address = second_step.address_for_device(secret, email, bridge_name)
    return segno.make(address, error="m").svg_data_uri(scale=5, border=4, light="#fff")


def _own_row(session: Session) -> User:
    return session.get_one(User, access.the_user().id)


def _note(session: Session, action: str, user: User) -> None:
    note(session, action, "user", user.id, user.email)
