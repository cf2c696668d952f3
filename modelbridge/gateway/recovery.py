"""What becomes of calls that nobody saw the end of, and the sweeper that sees to it.

Design: docs/money.md, "When something breaks". An unknown hold is resolved from the evidence
that was kept, after a grace period: charged by reported usage or bytes ÷ 4, or void where there is
no sign that the upstream answered. Either way it is flagged for the administrator.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import bindparam, or_, select

from modelbridge import clock, jsonio
from modelbridge.errors import BridgeError
from modelbridge.gateway import journal
from modelbridge.gateway.charge import estimate
from modelbridge.gateway.journal import Receipt
from modelbridge.gateway.services import Gateway
from modelbridge.ledger import holds
from modelbridge.money import Price, Usage, cost_nanos
from modelbridge.store.statements import Cursor, Statement
from modelbridge.store.tables import Account, Attempt, FxVersion, Hold, PriceVersion, is_open, table

SWEEP_SECONDS = 1.0
MOST_AT_ONCE = 500
_holds, _accounts, _rates = table(Hold), table(Account), table(FxVersion)
_attempts, _prices = table(Attempt), table(PriceVersion)


class _Due(NamedTuple):
    """An unknown hold whose grace is over, as the statement below reads it."""

    id: str
    call_id: str
    account_id: str
    key_id: str
    user_id: str | None
    endpoint: str
    model: str
    stream: int
    amount_nanos: int
    fx_version: int
    admitted_at: int
    evidence: str | None
    time_zone: str
    aud_per_usd_nanos: int


class _Try(NamedTuple):
    """The newest attempt of a hold, as the statement below reads it."""

    upstream_id: str
    upstream_model: str
    price_version: str
    price: str


_DUE = Statement(  # since later than now: the clock was set back, so it is long ago
    select(
        *(_holds.c[name] for name in _Due._fields[:-2]),
        _accounts.c.time_zone,
        _rates.c.aud_per_usd_nanos,
    )
    .join(_accounts, _accounts.c.id == _holds.c.account_id)
    .join(_rates, _rates.c.version == _holds.c.fx_version)
    .where(
        is_open(_holds.c.state),
        _holds.c.state == "unknown",
        or_(
            _holds.c.unknown_since <= bindparam("until"), _holds.c.unknown_since > bindparam("now")
        ),
    )
    .limit(MOST_AT_ONCE)
)
_NEWEST_ATTEMPT = Statement(
    select(
        _attempts.c.upstream_id,
        _attempts.c.upstream_model,
        _attempts.c.price_version,
        _prices.c.price,
    )
    .join(_prices, _prices.c.id == _attempts.c.price_version)
    .where(_attempts.c.call_id == bindparam("call_id"))
    .order_by(_attempts.c.number.desc())
    .limit(1)
)
_log = logging.getLogger("modelbridge.gateway")


def recover(gateway: Gateway) -> int:
    """At start: every hold of an earlier process is unknown now; returns how many."""
    found = gateway.database.submit(lambda cursor: holds.forget_dead(cursor, gateway.boot_id))
    if found:
        _log.warning(
            "%d calls were under way when ModelBridge last ended; their outcome is unknown", found
        )
    return found


def sweep(gateway: Gateway) -> int:
    """Resolve the unknown holds whose grace is over; returns how many."""
    retry_unsettled(gateway)
    grace_micros = round(gateway.settings.hold_grace_seconds * 1_000_000)
    now = clock.now_micros()
    with gateway.database.cursor() as cursor:
        rows = _DUE.rows(cursor, until=now - grace_micros, now=now)
        verdicts = [(hold, _reckon(cursor, hold)) for hold in (_Due(*row) for row in rows)]
    for hold, verdict in verdicts:
        gateway.database.submit(lambda cursor, h=hold, v=verdict: _resolve(cursor, h, v))  # type: ignore[misc]
        gateway.money_freed.signal()
    return len(verdicts)


def retry_unsettled(gateway: Gateway) -> None:
    """Settlements that the database refused are tried again, in their order.

    One that it refuses again goes behind the others, so that none keeps the rest waiting.
    """
    for _ in range(len(gateway.unsettled)):
        settle = gateway.unsettled.pop(0)
        try:
            settle()
        except BridgeError:
            gateway.unsettled.append(settle)
            return
        gateway.money_freed.signal()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What an unknown hold comes to; without usage it is void."""

    usage: Usage | None
    attempt: _Try | None
    cost_nanos: int


def _reckon(cursor: Cursor, hold: _Due) -> _Verdict:
    row = _NEWEST_ATTEMPT.row(cursor, call_id=hold.call_id)
    attempt = _Try(*row) if row else None
    try:
        usage = _usage_from(jsonio.loads(hold.evidence) if hold.evidence else None)
    except (ValueError, TypeError, KeyError):
        _log.error("hold %s: its evidence cannot be read, so it is void", hold.id)
        usage = None
    if usage is None or attempt is None:
        return _Verdict(None, attempt, 0)
    price = Price.from_json(jsonio.loads(attempt.price))
    return _Verdict(usage, attempt, cost_nanos(usage, price, hold.aud_per_usd_nanos))


def _usage_from(evidence: dict[str, Any] | None) -> Usage | None:
    """The usage; None without a sign of an answer. Raises what unreadable evidence raises."""
    if not evidence or not evidence["answered"]:
        return None
    known = Usage(**evidence["usage"]) if evidence["usage"] else None
    return estimate(known, evidence["input_bytes"], evidence["output_bytes"])


def _resolve(cursor: Cursor, hold: _Due, verdict: _Verdict) -> None:
    """A unit of the writer: the hold is posted or void, and its call's row says so."""
    charged: int | None = None
    if verdict.usage is None:
        if not holds.void(cursor, hold.id, flag=True):
            return
    else:
        charged = holds.settle(cursor, hold.id, verdict.cost_nanos, flag=True)
        if charged is None:
            return
    receipt = Receipt(
        usage=verdict.usage or Usage(),
        source="estimated" if verdict.usage else "none",
        hold_id=hold.id,
        held_nanos=hold.amount_nanos,
        price_version=verdict.attempt.price_version if verdict.attempt else None,
        fx_version=hold.fx_version,
        cost_nanos=charged,
        upstream_id=verdict.attempt.upstream_id if verdict.attempt else None,
        upstream_model=verdict.attempt.upstream_model if verdict.attempt else None,
    )
    journal.resolve(cursor, _lost_call(hold), receipt, hold.time_zone)


def _lost_call(hold: _Due) -> Hold:
    """What the journal needs of the hold."""
    return Hold(
        id=hold.id,
        call_id=hold.call_id,
        account_id=hold.account_id,
        key_id=hold.key_id,
        user_id=hold.user_id,
        endpoint=hold.endpoint,
        model=hold.model,
        stream=bool(hold.stream),
        admitted_at=clock.from_micros(hold.admitted_at),
    )


class Sweeper:
    """A thread that sweeps once a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """One last try at what is unsettled, then end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        retry_unsettled(self._gateway)

    def _run(self) -> None:
        while not self._stop.wait(SWEEP_SECONDS):
            try:
                sweep(self._gateway)
            except Exception:
                _log.exception("the sweep stumbled; it tries again")
