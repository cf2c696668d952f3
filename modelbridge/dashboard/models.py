"""What this bridge offers: every model that a live key can call, its price, size and place."""

from dataclasses import dataclass

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from modelbridge.catalog import fx
from modelbridge.catalog.routes import Catalog, Offer
from modelbridge.dashboard.services import bridge, catalog
from modelbridge.money import NANOS, Rates

pages = Blueprint("models", __name__, url_prefix="/models")

PAGE_SIZE = 50
_CLASSES = (
    ("input", "Input"),
    ("output", "Output"),
    ("cache_read", "Cache read"),
    ("cache_write", "Cache write"),
    ("cache_write_1h", "Cache write, kept an hour"),
    ("audio_input", "Sound in"),
    ("audio_output", "Sound out"),
)
_USUAL = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One class of tokens: per million of them, in nano-AUD and nano-USD."""

    label: str
    aud_nanos: int
    usd_nanos: int


@dataclass(frozen=True, slots=True)
class Row:
    """A model as the list shows it: its first priced offer, and the upstreams of the others.

    `lines` are the four usual classes, `apart` those that this model prices apart from them;
    `tiers` are dearer lines above a number of input tokens.
    """

    name: str
    title: str
    offer: Offer
    lines: tuple[Line, ...]
    apart: tuple[Line, ...]
    tiers: tuple[tuple[int, tuple[Line, ...]], ...]
    others: tuple[str, ...]


@pages.get("")
def index() -> ResponseReturnValue:
    """The models by name, 50 a page; `?q=` looks in names, titles and upstreams."""
    words = request.args.get("q", "").strip()[:100]
    after = request.args.get("after", "")
    with bridge().database.reading() as session:
        offers = catalog(session)
    names = offers.names()
    found = [name for name in names if name > after and _fits(offers, name, words)]
    rows = [row for name in found[:PAGE_SIZE] if (row := row_of(offers, name))]
    return render_template(
        "models/index.html",
        rows=rows,
        total=len(names),
        words=words,
        after=found[PAGE_SIZE - 1] if len(found) > PAGE_SIZE else None,
        aud_per_usd_nanos=offers.aud_per_usd_nanos,
        is_shipped_rate=offers.fx_source == fx.SHIPPED,
    )


def row_of(offers: Catalog, name: str) -> Row | None:
    """The model's line; None if it was removed a moment ago."""
    offered = offers.offered(name)
    if offered is None:
        return None
    priced = [offer for offer in offered.offers if offer.price is not None]
    offer = next(iter(priced), offered.offers[0])
    rate, price = offers.aud_per_usd_nanos, offer.price
    lines = _lines(price.rates, rate) if price else ()
    return Row(
        name=offered.name,
        title=offered.title if offered.title != offered.name else "",
        offer=offer,
        lines=lines[:_USUAL],
        apart=lines[_USUAL:],
        tiers=tuple((start, _lines(rates, rate)) for start, rates in price.tiers) if price else (),
        others=tuple(other.target.upstream for other in offered.offers if other is not offer),
    )


def _lines(rates: Rates, aud_per_usd_nanos: int) -> tuple[Line, ...]:
    """The four usual classes, and the others where they are priced apart from what they are."""
    apart = {
        "cache_write_1h": rates.cache_write_1h != rates.cache_write,
        "audio_input": rates.audio_input != rates.input,
        "audio_output": rates.audio_output != rates.output,
    }
    return tuple(
        Line(label, -(-usd * aud_per_usd_nanos // NANOS), usd)
        for name, label in _CLASSES
        if apart.get(name, True)
        for usd in (getattr(rates, name),)
    )


def _fits(offers: Catalog, name: str, words: str) -> bool:
    """Whether every word is somewhere in what people know the model by."""
    if not words:
        return True
    offered = offers.offered(name)
    places = [offer.target.upstream for offer in offered.offers] if offered else []
    text = " ".join([name, offered.title if offered else "", *places]).casefold()
    return all(word in text for word in words.casefold().split())
