"""One key: what it may, what it spent, its latest calls."""

from collections.abc import Sequence

from flask import render_template
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.dashboard import charts, periods, usage_query
from modelbridge.dashboard.keys.blueprint import pages
from modelbridge.dashboard.keys.loading import load_key, row_of
from modelbridge.dashboard.services import bridge
from modelbridge.dashboard.usage_query import Wanted
from modelbridge.identity import keys, rotation
from modelbridge.identity.rates import in_words
from modelbridge.store.tables import ApiKey, Call

_LATEST = 10


@pages.get("/<key_id>")
def show(key_id: str) -> ResponseReturnValue:
    """The key's facts, its spend of the last 30 days by model, its latest calls."""
    with bridge().database.reading() as session:
        key, scope = load_key(session, key_id)
        period = periods.named("30d", scope.time_zone)
        wanted = Wanted(scope.account_id, period, key_id=key.id)
        sums = usage_query.totals(session, wanted, by="model")
        row, retired = row_of(session, key), rotation.overlapping(session, key)
        calls = _latest(session, key)
    chart = charts.stacked(
        {place: total.cost_nanos for place, total in sums.items()},
        charts.days(period.first, period.last),
    )
    return render_template(
        "keys/page.html",
        key=key,
        pace=in_words(keys.rates_of(key)),
        row=row,
        scope=scope,
        retired=retired,
        chart=chart,
        calls=calls,
        call_count=sum(total.calls for total in sums.values()),
    )


def _latest(session: Session, key: ApiKey) -> Sequence[Call]:
    newest_first = (Call.started_at.desc(), Call.id.desc())
    query = select(Call).where(Call.key_id == key.id).order_by(*newest_first)
    return session.scalars(query.limit(_LATEST)).all()
