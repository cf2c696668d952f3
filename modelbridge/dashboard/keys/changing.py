"""A key changed: its name, limit, expiry and models, or its secret."""

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from modelbridge.dashboard.audit import note_key
from modelbridge.dashboard.keys.blueprint import pages
from modelbridge.dashboard.keys.form import EditForm, RotateForm
from modelbridge.dashboard.keys.loading import load_key, row_of
from modelbridge.dashboard.keys.making import show_once
from modelbridge.dashboard.services import bridge
from modelbridge.identity import keys, rotation
from modelbridge.identity.keys import NewKey
from modelbridge.ledger import limits
from modelbridge.money import format_amount
from modelbridge.store.tables import ApiKey


@pages.route("/<key_id>/edit", methods=["GET", "POST"])
def edit(key_id: str) -> ResponseReturnValue:
    """The form with what the key has; a revoked key has nothing to change."""
    with bridge().database.reading() as session:
        key, scope = load_key(session, key_id)
    if key.revoked_at is not None:
        flash("A revoked key can't be changed.", "warning")
        return redirect(url_for("keys.show", key_id=key.id), 303)
    form = EditForm(key, scope.time_zone)
    if form.validate_on_submit():
        try:
            with bridge().database.transaction() as session:
                _change(session, load_key(session, key_id)[0], form)
        except ValueError as error:
            form.blame(error)
        else:
            flash("Saved. It holds from the key's next call on.", "success")
            return redirect(url_for("keys.show", key_id=key.id), 303)
    page = render_template("keys/edit.html", form=form, key=key, hint=keys.hint(key))
    return page, 400 if form.errors else 200


@pages.route("/<key_id>/rotate", methods=["GET", "POST"])
def rotate(key_id: str) -> ResponseReturnValue:
    """GET asks how long the old secret shall work; POST shows the new one, this once."""
    with bridge().database.reading() as session:
        key, scope = load_key(session, key_id)
        row = row_of(session, key)
    form = RotateForm()
    if form.validate_on_submit():
        try:
            with bridge().database.transaction() as session:
                new = _rotate(session, load_key(session, key_id)[0], form.overlap.data)
        except ValueError as error:
            form.blame(error)
        else:
            return show_once(new, scope, is_rotation=True)
    page = render_template(
        "keys/rotate.html", form=form, key=key, row=row, may=rotation.may_rotate(row.status)
    )
    return page, 400 if form.errors else 200


@pages.route("/<key_id>/end-overlap", methods=["GET", "POST"])
def end_overlap(key_id: str) -> ResponseReturnValue:
    """GET asks, POST ends the key's earlier secrets at once."""
    if request.method != "POST":
        with bridge().database.reading() as session:
            key, _ = load_key(session, key_id)
            retired = rotation.overlapping(session, key)
        return render_template("keys/end_overlap.html", key=key, retired=retired)
    with bridge().database.transaction() as session:
        key, _ = load_key(session, key_id)
        ended = rotation.end_overlap(session, key)
        if ended:
            note_key(session, "key.end_overlap", key, secrets=ended)
    flash("Only the key's present secret works now.", "success")
    return redirect(url_for("keys.show", key_id=key.id), 303)


def _change(session: Session, key: ApiKey, form: EditForm) -> None:
    """Raises ValueError naming the field."""
    keys.change(
        session,
        key,
        name=form.name.data,
        expires_at=form.expires_at(),
        models=form.model_names,
        **form.pace,
    )
    limits.set_key_limit(session, key.id, form.limit_nanos, form.limit_window)
    limit = None if form.limit_nanos is None else format_amount(form.limit_nanos)
    note_key(session, "key.edit", key, limit=limit, window=form.limit_window)


def _rotate(session: Session, key: ApiKey, overlap_hours: int) -> NewKey:
    """Raises ValueError; aborts with 409 if the form, which names the secret, is out of date."""
    if request.form.get("replaces") != keys.hint(key):
        abort(
            409,
            "The secret was replaced since this form was opened. If you don't have the new one, "
            "rotate the key again.",
        )
    new = rotation.rotate(session, key, overlap_hours)
    note_key(session, "key.rotate", key, overlap_hours=overlap_hours)
    return new
