"""The audit of receipts: what each call cost, by its own usage, price and exchange rate."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from modelbridge.money import MAX_NANOS, USAGE_CLASSES, Price, Usage, cost_nanos, format_amount
from modelbridge.store.tables import Call, FxVersion, Hold, PriceVersion, Shortfall

AT_A_TIME = 5_000
_KNOWN = 65_536  # many calls are of the same size at the same price
_ROWS = (
    select(
        Call.id,
        Call.price_version,
        Call.fx_version,
        Hold.fx_version,
        Call.cost_nanos,
        Hold.charged_nanos,
        Hold.amount_nanos,
        Shortfall.amount_nanos,
        *(getattr(Call, f"{name}_tokens") for name in USAGE_CLASSES),
    )
    .join(Hold, Hold.id == Call.hold_id)
    .join(Shortfall, Shortfall.hold_id == Hold.id, isouter=True)
    .where(Hold.state == "posted")
    .order_by(Call.id)
)


def wrong(session: Session, rest: Callable[[], None]) -> Iterator[str]:
    """Every receipt, reckoned again from its usage, price and exchange rate, gives its cost.

    `rest` is called now and then; what is there at first is looked at, whatever comes meanwhile.
    """
    reckon = _reckoning(session)
    last = ""
    while rows := session.execute(_ROWS.where(Call.id > last).limit(AT_A_TIME)).all():
        for row in rows:
            yield from _compare(row, reckon)
        last = rows[-1][0]
        rest()


def _compare(row: Sequence[Any], reckon: Callable[[str, int, Sequence[int]], int]) -> Iterator[str]:
    call_id, price, fx, held_at, told, charged, held, shortfall = row[:8]
    if price is None or fx != held_at:
        yield f"{call_id}: its receipt names no price, or its exchange rate is not its hold's"
        return
    cost = reckon(price, fx, row[8:])
    charge = min(cost, held)
    if not told == charged == charge:
        yield (
            f"{call_id}: its receipt says AUD {format_amount(told or 0)}, "
            f"reckoned again it is AUD {format_amount(charge)}"
        )
    if (shortfall or 0) != min(cost - charge, MAX_NANOS):
        yield (
            f"{call_id}: its shortfall is AUD {format_amount(shortfall or 0)}, "
            f"reckoned again it is AUD {format_amount(cost - charge)}"
        )


def _reckoning(session: Session) -> Callable[[str, int, Sequence[int]], int]:
    """What a usage costs, by the versions of the price and of the exchange rate, in nano-AUD."""

    @cache
    def price_of(version: str) -> Price:
        found = session.execute(select(PriceVersion.price).where(PriceVersion.id == version))
        return Price.from_json(found.scalar_one())

    @cache
    def rate_of(version: int) -> int:
        rate = select(FxVersion.aud_per_usd_nanos).where(FxVersion.version == version)
        return session.execute(rate).scalar_one()

    @lru_cache(maxsize=_KNOWN)
    def reckon(price: str, fx: int, tokens: Sequence[int]) -> int:
        return cost_nanos(Usage(*tokens), price_of(price), rate_of(fx))

    return reckon


def missing(session: Session) -> Iterator[str]:
    """A charge has a receipt."""
    for hold_id in session.scalars(
        select(Hold.id).where(Hold.state == "posted", ~exists().where(Call.hold_id == Hold.id))
    ):
        yield f"{hold_id}: charged without a receipt"


def without_charge(session: Session) -> Iterator[str]:
    """A receipt with a cost has a charge."""
    rows = (
        select(Call.id, Call.cost_nanos)
        .join(Hold, Hold.id == Call.hold_id, isouter=True)
        .where(Call.cost_nanos > 0, Hold.state.is_distinct_from("posted"))
    )
    for call_id, cost in session.execute(rows):
        yield f"{call_id}: costs AUD {format_amount(cost or 0)}, but nothing was charged"
