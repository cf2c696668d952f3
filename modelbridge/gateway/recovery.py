"""What becomes of calls that nobody saw the end of, and the sweeper that sees to it.

Design: docs/money.md, "When something breaks". An unknown hold is resolved from the evidence
that was kept, after a grace period: charged by reported usage or bytes ÷ 4, or void where there is
no sign that the upstream answered. Either way it is flagged for the administrator.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.errors import BridgeError
from modelbridge.gateway import journal
from modelbridge.gateway.charge import estimate
from modelbridge.gateway.journal import Receipt
from modelbridge.gateway.services import Gateway
from modelbridge.ledger import holds
from modelbridge.money import Price, Usage, cost_nanos
from modelbridge.store.statements import Cursor
from modelbridge.store.tables import Account, Attempt, FxVersion, Hold, PriceVersion

SWEEP_SECONDS = 1.0
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
    now = clock.now()
    until = clock.from_micros(clock.to_micros(now) - grace_micros)
    since = Hold.unknown_since
    with gateway.database.reading() as session:
        due = session.scalars(  # later than now: the clock was set back, so it is long ago
            select(Hold).where(Hold.state == "unknown", or_(since <= until, since > now)).limit(500)
        ).all()
        verdicts = [(hold, _reckon(session, hold)) for hold in due]
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
    attempt: Attempt | None
    cost_nanos: int
    time_zone: str


def _reckon(session: Session, hold: Hold) -> _Verdict:
    attempt = session.scalars(
        select(Attempt).where(Attempt.hold_id == hold.id).order_by(Attempt.number.desc()).limit(1)
    ).first()
    time_zone = session.get_one(Account, hold.account_id).time_zone
    usage = _usage_from(hold.evidence)
    if usage is None or attempt is None:
        return _Verdict(None, attempt, 0, time_zone)
    price = Price.from_json(session.get_one(PriceVersion, attempt.price_version).price)
    rate = session.get_one(FxVersion, hold.fx_version).aud_per_usd_nanos
    return _Verdict(usage, attempt, cost_nanos(usage, price, rate), time_zone)


def _usage_from(evidence: dict[str, Any] | None) -> Usage | None:
    if not evidence or not evidence["answered"]:
        return None
    known = Usage(**evidence["usage"]) if evidence["usage"] else None
    return estimate(known, evidence["input_bytes"], evidence["output_bytes"])


def _resolve(cursor: Cursor, hold: Hold, verdict: _Verdict) -> None:
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
    journal.resolve(cursor, hold, receipt, verdict.time_zone)


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
