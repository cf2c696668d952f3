"""The money of one call in memory: resolves its hold exactly once."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from modelbridge import clock
from modelbridge.catalog.routes import Offer
from modelbridge.errors import BridgeError, CutByRevocation, Overloaded, UpstreamError
from modelbridge.gateway import journal
from modelbridge.gateway.call import Call
from modelbridge.gateway.flights import ClientLeft
from modelbridge.gateway.journal import Receipt
from modelbridge.gateway.services import Gateway
from modelbridge.ledger import holds, sql
from modelbridge.money import Usage, cost_nanos, format_amount
from modelbridge.store.statements import Cursor

_log = logging.getLogger("modelbridge.gateway")


@dataclass(slots=True)
class Charge:
    """A hold that stands, and everything that its settlement needs.

    `offers` are the targets that the quote covers, in order; `number` is the present attempt's,
    from 1; `sent`: a byte of it may have left. `input_bytes` is the request's text, for an
    estimate.
    """

    gateway: Gateway
    call: Call
    hold_id: str
    amount_nanos: int
    output_cap: int
    offers: tuple[Offer, ...]
    fx_version: int
    aud_per_usd_nanos: int
    input_bytes: int
    number: int = 1
    upstream_status: int | None = None
    sent: bool = False
    resolved: bool = field(default=False)

    @property
    def offer(self) -> Offer:
        """The target of the present attempt."""
        return self.offers[self.number - 1]

    def next_attempt(self, outcome: str) -> None:
        """The present attempt ended without a cost; the next target has its row."""
        following = self.number + 1

        def unit(cursor: Cursor) -> None:
            end_attempt(cursor, self.call.id, self.number, self.upstream_status, outcome)
            offer = self.offers[following - 1]
            insert_attempt(cursor, self.call.id, self.hold_id, following, offer)

        self.gateway.database.submit(unit)
        self.number, self.upstream_status, self.sent = following, None, False

    def settle(
        self,
        usage: Usage,
        source: str,
        *,
        finish: str = "answered",
        error: BridgeError | None = None,
    ) -> int:
        """The call is posted at its true cost, or at the hold if that is less; nano-AUD.

        `source`: reported or estimated. Committed on return. Raises Overloaded when the database
        refuses: the settlement is then tried again in the background until it stands.
        """
        price = self.offer.price
        assert price is not None  # noqa: S101  admission takes priced offers only
        cost = cost_nanos(usage, price, self.aud_per_usd_nanos)
        charged = min(cost, self.amount_nanos)
        receipt = self._receipt(usage, source, charged)
        if cost > charged:
            _log.error(
                "call %s: the upstream reported AUD %s above its hold; the difference is the "
                "operator's shortfall. Check the limits of model %s",
                self.call.id,
                format_amount(cost - charged),
                self.call.model,
            )

        def unit(cursor: Cursor) -> None:
            if holds.settle(cursor, self.hold_id, cost, flag=source != "reported") is not None:
                end_attempt(cursor, self.call.id, self.number, self.upstream_status, finish)
                journal.write(cursor, self.call, receipt, finish=finish, error=error)

        self.gateway.rates.count_used(self.call, usage)
        self._resolve(unit, error, usage, charged)
        self.call.note_cost(charged)
        return charged

    def void(self, error: BridgeError | None = None) -> None:
        """Nothing was spent: the money is free again."""

        def unit(cursor: Cursor) -> None:
            if holds.void(cursor, self.hold_id):
                end_attempt(cursor, self.call.id, self.number, self.upstream_status, "refused")
                receipt = self._receipt(Usage(), "none", None)
                journal.write(cursor, self.call, receipt, finish="failed", error=error)

        self._resolve(unit, error)

    def forget_outcome(
        self,
        error: BridgeError | None = None,
        usage: Usage | None = None,
        output_bytes: int = 0,
    ) -> None:
        """The upstream may have billed, nobody saw it: the sweeper resolves the hold later."""
        evidence = self.evidence(usage, output_bytes, answered=self.upstream_status == 200)

        def unit(cursor: Cursor) -> None:
            if holds.forget_outcome(cursor, self.hold_id, evidence):
                receipt = self._receipt(Usage(), "none", None)
                journal.write(cursor, self.call, receipt, finish="failed", error=error)

        self._resolve(unit, error)

    def abandon(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Exit of an ExitStack: an error on the way gives the money back unless it may be owed."""
        if error is None or self.resolved:
            return False
        known = error if isinstance(error, BridgeError) else None
        if isinstance(error, ClientLeft | CutByRevocation) and self.sent:
            self.settle(self.estimate(None, 0), "estimated", finish=finish_of(known), error=known)
        elif isinstance(error, UpstreamError) and error.may_have_billed:
            self.forget_outcome(known)
        elif known is None and (self.sent or self.upstream_status is not None):
            self.forget_outcome()  # a fault of our own after the upstream heard of the call
        else:
            self.void(known)
        return False

    def estimate(self, usage: Usage | None, output_bytes: int) -> Usage:
        """Usage where none was reported in full: bytes ÷ 4, rounded up, beside what is known."""
        return estimate(usage, self.input_bytes, output_bytes)

    def evidence(
        self, usage: Usage | None, output_bytes: int, *, answered: bool
    ) -> dict[str, object]:
        """What is known so far, in the form that `recovery` reads."""
        return {
            "answered": answered,
            "input_bytes": self.input_bytes,
            "output_bytes": output_bytes,
            "usage": journal.usage_to_json(usage) if usage else None,
        }

    def keep_evidence(self, usage: Usage | None, output_bytes: int) -> None:
        """With the next commit, what is known so far is on the disk."""
        evidence = self.evidence(usage, output_bytes, answered=True)
        self.gateway.database.enqueue(
            lambda cursor: holds.keep_evidence(cursor, self.hold_id, evidence)
        )

    def _receipt(self, usage: Usage, source: str, charged: int | None) -> Receipt:
        return Receipt(
            usage=usage,
            source=source,
            hold_id=self.hold_id,
            held_nanos=self.amount_nanos,
            price_version=self.offer.price_version,
            fx_version=self.fx_version,
            cost_nanos=charged,
            upstream_id=self.offer.target.upstream_id,
            upstream_model=self.offer.target.model,
        )

    def _resolve(
        self,
        unit: Callable[[Cursor], None],
        error_told: BridgeError | None,
        usage: Usage | None = None,
        charged: int | None = None,
    ) -> None:
        begun = clock.monotonic()
        try:
            self.gateway.database.submit(unit)
            self.resolved = True
        except Overloaded as error:
            self.resolved = True  # by what waits in the background now, the call's row included
            self.call.journaled = True
            self.gateway.unsettled.append(lambda: self.gateway.database.submit(unit))
            error.retry = False
            raise
        finally:
            self.gateway.money_freed.signal()
            self.call.added_micros += round((clock.monotonic() - begun) * 1_000_000)
            self.gateway.meters.call_ended(
                self.call,
                journal.status_of(self.call, error_told),
                upstream=self.offer.target.upstream,
                usage=usage,
                cost_nanos=charged,
            )


def finish_of(error: BridgeError | None) -> str:
    """How a call ended, in the journal's words."""
    if error is None:
        return "answered"
    if isinstance(error, CutByRevocation):
        return "revoked"
    return "client_left" if isinstance(error, ClientLeft) else "failed"


def estimate(usage: Usage | None, input_bytes: int, output_bytes: int) -> Usage:
    """Usage from evidence: what was reported stands; what was not is bytes ÷ 4, rounded up."""
    known = usage or Usage()
    reported_input = {
        name: getattr(known, name)
        for name in ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input")
    }
    if not any(reported_input.values()):
        reported_input["input"] = -(-input_bytes // 4)
    return Usage(
        **reported_input,
        output=max(known.output, -(-output_bytes // 4)),
        audio_output=known.audio_output,
        reasoning=known.reasoning,
    )


def insert_attempt(cursor: Cursor, call_id: str, hold_id: str, number: int, offer: Offer) -> None:
    """The attempt has its row before any byte of it goes out."""
    sql.INSERT_ATTEMPT.run(
        cursor,
        call_id=call_id,
        number=number,
        hold_id=hold_id,
        upstream_id=offer.target.upstream_id,
        upstream_model=offer.target.model,
        price_version=offer.price_version,
        started_at=clock.now_micros(),
    )


def end_attempt(
    cursor: Cursor, call_id: str, number: int, status: int | None, outcome: str
) -> None:
    """How the attempt ended; `status` is the upstream's, if it answered."""
    sql.END_ATTEMPT.run(
        cursor,
        of_call=call_id,
        nth=number,
        http_status=status,
        how=outcome,
        now=clock.now_micros(),
    )
