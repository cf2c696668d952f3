"""A new key: the form, and the one answer that shows it."""

import secrets
from collections.abc import Sequence

from flask import flash, redirect, render_template, request, url_for
from flask import session as cookie
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from modelbridge.dashboard import access, examples
from modelbridge.dashboard.audit import note_key
from modelbridge.dashboard.keys.blueprint import pages
from modelbridge.dashboard.keys.form import PERSONAL, KeyForm, account_name
from modelbridge.dashboard.keys.loading import load_key
from modelbridge.dashboard.scope import Scope, load_scope, personal, scopes, team_scope
from modelbridge.dashboard.services import bridge, catalog
from modelbridge.identity import keys
from modelbridge.identity.keys import NewKey
from modelbridge.identity.permissions import KEYS_OWN

_REMEMBERED_FORMS = 5


@pages.route("/new", methods=["GET", "POST"])
def create() -> ResponseReturnValue:
    """The form; then the new key, in the answer to the POST and never again."""
    with bridge().database.reading() as session:
        scope = load_scope(session, KEYS_OWN)
        choices = scopes(session, access.the_user(), KEYS_OWN)
    payer = _payer(choices, scope)
    form = KeyForm(payer.time_zone, choices)
    if request.method == "POST" and (made := _made_before(form.form_id.data)):
        flash(f"“{made}” was created already. A key is shown only once: if you don't have "
              "it, revoke it and create another.", "warning")  # fmt: skip
        return redirect(url_for("keys.index", **payer.args), 303)
    if form.validate_on_submit():
        try:
            new = _create(form)
        except ValueError as error:
            form.blame(error)
        else:
            _remember(form.form_id.data, new.row.id)
            return show_once(new, payer)
    elif request.method == "GET":
        form.account.data = account_name(payer)
    form.form_id.data = form.form_id.data or secrets.token_hex(8)
    page = render_template("keys/new.html", form=form, scope=payer, choices=choices)
    return page, 400 if form.errors else 200


def show_once(new: NewKey, scope: Scope, *, is_rotation: bool = False) -> ResponseReturnValue:
    """The only page that ever holds a whole key, with code to copy."""
    with bridge().database.reading() as session:
        model = examples.model_for(catalog(session), new.row)
    settings = bridge().settings
    blocks = examples.first_calls(settings.public_url, new.secret, model or "claude-sonnet-4-6")
    return render_template(
        "keys/shown.html",
        new=new,
        blocks=blocks,
        can_call=model is not None,
        scope=scope,
        is_rotation=is_rotation,
    )


def _payer(choices: Sequence[Scope], asked: Scope) -> Scope:
    """The account that the form names, if it may pay; else the one that the address names."""
    wanted = request.form.get("account")
    return next((choice for choice in choices if account_name(choice) == wanted), asked)


def _create(form: KeyForm) -> NewKey:
    """Raises ValueError naming the field; aborts with 404 for a team that they left meanwhile."""
    user, fields = access.the_user(), form.key_fields()
    with bridge().database.transaction() as session:
        payer = _scope_named(session, form.account.data)
        new = keys.create_key(session, account_id=payer.account_id, user_id=user.id, **fields)
        note_key(session, "key.create", new.row, account=payer.label, mode=new.row.mode)
        return new


def _scope_named(session: Session, name: str) -> Scope:
    if name == PERSONAL:
        return personal(access.the_user())
    return team_scope(session, name, KEYS_OWN)


def _remember(form_id: str, key_id: str) -> None:
    """Reloading the page that shows the key sends its form again: the cookie then knows it."""
    made = [*cookie.get("made", []), [form_id, key_id]]
    cookie["made"] = made[-_REMEMBERED_FORMS:]


def _made_before(form_id: str) -> str | None:
    """The name of the key that this very form has made."""
    key_id = dict(cookie.get("made", [])).get(form_id)
    if key_id is None:
        return None
    with bridge().database.reading() as session:
        return load_key(session, key_id)[0].name
