"""The overview: what there is to spend, what was spent this month, and what needs a look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flask import Blueprint, make_response, render_template
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from modelbridge.dashboard import access, attention, charts, names, periods, usage_query
from modelbridge.dashboard.attention import Concern
from modelbridge.dashboard.charts import Chart
from modelbridge.dashboard.first_steps import FirstSteps, first_steps
from modelbridge.dashboard.scope import Scope, load_scope, scopes
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.usage_query import Total, Wanted
from modelbridge.identity import permissions
from modelbridge.ledger import accounts
from modelbridge.ledger.accounts import AccountView
from modelbridge.store.tables import Call

pages = Blueprint("home", __name__)

_LATEST_CALLS = 8


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the page of an account that has been used."""

    account: AccountView
    month: periods.Period
    total: Total
    chart: Chart
    calls: Sequence[Call]
    key_names: Mapping[str, str]
    concerns: Sequence[Concern]


@pages.get("/")
def index() -> ResponseReturnValue:
    """The account at a glance; while nothing was ever called, what to do first."""
    user = access.the_user()
    with bridge().database.reading() as session:
        scope = load_scope(session, permissions.TEAM_USAGE)
        switch = scopes(session, user, permissions.TEAM_USAGE)
        steps = first_steps(session, scope, user.id)
        overview = _overview(session, scope, user.id)
    return render_template(
        "home/index.html", scope=scope, scopes=switch, steps=steps, overview=overview
    )


@pages.get("/first-steps")
def steps() -> ResponseReturnValue:
    """The first steps alone, for a page that waits for the first call."""
    user = access.the_user()
    with bridge().database.reading() as session:
        scope = load_scope(session, permissions.TEAM_USAGE)
        found: FirstSteps = first_steps(session, scope, user.id)
    return make_response(render_template("home/_first_steps.html", scope=scope, steps=found))


def _overview(session: Session, scope: Scope, user_id: str) -> Overview:
    month = periods.named("month", scope.time_zone)
    sums = usage_query.totals(session, Wanted(scope.account_id, month), "model")
    whole = periods.month_of(month.first, scope.time_zone)
    calls = usage_query.latest_calls(session, scope.account_id, _LATEST_CALLS)
    sees_all_keys = scope.may(permissions.KEYS_ALL)
    return Overview(
        account=accounts.account_view(session, scope.account_id),
        month=month,
        total=sum(sums.values(), Total()),
        chart=charts.stacked(
            {what: total.cost_nanos for what, total in sums.items()},
            charts.days(whole.first, whole.last),
        ),
        calls=calls,
        key_names=names.of_keys(session, {call.key_id for call in calls}),
        concerns=attention.concerns(session, scope.account_id, None if sees_all_keys else user_id),
    )
