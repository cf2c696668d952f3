"""Prices: the genai-prices package's, and the operator's own, as `money.Price`.

The package (about 0.3 s to import) is loaded when the first price of it is needed, not before.
It publishes USD per million tokens as decimals; here they are integers, nano-USD per million
tokens, exactly: a price that does not fit is no price.

A class of tokens that the package does not price is charged as the class it is a part of, which is
what the package's own arithmetic does: cache reads and writes as fresh input, writes that live an
hour as other writes, sound as text. Never as nothing.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelbridge import money
from modelbridge.catalog.limits import MODELS
from modelbridge.money import NANOS, Price, Rates

_PACKAGE = "genai_prices.data"
OPERATOR = "operator"
OVERRIDES = ("input", "output", "cache_read", "cache_write")
_MAX_USD_PER_MTOK = 1_000_000
_CALLS_PER_KCOUNT = 1_000

# Units that the classes of `Usage` can count.
_TOKENS = {
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "cache_write_5m_mtok",
    "cache_write_1h_mtok",
    "input_audio_mtok",
    "output_audio_mtok",
}
# Fees for tools of the provider's own, which run only when a request asks for them; such requests
# are refused before they are priced. Cached sound has no class of its own in `Usage`.
_ONLY_WHEN_ASKED_FOR = {
    "web_searches_kcount",
    "social_searches_kcount",
    "storage_searches_kcount",
    "code_executions_kcount",
    "cache_audio_read_mtok",
}
_ANY_TIME = datetime(1970, 1, 1, tzinfo=UTC)
# A dated snapshot or the newest of a family: claude-haiku-4-5-20251001, gpt-5-2025-08-07, x-latest.
_SUFFIX = re.compile(r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-latest)$")


@dataclass(frozen=True, slots=True)
class PackageModel:
    """An entry of the package; `info` is its `genai_prices.types.ModelInfo`."""

    info: Any

    @property
    def title(self) -> str:
        """The model's name for people, or ""."""
        return self.info.name or ""

    @property
    def context_window(self) -> int | None:
        """Tokens, or None where the package does not know."""
        return self.info.context_window or None

    @property
    def depends_on_time(self) -> bool:
        """Whether its price has a start date or hours."""
        return isinstance(self.info.prices, list) and len(self.info.prices) > 1

    def price(self, at: datetime, *, in_text: bool = True) -> Price | None:
        """The price at that moment; None if it cannot be bounded by tokens."""
        return to_price(self.info.get_prices(at), in_text=in_text)


@cache
def package_source() -> str:
    """What receipts name as the source of the package's prices."""
    return f"genai-prices {version('genai-prices')}"


def package_since() -> datetime:
    """When the package's prices were put where they are: they are no newer than that."""
    found = find_spec(_PACKAGE)
    assert found is not None  # noqa: S101
    assert found.origin is not None  # noqa: S101
    return datetime.fromtimestamp(Path(found.origin).stat().st_mtime, UTC)


@cache
def load_package() -> Mapping[str, Sequence[Any]]:
    """The package's models by its provider ids. Worth calling early, beside the start."""
    return {provider.id: provider.models for provider in import_module(_PACKAGE).providers}


@cache
def _index(price_provider: str) -> Mapping[str, PackageModel]:
    """Every name that the package states outright for a provider: ids first, then aliases."""
    models = load_package().get(price_provider, ())
    found: dict[str, PackageModel] = {}
    for info in models:
        if info.is_match(info.id):
            found.setdefault(info.id, PackageModel(info))
    for info in models:
        for name in _stated_names(info.match):
            if info.is_match(name):
                found.setdefault(name, PackageModel(info))
    return found


def _stated_names(clause: Any) -> Iterator[str]:
    """The names in a clause's `equals`, alone or as alternatives."""
    if hasattr(clause, "equals"):
        yield clause.equals
    for part in getattr(clause, "or_", ()):
        yield from _stated_names(part)


@lru_cache(maxsize=4096)
def find(price_provider: str, model: str) -> PackageModel | None:
    """The package's entry for exactly that model, or None.

    A name counts if the package states it, or states it without the date or `-latest` at its end
    and the entry's own rule agrees: `foo-mini-tts` is never taken for `foo-mini`.
    """
    index = _index(price_provider)
    if found := index.get(model):
        return found
    family = _SUFFIX.sub("", model)
    if family == model:
        return None
    found = index.get(family) or index.get(f"{family}-latest")
    return found if found and found.info.is_match(model) else None


def package_price(price_provider: str, model: str, at: datetime) -> Price | None:
    """What a call of the model costs at that moment (to the minute); None: not known.

    None also for models whose cost tokens do not bound, and for those that have no endpoint here.
    """
    if not MODELS.is_offered(model):
        return None
    found = find(price_provider, model)
    if found is None:
        return None
    minute = at.replace(second=0, microsecond=0) if found.depends_on_time else None
    return _price_at(price_provider, model, minute or _ANY_TIME)


@lru_cache(maxsize=4096)
def _price_at(price_provider: str, model: str, at: datetime) -> Price | None:
    found = find(price_provider, model)
    return found.price(at, in_text=MODELS.is_chat(model)) if found else None


def package_names(price_provider: str, at: datetime) -> list[str]:
    """Every stated name that has a price at that moment, in the package's order."""
    return [name for name in _index(price_provider) if package_price(price_provider, name, at)]


def to_price(model_price: Any, *, in_text: bool = True) -> Price | None:
    """A `genai_prices.types.ModelPrice` as ours. `in_text`: False if it answers in vectors.

    None if it lacks input or output, has units that tokens do not bound, does not fit exactly, or
    has cache writes below fresh input: what is written was read as input first, so that can only
    be a surcharge (the package has OpenRouter's list for Gemini, which states the storage alone).
    """
    stated = {
        key: value
        for key, value in vars(model_price).items()
        if value is not None and not key.startswith("_") and key not in _ONLY_WHEN_ASKED_FOR
    }
    if not in_text:
        stated.setdefault("output_mtok", Decimal(0))  # vectors are not counted in tokens
    fee = stated.pop("requests_kcount", Decimal(0))
    if stated.keys() - _TOKENS or not {"input_mtok", "output_mtok"} <= stated.keys():
        return None
    starts = {tier.start for value in stated.values() for tier in getattr(value, "tiers", ())}
    try:
        return Price(
            rates=_rates(stated, None),
            tiers=tuple((start, _rates(stated, start)) for start in sorted(starts)),
            per_call=_exact_nanos(fee, per=_CALLS_PER_KCOUNT),
        )
    except UnusablePriceError:
        return None


class UnusablePriceError(ValueError):
    """A price of the package that cannot be taken as it stands."""


def _rates(stated: Mapping[str, Any], start: int | None) -> Rates:
    """The rates that hold above `start` input tokens (None: from the first token on)."""
    nanos = {key: _exact_nanos(_level(value, start)) for key, value in stated.items()}
    cache_write = nanos.get(
        "cache_write_5m_mtok", nanos.get("cache_write_mtok", nanos["input_mtok"])
    )
    if cache_write < nanos["input_mtok"]:
        raise UnusablePriceError
    return Rates(
        input=nanos["input_mtok"],
        cache_read=nanos.get("cache_read_mtok", nanos["input_mtok"]),
        cache_write=cache_write,
        cache_write_1h=nanos.get("cache_write_1h_mtok", cache_write),
        audio_input=nanos.get("input_audio_mtok", nanos["input_mtok"]),
        output=nanos["output_mtok"],
        audio_output=nanos.get("output_audio_mtok", nanos["output_mtok"]),
    )


def _level(value: Any, start: int | None) -> Decimal:
    """A price above `start` input tokens: of its last tier that begins there or below."""
    if isinstance(value, Decimal):
        return value
    level: Decimal = value.base
    for tier in value.tiers:
        if start is not None and tier.start <= start:
            level = tier.price
    return level


def _exact_nanos(usd: Any, *, per: int = 1) -> int:
    if not isinstance(usd, Decimal) or not usd.is_finite() or usd < 0:
        raise UnusablePriceError
    scaled = usd * NANOS / per
    if scaled != scaled.to_integral_value():
        raise UnusablePriceError
    return int(scaled)


def operator_price(prices: Mapping[str, str]) -> Price:
    """The operator's own price from decimal USD per million tokens. 0 is a price.

    `input` and `output` are needed; `cache_read` and `cache_write` are as `input` where absent.
    Writes that live an hour are as `cache_write`; sound is as text. Raises ValueError naming the
    price that is missing, unknown or malformed.
    """
    if unknown := sorted(set(prices) - set(OVERRIDES)):
        raise ValueError(f"prices: {', '.join(unknown)} is not one of {', '.join(OVERRIDES)}")
    for name in ("input", "output"):
        if name not in prices:
            raise ValueError(f"{name} price is missing: give both the input and the output price")
    nanos = {name: _operator_nanos(name, text) for name, text in prices.items()}
    fresh = nanos["input"]
    cache_write = nanos.get("cache_write", fresh)
    return Price(
        Rates(
            input=fresh,
            cache_read=nanos.get("cache_read", fresh),
            cache_write=cache_write,
            cache_write_1h=cache_write,
            audio_input=fresh,
            output=nanos["output"],
            audio_output=nanos["output"],
        )
    )


def _operator_nanos(name: str, text: str) -> int:
    nanos = money.parse_amount(text, what=f"{name} price")
    if not 0 <= nanos <= _MAX_USD_PER_MTOK * NANOS:
        raise ValueError(f"{name} price must be between 0 and {_MAX_USD_PER_MTOK} USD, not {text}")
    return nanos


def is_zero(price: Price) -> bool:
    """Whether nothing that a call does costs anything."""
    return price == Price(Rates())


def version_of(model: str, price: Price, source: str) -> str:
    """The id of a price as stored with receipts: the same content has the same id, anywhere."""
    content = json.dumps([model, price.to_json(), source], sort_keys=True, separators=(",", ":"))
    return "pv_" + hashlib.sha256(content.encode()).hexdigest()[:24]
