"""How the cost of one call was reckoned, exactly: usage × price × exchange rate, rounded up once.

Products are shown with all their digits, so that anybody can check them by hand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.ledger import history
from modelbridge.money import NANOS, PRICED_CLASSES, USAGE_CLASSES, Price, Usage, cost_nanos
from modelbridge.store.tables import (
    ApiKey,
    Attempt,
    BalanceTransaction,
    Call,
    FxVersion,
    Hold,
    PriceVersion,
    Shortfall,
    Upstream,
    User,
)

_PER_MILLION = 1_000_000
CLASSES = {
    "input": "Input",
    "cache_read": "Read from the cache",
    "cache_write": "Written to the cache (5 minutes)",
    "cache_write_1h": "Written to the cache (1 hour)",
    "audio_input": "Audio input",
    "output": "Output",
    "audio_output": "Audio output",
}


@dataclass(frozen=True, slots=True)
class Line:
    """Tokens of one class × their price; `usd` is the exact product, a decimal."""

    name: str
    tokens: int
    usd_per_million_nanos: int
    usd: str


@dataclass(frozen=True, slots=True)
class Reckoning:
    """From tokens to money. `usd` and `aud` are exact; `cost_nanos` is `aud` rounded up.

    `tier_start`: the call had more input tokens than this, so the dearer rates held.
    """

    lines: Sequence[Line]
    per_call_nanos: int
    usd: str
    aud: str
    cost_nanos: int
    tier_start: int | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Everything that is known of the money of one call."""

    call: Call
    key: ApiKey
    person: User | None
    hold: Hold | None
    price: PriceVersion | None
    rate: FxVersion | None
    reckoning: Reckoning | None
    attempts: Sequence[tuple[Attempt, str]]
    charge: BalanceTransaction | None
    refunds: Sequence[BalanceTransaction]
    shortfall_nanos: int

    @property
    def refundable_nanos(self) -> int:
        """What is left of the charge that was not given back."""
        charged = -self.charge.amount_nanos if self.charge else 0
        return charged - sum(row.amount_nanos for row in self.refunds)


def receipt_of(session: Session, call: Call) -> Receipt:
    """The receipt of a call, whose it is being the caller's question."""
    hold = session.get(Hold, call.hold_id) if call.hold_id else None
    price = session.get(PriceVersion, call.price_version) if call.price_version else None
    rate = session.get(FxVersion, call.fx_version) if call.fx_version else None
    charge = history.charge_of(session, hold.id) if hold else None
    shortfall = select(Shortfall.amount_nanos).where(Shortfall.hold_id == call.hold_id)
    return Receipt(
        call=call,
        key=session.get_one(ApiKey, call.key_id),
        person=session.get(User, call.user_id) if call.user_id else None,
        hold=hold,
        price=price,
        rate=rate,
        reckoning=reckon(call, price, rate) if price and rate and charge else None,
        attempts=_attempts(session, call),
        charge=charge,
        refunds=history.refunds_of(session, charge) if charge else [],
        shortfall_nanos=session.scalar(shortfall) or 0,
    )


def reckon(call: Call, version: PriceVersion, rate: FxVersion) -> Reckoning:
    """The way from the call's tokens to its cost at that price and rate."""
    price, usage = Price.from_json(version.price), _usage_of(call)
    rates = price.rates_for(usage.total_input)
    lines = [
        Line(
            CLASSES[name],
            getattr(usage, name),
            getattr(rates, name),
            exact(getattr(usage, name) * getattr(rates, name), 15),
        )
        for name in PRICED_CLASSES
        if getattr(usage, name)
    ]
    products = sum(getattr(usage, name) * getattr(rates, name) for name in PRICED_CLASSES)
    products += price.per_call * _PER_MILLION
    starts = [start for start, _ in price.tiers if usage.total_input > start]
    return Reckoning(
        lines=lines,
        per_call_nanos=price.per_call,
        usd=exact(products, 15),
        aud=exact(products * rate.aud_per_usd_nanos, 24),
        cost_nanos=cost_nanos(usage, price, rate.aud_per_usd_nanos),
        tier_start=max(starts, default=None),
    )


def _usage_of(call: Call) -> Usage:
    return Usage(**{name: getattr(call, f"{name}_tokens") for name in USAGE_CLASSES})


def exact(number: int, places: int) -> str:
    """`number` × 10^-`places` as a decimal with all its digits, and at least two."""
    whole, fraction = divmod(number, 10**places)
    digits = f"{fraction:0{places}d}".rstrip("0").ljust(2, "0")
    return f"{whole}.{digits}"


def aud_per_usd(rate: FxVersion) -> str:
    """The rate as a bare decimal: "1.53"."""
    return exact(rate.aud_per_usd_nanos, len(str(NANOS)) - 1)


def _attempts(session: Session, call: Call) -> list[tuple[Attempt, str]]:
    """Every try at an upstream with that upstream's name, or its id once it is removed."""
    rows = session.execute(
        select(Attempt, Upstream.name)
        .outerjoin(Upstream, Upstream.id == Attempt.upstream_id)
        .where(Attempt.call_id == call.id)
        .order_by(Attempt.number)
    )
    return [(attempt, name or attempt.upstream_id) for attempt, name in rows]
