"""Admission: price, quote, place the hold. After it, the money for the call is reserved."""

from dataclasses import dataclass, replace
from typing import Any

from modelbridge import clock, ids, jsonio
from modelbridge.catalog.routes import Catalog, Offer, Offered
from modelbridge.errors import (
    AddressNotAllowed,
    BridgeError,
    BudgetInFlight,
    InsufficientBalance,
    InvalidRequest,
    MaxTokensUnaffordable,
    ModelNotAllowed,
    ModelNotFound,
    ModelNotPriced,
    SpendingLimitReached,
)
from modelbridge.gateway import bounds, kinds
from modelbridge.gateway.call import Call
from modelbridge.gateway.charge import Charge, insert_attempt
from modelbridge.gateway.kinds import CHAT, KINDS, Kind
from modelbridge.gateway.services import Gateway
from modelbridge.identity.callers import Caller
from modelbridge.ledger import holds, sql
from modelbridge.ledger.holds import Funds
from modelbridge.money import (
    MAX_NANOS,
    PER_MILLION,
    Price,
    Usage,
    affordable_output,
    cost_nanos,
    dearest,
    format_amount,
)
from modelbridge.store.statements import Cursor
from modelbridge.wire.chat import MAXIMA, maximum_named
from modelbridge.wire.target import KindName

LEAST_TOKENS = 16
OPEN_ENDED_TOKENS = 4_096
TYPICAL_TOKENS_PER_BYTE = (6, 10)
SUGGESTIONS = 5
_USUAL = ("chat", "completions")


def choose(catalog: Catalog, caller: Caller, model: str) -> Offered:
    """The targets of a model for this caller. Raises ModelNotFound or ModelNotAllowed."""
    offered = catalog.offered(model)
    if offered is None:
        raise not_found(catalog, caller, model)
    refuse_other_models(caller, model)
    return offered


def choose_for(kind: Kind, catalog: Catalog, caller: Caller, model: str) -> Offered:
    """The targets of a model that can be asked for calls of that kind.

    Raises ModelNotFound, ModelNotAllowed, or InvalidRequest if there is no such target.
    """
    offered = choose(catalog, caller, model)
    fitting = tuple(offer for offer in offered.offers if kind.name in offer.kinds)
    if not fitting:
        others = frozenset().union(*(offer.kinds for offer in offered.offers))
        raise other_kind(catalog, kind, model, others)
    return offered if len(fitting) == len(offered.offers) else replace(offered, offers=fitting)


def spoken_in(offered: Offered, dialect: str) -> Offered:
    """The same targets; one that also speaks the client's dialect is asked in that first."""
    offers: list[Offer] = []
    for offer in offered.offers:
        if dialect in offer.target.quirks.speaks:
            offers.append(replace(offer, target=replace(offer.target, dialect=dialect)))
        offers.append(offer)
    return offered if len(offers) == len(offered.offers) else replace(offered, offers=tuple(offers))


def other_kind(
    catalog: Catalog, kind: Kind, model: str, others: frozenset[KindName]
) -> InvalidRequest:
    """The 400 of a model that is for something else; `others` is what it is for."""
    words = " and ".join(KINDS[name].words for name in sorted(others)) or "nothing here"
    names = catalog.names(kind.name)[:SUGGESTIONS]
    hint = f" Models for that: {', '.join(names)}." if names and kind.name not in _USUAL else ""
    return InvalidRequest(
        f"The model {model!r} is not for {kind.words}; it is for {words}.{hint}", param="model"
    )


def refuse_other_models(caller: Caller, model: str) -> None:
    """Raises ModelNotAllowed unless the key's list of models has this one."""
    if not caller.may_call(model):
        raise ModelNotAllowed(
            f"This API key may not call the model {model!r}. Its list of models is set where the "
            "key is managed.",
            param="model",
        )


def refuse_other_addresses(caller: Caller, address: str) -> None:
    """Raises AddressNotAllowed unless the key may be used from that IP address."""
    if not caller.may_come_from(address):
        raise AddressNotAllowed(
            f"This API key may not be used from {address or 'an unknown address'}. Its list of "
            "addresses is set where the key is managed."
        )


def not_found(catalog: Catalog, caller: Caller, model: str) -> ModelNotFound:
    """The 404 with the nearest names that this caller could call."""
    nearest = catalog.nearest(model, among_known=caller.is_test)
    hint = f" Did you mean {', '.join(nearest)}?" if nearest else ""
    return ModelNotFound(
        f"The model {model!r} is not offered here.{hint} GET /v1/models lists what is.",
        param="model",
    )


def admit(gateway: Gateway, call: Call, request: Any) -> Charge:
    """The hold for this call stands, with the row of its first attempt.

    Waits for money that other calls hold, at most as long as the settings say. Raises the errors
    of routing and of money.
    """
    catalog, kind = gateway.catalog.at(call.caller.catalog_version), kinds.of(call)
    offered = choose_for(kind, catalog, call.caller, call.model)
    offered = spoken_in(offered, call.front.NAME)
    quote = quote_for(catalog, offered, request, kind, asked_as=maximum_named(call.body))
    until = clock.monotonic() + gateway.settings.budget_wait_seconds
    while True:
        try:
            charge = _place(gateway, call, quote)
        except BudgetInFlight:
            if call.client_gone() or not gateway.money_freed.wait(until):
                raise
            continue
        call.output_cap = charge.output_cap
        if charge.output_cap < quote.most_output:
            call.notes["x-modelbridge-output-cap"] = str(charge.output_cap)
        return charge


@dataclass(frozen=True, slots=True)
class Quote:
    """What a request can cost at each of its targets, as a function of its output cap.

    `flats` are (input bound, flat dearest price) of each offer. `asked`: the client's maximum, and
    `asked_as` the field in which the client named it.
    `room`: output tokens that the context window surely leaves.
    """

    offers: tuple[Offer, ...]
    flats: tuple[tuple[int, Price], ...]
    fx_version: int
    aud_per_usd_nanos: int
    choices: int
    asked: int | None
    most_output: int
    room: int
    input_bytes: int
    asked_as: str = MAXIMA[0]

    def nanos(self, output_cap: int) -> int:
        """The quote in nano-AUD: the dearest target's."""
        return max(
            cost_nanos(
                Usage(input=bound, output=self.choices * output_cap), flat, self.aud_per_usd_nanos
            )
            for bound, flat in self.flats
        )

    def affordable(self, nanos: int) -> int:
        """Most output tokens that this much money pays for at every target; 0 if not the input."""
        most = [
            affordable_output(nanos, flat, bound, self.choices, self.aud_per_usd_nanos)
            for bound, flat in self.flats
        ]
        return min(count or 0 for count in most)

    @property
    def least(self) -> int:
        """Fewer affordable output tokens than this are a refusal."""
        wanted = self.asked if self.asked is not None else self.most_output
        return min(LEAST_TOKENS, self.most_output, wanted)

    def cap(self, funds: Funds) -> int:
        """The output cap that these funds allow. Raises the refusal."""
        if self.asked is not None:
            return self._asked_cap(funds, self.asked)
        affordable = self.affordable(funds.unheld)
        if affordable < self.least:
            raise self._refusal(funds)
        quarter = self.affordable(funds.unheld // 4)
        return min(self.most_output, max(OPEN_ENDED_TOKENS, quarter), affordable, self.room)

    def _asked_cap(self, funds: Funds, asked: int) -> int:
        needed = self.nanos(asked)
        if needed <= funds.unheld:
            return asked
        if needed <= funds.if_freed:
            raise _in_flight(funds)
        if not asked:
            raise _exhausted(funds, needed)
        affordable = self.affordable(funds.if_freed)
        if affordable < self.least:
            raise self._refusal(funds)
        raise MaxTokensUnaffordable(
            f"A maximum of {asked} output tokens could cost AUD {format_amount(needed)}, but "
            f"{_purse_words(funds)} leaves AUD {format_amount(funds.if_freed)}: at most "
            f"{affordable} tokens are affordable. Lower {self.asked_as}, or leave it out where the "
            "format lets you.",
            param=self.asked_as,
        )

    def _refusal(self, funds: Funds) -> BridgeError:
        if self.affordable(funds.if_freed) >= self.least:
            return _in_flight(funds)
        return _exhausted(funds, self.nanos(self.least))


def quote_for(
    catalog: Catalog,
    offered: Offered,
    request: Any,
    kind: Kind = CHAT,
    *,
    asked_as: str = MAXIMA[0],
) -> Quote:
    """What the request can cost here. Raises ModelNotPriced, or what cannot be bounded."""
    offers = tuple(offer for offer in offered.offers if offer.price is not None)
    if not offers:
        raise ModelNotPriced(
            f"The model {offered.name!r} has no price here, so it cannot be called with a live "
            "key. Ask the operator to set one (flask model add … --input USD --output USD).",
            param="model",
        )
    size = kind.measure(request)
    asked = kind.asked_maximum(request)
    most = min(offer.max_output for offer in offers) if asked != 0 else 0
    answers = kind.choices(request) if asked != 0 else 0
    return Quote(
        offers=offers,
        flats=tuple(_flat(offer, size, answers * _apart(offer, request)) for offer in offers),
        fx_version=catalog.fx_version,
        aud_per_usd_nanos=catalog.aud_per_usd_nanos,
        choices=kind.choices(request),
        asked=asked,
        most_output=most,
        room=min(_room(offer, size) for offer in offers),
        input_bytes=size.text_bytes,
        asked_as=asked_as,
    )


def _apart(offer: Offer, request: Any) -> int:
    """Most tokens of thought of an answer that its maximum does not bound."""
    most = offer.target.quirks.thoughts_apart
    if not most or request.get("enable_thinking") is False:
        return 0
    budget = request.get("thinking_budget")
    return min(budget, most) if type(budget) is int and budget > 0 else most


def _flat(offer: Offer, size: bounds.Size, thoughts: int) -> tuple[int, Price]:
    """The input bound, and a flat price that no call can exceed; thoughts apart are a fee in it."""
    assert offer.price is not None  # noqa: S101  the caller took those with a price
    target = offer.target
    bound = size.bound(target.provider, target.model, offer.context_window)
    writes = size.cache_writes or target.dialect != "anthropic_messages"
    audio = size.unbounded is not None
    flat = dearest(offer.price, bound, cache_writes=writes, audio=audio)
    if thoughts:
        fee = -(-thoughts * flat.rates.output // PER_MILLION)
        flat = replace(flat, per_call=flat.per_call + fee)
    return bound, flat


def _room(offer: Offer, size: bounds.Size) -> int:
    """Output tokens that the context window leaves beside a dense text of this size.

    Measured texts have at most 0.58 tokens a byte; the upper bound of one would leave no room for
    an answer to a long prompt that in truth fills a quarter of the window.
    """
    if offer.context_window is None:
        return MAX_NANOS
    some, of = TYPICAL_TOKENS_PER_BYTE
    longest = size.text_tokens if size.longest_tokens is None else size.longest_tokens
    return max(LEAST_TOKENS, offer.context_window - longest * some // of)


def _place(gateway: Gateway, call: Call, quote: Quote) -> Charge:
    cap = 0

    def size(funds: Funds) -> int:
        nonlocal cap
        cap = quote.cap(funds)
        return quote.nanos(cap)

    hold_id = ids.new_id("hold")
    request = holds.HoldRequest(
        hold_id=hold_id,
        call_id=call.id,
        key_id=call.caller.key_id,
        owner=gateway.boot_id,
        endpoint=call.endpoint,
        model=call.model,
        stream=call.stream,
        fx_version=quote.fx_version,
        size=size,
        idempotency=call.idempotency,
    )

    def unit(cursor: Cursor) -> int:
        for offer in quote.offers:
            _keep_price(gateway, cursor, offer, call.model)
        amount = holds.place(cursor, request)
        insert_attempt(cursor, call.id, hold_id, 1, quote.offers[0])
        return amount

    amount = gateway.database.submit(unit)
    gateway.known_prices.update(offer.price_version for offer in quote.offers)
    return Charge(
        gateway=gateway,
        call=call,
        hold_id=hold_id,
        amount_nanos=amount,
        output_cap=cap,
        offers=quote.offers,
        fx_version=quote.fx_version,
        aud_per_usd_nanos=quote.aud_per_usd_nanos,
        input_bytes=quote.input_bytes,
    )


def _keep_price(gateway: Gateway, cursor: Cursor, offer: Offer, model: str) -> None:
    """The price that this call is quoted at is on record, for good."""
    version = offer.price_version
    if version in gateway.known_prices or sql.HAS_PRICE.row(cursor, version=version):
        return
    assert offer.price is not None  # noqa: S101
    sql.INSERT_PRICE.run(
        cursor,
        id=version,
        model=model,
        source=offer.price_source,
        price=jsonio.dumps(offer.price.to_json()).decode(),
        created_at=clock.now_micros(),
    )


def _in_flight(funds: Funds) -> BudgetInFlight:
    return BudgetInFlight(
        f"Other calls hold the money that {_purse_words(funds)} has left. Try again when they end.",
        retry_after=1,
    )


def _exhausted(funds: Funds, needed: int) -> BridgeError:
    """The limit or the balance is spent; the message says which, and when it comes back."""
    purse = funds.narrowest
    left = f"AUD {format_amount(max(0, purse.left_if_freed))} is left, and even a short answer "
    left += f"to this request could cost AUD {format_amount(needed)}."
    if purse.name == "balance":
        return InsufficientBalance(f"The {_whose(funds)} balance is used up: {left} Top it up.")
    limit = f"AUD {format_amount(purse.limit or 0)}"
    whose = "this API key" if purse.name == "key_limit" else f"the {_whose(funds)} account"
    when = (
        f" It starts afresh on {purse.resets_at:%Y-%m-%d at %H:%M UTC}." if purse.resets_at else ""
    )
    return SpendingLimitReached(f"The spending limit of {whose} ({limit}) is reached: {left}{when}")


def _purse_words(funds: Funds) -> str:
    name = funds.narrowest.name
    if name == "balance":
        return f"the {_whose(funds)} balance"
    return "the key's spending limit" if name == "key_limit" else "the account's spending limit"


def _whose(funds: Funds) -> str:
    return "team's" if funds.account_kind == "team" else "personal"
