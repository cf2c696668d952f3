"""Personal API keys: the list, a new one, the end of one."""

import secrets
from dataclasses import dataclass

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask import session as cookie
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from modelbridge.dashboard import access, examples
from modelbridge.dashboard.key_form import KeyForm
from modelbridge.dashboard.services import bridge, catalog
from modelbridge.identity import keys
from modelbridge.identity.keys import NewKey
from modelbridge.ledger import accounts, limits
from modelbridge.ledger.accounts import AccountView
from modelbridge.ledger.limits import KeySpending
from modelbridge.store.tables import ApiKey, User

pages = Blueprint("keys", __name__, url_prefix="/keys")

_REMEMBERED_FORMS = 5


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as the list shows it."""

    key: ApiKey
    hint: str
    status: keys.Status
    spending: KeySpending


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """What stands between an empty bridge and the first live call."""

    has_models: bool
    has_money: bool
    has_live_key: bool

    @property
    def are_done(self) -> bool:
        """Nothing is left to do."""
        return self.has_models and self.has_money and self.has_live_key


@pages.get("")
def index() -> ResponseReturnValue:
    """The person's keys, those that still work first."""
    user = access.the_user()
    with bridge().database.reading() as session:
        rows = _rows(session, user)
        account = accounts.account_view(session, user.account_id)
        steps = _first_steps(session, rows, account)
    return render_template(
        "keys/index.html",
        rows=[row for row in rows if row.status != "revoked"],
        revoked=[row for row in rows if row.status == "revoked"],
        account=account,
        steps=steps,
    )


@pages.route("/new", methods=["GET", "POST"])
def create() -> ResponseReturnValue:
    """The form; then the new key, in the answer to the POST and never again."""
    user = access.the_user()
    form = KeyForm(user.account.time_zone)
    if request.method == "POST" and (made := _made_before(user, form.form_id.data)):
        flash(f"“{made.name}” was created already. A key is shown only once: if you don't have "
              "it, revoke it and create another.", "warning")  # fmt: skip
        return redirect(url_for("keys.index"), 303)
    if form.validate_on_submit():
        try:
            new = _create(user, form)
        except ValueError as error:
            form.blame(error)
        else:
            _remember(form.form_id.data, new.row.id)
            return _shown_once(new)
    form.form_id.data = form.form_id.data or secrets.token_hex(8)
    return render_template("keys/new.html", form=form), 400 if form.errors else 200


@pages.route("/<key_id>/revoke", methods=["GET", "POST"])
def revoke(key_id: str) -> ResponseReturnValue:
    """GET asks, POST revokes, at once and for good."""
    user = access.the_user()
    if request.method == "GET":
        with bridge().database.reading() as session:
            key = keys.get_for(session, user.id, key_id) or abort(404)
        return render_template("keys/revoke.html", key=key, hint=keys.hint(key))
    with bridge().database.transaction() as session:
        key = keys.get_for(session, user.id, key_id) or abort(404)
        was_working = keys.revoke(session, key)
    said = "is revoked" if was_working else "had been revoked before"
    flash(f"“{key.name}” ({keys.hint(key)}) {said}.", "success" if was_working else "warning")
    return redirect(url_for("keys.index"), 303)


def _rows(session: Session, user: User) -> list[KeyRow]:
    found = keys.keys_of_user(session, user.id)
    spending = limits.key_spending(session, found)
    return [
        KeyRow(
            key, keys.hint(key), keys.status(key, spending[key.id].spent_nanos), spending[key.id]
        )
        for key in found
    ]


def _first_steps(session: Session, rows: list[KeyRow], account: AccountView) -> FirstSteps:
    return FirstSteps(
        has_models=bool(catalog(session).names()),
        has_money=account.balance_nanos > 0,
        has_live_key=any(row.key.mode == "live" and row.status != "revoked" for row in rows),
    )


def _create(user: User, form: KeyForm) -> NewKey:
    """Raises ValueError naming the field."""
    fields = form.key_fields()
    with bridge().database.transaction() as session:
        return keys.create_key(session, account_id=user.account_id, user_id=user.id, **fields)


def _shown_once(new: NewKey) -> ResponseReturnValue:
    with bridge().database.reading() as session:
        model = examples.model_for(catalog(session), new.row)
    base_url = bridge().settings.base_url
    blocks = examples.first_calls(base_url, new.secret, model or "claude-sonnet-4-6")
    return render_template("keys/shown.html", new=new, blocks=blocks, can_call=model is not None)


def _remember(form_id: str, key_id: str) -> None:
    """Reloading the page that shows the key sends its form again: the cookie then knows it."""
    made = [*cookie.get("made", []), [form_id, key_id]]
    cookie["made"] = made[-_REMEMBERED_FORMS:]


def _made_before(user: User, form_id: str) -> ApiKey | None:
    key_id = dict(cookie.get("made", [])).get(form_id)
    if key_id is None:
        return None
    with bridge().database.reading() as session:
        return keys.get_for(session, user.id, key_id)
