"""People, as an administrator sees them: found, made, disabled, given a link."""

from dataclasses import dataclass

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session
from wtforms import BooleanField, EmailField, Field, StringField
from wtforms.validators import InputRequired, Length

from modelbridge.dashboard import access, mail
from modelbridge.dashboard.admin.guard import PAGE_SIZE, page_of, pages, search_words
from modelbridge.dashboard.audit import note, note_key
from modelbridge.dashboard.forms import Form, check, sentence
from modelbridge.dashboard.services import bridge
from modelbridge.identity import keys, links, preferences, second_step, sessions, users
from modelbridge.ledger import accounts
from modelbridge.store.tables import ApiKey, Membership, User

FIRST_LINK_HOURS = 72
RESET_LINK_HOURS = 24


class UserForm(Form):
    """Somebody new."""

    email = EmailField(
        "E-mail address",
        [InputRequired("Enter their e-mail address.")],
        description="They log in with it.",
        render_kw={"autocomplete": "off", "autofocus": True},
    )
    name = StringField(
        "Name", [Length(max=users.MAX_NAME)], description="May stay empty; they can change it."
    )
    is_admin = BooleanField("Administrator of this bridge")

    def validate_email(self, field: Field) -> None:
        """An e-mail address."""
        check(users.clean_email, field.data or "")

    def validate_name(self, field: Field) -> None:
        """A name that can be shown."""
        check(users.clean_name, field.data or "")


@dataclass(frozen=True, slots=True)
class Action:
    """Something that asks first: its question, what it will do, its button, its name in a list."""

    title: str
    text: str
    button: str
    danger: bool = False
    name: str = ""


ACTIONS = {
    "link": Action(
        "Make a link for {}?",
        "Whoever opens it, once and within a day, chooses a new password and is logged in as them. "
        "Until then the old password works.",
        "Make the link",
        name="Forgotten password",
    ),
    "second-step": Action(
        "Turn off the second step of {}?",
        "For who lost phone and recovery codes: be sure that it is them. They are logged out and "
        "log in with their password alone, until they set it up again.",
        "Turn it off",
        danger=True,
        name="Second step",
    ),
    "disable": Action(
        "Disable {}?",
        "Their keys, personal and in teams, get 401 from the next call on, running streams are "
        "cut, and they are logged out. Nothing is deleted, and it can be undone.",
        "Disable",
        danger=True,
        name="No access any more",
    ),
    "enable": Action(
        "Enable {} again?",
        "They can log in again, and their keys that were not revoked work again.",
        "Enable",
        name="Access again",
    ),
    "promote": Action(
        "Make {} an administrator?",
        "They can do everything on this bridge: people, money, upstreams, settings.",
        "Make administrator",
        name="Administration",
    ),
    "demote": Action(
        "Take administration from {}?",
        "They keep their account, teams and keys, and lose these pages.",
        "Take it away",
        danger=True,
        name="Administration",
    ),
}


@pages.get("/users", endpoint="users")
def index() -> ResponseReturnValue:
    """Everybody, by address, 50 a page."""
    words, after = search_words(), request.args.get("after", "")
    found = select(User).where(User.email > after).order_by(User.email).limit(PAGE_SIZE + 1)
    if words:
        found = found.where(
            or_(
                User.email.icontains(words, autoescape=True),
                User.name.icontains(words, autoescape=True),
            )
        )
    with bridge().database.reading() as session:
        rows, last = page_of(list(session.scalars(found)))
        total = session.scalar(select(func.count()).select_from(User))
    return render_template(
        "admin/users.html", rows=rows, total=total, words=words, after=last and last.email
    )


@pages.route("/users/new", methods=["GET", "POST"], endpoint="user_new")
def create() -> ResponseReturnValue:
    """The form; then the link with which the new person chooses a password."""
    form = UserForm()
    if form.validate_on_submit():
        try:
            user, token = _create(form)
        except ValueError as error:
            form.blame(error)
        else:
            return _show_link(user, token, FIRST_LINK_HOURS, is_new=True)
    return render_template("admin/user_new.html", form=form), 400 if form.errors else 200


@pages.get("/users/<user_id>", endpoint="user")
def show(user_id: str) -> ResponseReturnValue:
    """One person: what they have, and what can be done."""
    with bridge().database.reading() as session:
        user = users.get_user(session, user_id) or abort(404)
        account = accounts.account_view(session, user.account_id)
        memberships = list(session.scalars(select(Membership).where(Membership.user_id == user.id)))
        key_count = session.scalar(
            select(func.count()).where(ApiKey.user_id == user.id, ApiKey.revoked_at.is_(None))
        )
    return render_template(
        "admin/user.html",
        user=user,
        account=account,
        memberships=memberships,
        key_count=key_count,
        actions={name: ACTIONS[name] for name in _possible(user)},
    )


@pages.route("/users/<user_id>/<action>", methods=["GET", "POST"], endpoint="user_action")
def act(user_id: str, action: str) -> ResponseReturnValue:
    """GET asks, POST does it."""
    if action not in ACTIONS:
        abort(404)
    if request.method != "POST":
        with bridge().database.reading() as session:
            user = users.get_user(session, user_id) or abort(404)
        return render_template(
            "admin/confirm.html",
            ask=ACTIONS[action],
            title=ACTIONS[action].title.format(user.email),
            back=url_for("admin.user", user_id=user.id),
        )
    try:
        with bridge().database.transaction() as session:
            user = users.get_user(session, user_id) or abort(404)
            token = _do(session, user, action)
    except ValueError as error:
        flash(sentence(error), "warning")
        return redirect(url_for("admin.user", user_id=user_id), 303)
    if token is not None:
        return _show_link(user, token, RESET_LINK_HOURS, is_new=False)
    flash(_DONE[action].format(user.email), "success")
    if action == "demote" and user.id == access.the_user().id:
        return redirect(url_for("home.index"), 303)
    return redirect(url_for("admin.user", user_id=user.id), 303)


_DONE = {
    "second-step": "The second step of {} is off.",
    "disable": "{} is disabled: their keys have stopped.",
    "enable": "{} is enabled again.",
    "promote": "{} is an administrator now.",
    "demote": "{} is no administrator any more.",
}


def _possible(user: User) -> list[str]:
    if user.disabled_at is not None:
        return ["enable"]
    is_me = user.id == access.the_user().id
    rest = ["second-step"] if second_step.is_on(user) else []
    rest.append("demote" if user.is_admin else "promote")
    return ["link", *rest] if is_me else ["link", *rest, "disable"]


def _do(session: Session, user: User, action: str) -> str | None:
    """The action is done and in the log; the token of the link, if it makes one.

    Raises ValueError for what may not be.
    """
    token = None
    if action == "link":
        if user.disabled_at is not None:
            raise ValueError(f"{user.email} is disabled: enable them first")
        token = links.new_link(session, "reset", user.id, RESET_LINK_HOURS)
    elif action == "disable":
        if user.id == access.the_user().id:
            raise ValueError("you cannot disable yourself; another administrator can")
        users.disable(session, user)
        sessions.end_all(session, user.id)
        links.end_all(session, user.id)
    elif action == "enable":
        users.enable(session, user)
    elif action == "second-step":
        if not second_step.turn_off(session, user):
            raise ValueError(f"{user.email} has no second step")
        sessions.end_all(session, user.id)
    else:
        users.set_admin(session, user, action == "promote")
    done = "second_step_off" if action == "second-step" else action
    note(session, f"user.{done}", "user", user.id, user.email)
    return token


def _create(form: UserForm) -> tuple[User, str]:
    """Raises ValueError naming the field."""
    with bridge().database.transaction() as session:
        account = accounts.open_account(session, "user", preferences.default_time_zone(session))
        user = users.create_user(
            session,
            email=form.email.data,
            name=form.name.data or "",
            is_admin=form.is_admin.data,
            account_id=account.id,
        )
        if user.is_admin:
            for key in keys.adopt_orphan_keys(session, user):
                note_key(session, "key.transfer", key, to=user.email)
        token = links.new_link(session, "reset", user.id, FIRST_LINK_HOURS)
        note(session, "user.create", "user", user.id, user.email, administrator=user.is_admin)
    return user, token


def _show_link(user: User, token: str, hours: int, *, is_new: bool) -> ResponseReturnValue:
    link = f"{bridge().settings.public_url}/reset/{token}"
    mailed = mail.send(
        user.email,
        "Your ModelBridge account" if is_new else "Choose a new ModelBridge password",
        f"With this link you choose your password for {bridge().settings.public_url}.\n\n"
        f"{link}\n\nIt works once, for {hours} hours.\n",
    )
    return render_template(
        "admin/user_link.html", user=user, link=link, hours=hours, is_new=is_new, mailed=mailed
    )
