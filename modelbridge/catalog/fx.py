"""The exchange rate: nano-AUD per USD, in versions that are never changed, only followed.

Until an operator sets one, a shipped rate holds, flagged by its source.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.money import NANOS, format_amount
from modelbridge.store.tables import FxVersion

SHIPPED = "shipped"
OPERATOR = "operator"

# A placeholder, no quotation, so that a fresh bridge can reckon: the operator replaces it with
# `flask fx set`, and until then it is shown as shipped.
SHIPPED_AUD_PER_USD_NANOS = 1_530_000_000
SHIPPED_DATE = "2026-11-23"

_MAX_AUD_PER_USD = 1_000


def ensure_fx(session: Session) -> FxVersion:
    """At start: there is a rate. A shipped one follows the release; an operator's stands."""
    latest = _latest(session)
    if latest is None:
        return _append(session, 1, SHIPPED_AUD_PER_USD_NANOS, SHIPPED)
    if latest.source == SHIPPED and latest.aud_per_usd_nanos != SHIPPED_AUD_PER_USD_NANOS:
        return _append(session, latest.version + 1, SHIPPED_AUD_PER_USD_NANOS, SHIPPED)
    return latest


def set_rate(session: Session, aud_per_usd_nanos: int) -> FxVersion:
    """The operator's rate holds from the next call on, as a new version.

    Raises ValueError unless the rate is above 0 and at most 1,000 AUD per USD.
    """
    if not 0 < aud_per_usd_nanos <= _MAX_AUD_PER_USD * NANOS:
        raise ValueError(
            f"exchange rate: {format_amount(aud_per_usd_nanos)} AUD per USD is out of range; "
            f"give a number above 0 and at most {_MAX_AUD_PER_USD}, such as 1.53"
        )
    latest = _latest(session)
    return _append(session, latest.version + 1 if latest else 1, aud_per_usd_nanos, OPERATOR)


def current(session: Session) -> FxVersion:
    """The rate that holds. Raises LookupError before `ensure_fx` ever ran."""
    latest = _latest(session)
    if latest is None:
        raise LookupError("no exchange rate yet: start the bridge once, or run `flask fx set`")
    return latest


def _latest(session: Session) -> FxVersion | None:
    return session.scalars(select(FxVersion).order_by(FxVersion.version.desc()).limit(1)).first()


def _append(session: Session, version: int, aud_per_usd_nanos: int, source: str) -> FxVersion:
    row = FxVersion(
        version=version,
        aud_per_usd_nanos=aud_per_usd_nanos,
        source=source,
        created_at=clock.now(),
    )
    session.add(row)
    session.flush()
    return row
