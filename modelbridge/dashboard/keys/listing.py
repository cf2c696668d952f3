"""The list of keys: the visitor's own, or a team's."""

from dataclasses import dataclass

from flask import render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from modelbridge.dashboard import access
from modelbridge.dashboard.keys.blueprint import pages
from modelbridge.dashboard.keys.loading import KeyRow, rows_of
from modelbridge.dashboard.paging import slice_of
from modelbridge.dashboard.scope import load_scope, scopes
from modelbridge.dashboard.services import bridge, catalog
from modelbridge.identity.permissions import KEYS_OWN, TEAM_BILLING
from modelbridge.ledger import accounts
from modelbridge.ledger.accounts import AccountView


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
    """The account's keys, those that still work first."""
    with bridge().database.reading() as session:
        scope = load_scope(session, KEYS_OWN)
        rows = rows_of(session, scope)
        account = accounts.account_view(session, scope.account_id)
        steps = None if scope.team else _first_steps(session, rows, account)
        choices = scopes(session, access.the_user(), KEYS_OWN)
    working = [row for row in rows if row.status != "revoked"]
    return render_template(
        "keys/index.html",
        scope=scope,
        scopes=choices,
        page=slice_of(working, request.args.get("page")),
        revoked=[row for row in rows if row.status == "revoked"],
        account=account if scope.may(TEAM_BILLING) else None,
        steps=steps,
    )


def _first_steps(session: Session, rows: list[KeyRow], account: AccountView) -> FirstSteps:
    return FirstSteps(
        has_models=bool(catalog(session).names()),
        has_money=account.balance_nanos > 0,
        has_live_key=any(row.key.mode == "live" and row.status != "revoked" for row in rows),
    )
