"""The receipt of one call, for whoever may see the usage of the account that paid."""

from flask import Blueprint, abort, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.dashboard import access, reckoning, scope
from modelbridge.dashboard.scope import Scope
from modelbridge.dashboard.services import bridge
from modelbridge.identity import permissions
from modelbridge.store.tables import Call, Team

pages = Blueprint("receipts", __name__, url_prefix="/receipts")


@pages.get("/<call_id>")
def show(call_id: str) -> ResponseReturnValue:
    """The whole reckoning of one call."""
    with bridge().database.reading() as session:
        call = session.get(Call, call_id) or abort(404)
        paying = _scope_of(session, call)
        receipt = reckoning.receipt_of(session, call)
    rate = reckoning.aud_per_usd(receipt.rate) if receipt.rate else None
    return render_template("billing/receipt.html", receipt=receipt, scope=paying, rate=rate)


def _scope_of(session: Session, call: Call) -> Scope:
    """The visitor's own account, or that of a team whose usage they may see. Aborts with 404."""
    own = scope.personal(access.the_user())
    if call.account_id == own.account_id:
        return own
    team_id = session.scalar(select(Team.id).where(Team.account_id == call.account_id))
    return scope.team_scope(session, team_id or "", permissions.TEAM_USAGE)
