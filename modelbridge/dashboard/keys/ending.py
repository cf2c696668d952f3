"""The end of a key."""

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from modelbridge.dashboard.audit import note_key
from modelbridge.dashboard.keys.blueprint import pages
from modelbridge.dashboard.keys.loading import load_key
from modelbridge.dashboard.services import bridge
from modelbridge.identity import keys


@pages.route("/<key_id>/revoke", methods=["GET", "POST"])
def revoke(key_id: str) -> ResponseReturnValue:
    """GET asks, POST revokes, at once and for good."""
    if request.method != "POST":
        with bridge().database.reading() as session:
            key, scope = load_key(session, key_id)
        return render_template("keys/revoke.html", key=key, hint=keys.hint(key), scope=scope)
    with bridge().database.transaction() as session:
        key, scope = load_key(session, key_id)
        was_working = keys.revoke(session, key)
        if was_working:
            note_key(session, "key.revoke", key)
    said = "is revoked" if was_working else "had been revoked before"
    flash(f"“{key.name}” ({keys.hint(key)}) {said}.", "success" if was_working else "warning")
    return redirect(url_for("keys.index", **scope.args), 303)
