"""Money: integers only. The one function that turns usage into cost is here.

Units: amounts are nano-AUD (10⁻⁹ AUD). Prices are nano-USD per million tokens. The exchange rate
is nano-AUD per USD. Quote, settlement and audit share `cost_nanos`; it rounds up, once per call.
"""

import re
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter, mul

NANOS = 1_000_000_000
MAX_NANOS = 2**63 - 1
PER_MILLION = 1_000_000
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call in disjoint classes, except `reasoning`, which is a part of `output`.

    `cache_write` are writes that live five minutes, `cache_write_1h` those that live an hour.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    output: int = 0
    audio_output: int = 0
    reasoning: int = 0

    @property
    def total_input(self) -> int:
        """Every input token, cached or not: what the providers' long-context tiers look at."""
        return (
            self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.audio_input
        )

    @property
    def total_output(self) -> int:
        """Every output token, reasoning included."""
        return self.output + self.audio_output


USAGE_CLASSES = tuple(f.name for f in fields(Usage))
PRICED_CLASSES = tuple(name for name in USAGE_CLASSES if name != "reasoning")
_priced = attrgetter(*PRICED_CLASSES)


@dataclass(frozen=True, slots=True)
class Rates:
    """nano-USD per million tokens of each priced class of `Usage`."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    audio_input: int = 0
    output: int = 0
    audio_output: int = 0


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs: rates, dearer rates above a number of input tokens, a fee per call.

    `tiers` are (start, rates), ascending: when all input tokens together exceed `start`, every
    token of the call is priced at those rates (the providers' long-context tiers).
    `per_call` is in nano-USD.
    """

    rates: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    per_call: int = 0

    def rates_for(self, total_input: int) -> Rates:
        """The rates that hold for a call with that many input tokens."""
        found = self.rates
        for start, rates in self.tiers:
            if total_input > start:
                found = rates
        return found

    def to_json(self) -> dict[str, object]:
        """A plain form of the whole price, for storage; `from_json` reads it."""
        return {
            "rates": asdict(self.rates),
            "tiers": [[start, asdict(rates)] for start, rates in self.tiers],
            "per_call": self.per_call,
        }

    @classmethod
    def from_json(cls, data: dict[str, object]) -> "Price":
        """The price that `to_json` wrote. Raises KeyError or TypeError for anything else."""
        rates, tiers, per_call = data["rates"], data["tiers"], data["per_call"]
        if not (isinstance(rates, dict) and isinstance(tiers, list) and isinstance(per_call, int)):
            raise TypeError("not a stored price")
        return cls(Rates(**rates), tuple((start, Rates(**r)) for start, r in tiers), per_call)


def cost_nanos(usage: Usage, price: Price, aud_per_usd_nanos: int) -> int:
    """Cost in nano-AUD, rounded up once."""
    rates = price.rates_for(usage.total_input)
    token_part: int = sum(map(mul, _priced(usage), _priced(rates)))
    nano_usd_millionths = token_part + price.per_call * PER_MILLION
    return -(-nano_usd_millionths * aud_per_usd_nanos // (PER_MILLION * NANOS))


def dearest(price: Price, input_bound: int, *, cache_writes: bool, audio: bool = False) -> Price:
    """A flat price that no call with at most `input_bound` input tokens can exceed.

    Every token sent may turn out to be of the dearest class that the call can reach: fresh,
    read from the cache, with `cache_writes` written to it, with `audio` a token of sound.
    """
    reached = sum(input_bound > start for start, _ in price.tiers) if price.tiers else 0
    return _dearest(price, reached, cache_writes, audio)


@lru_cache(maxsize=4096)
def _dearest(price: Price, tiers: int, cache_writes: bool, audio: bool) -> Price:
    """`dearest` of the base rates and the first so many tiers: the same for most calls."""
    reachable = [price.rates] + [rates for _, rates in price.tiers[:tiers]]
    inputs = ["input", "cache_read"]
    inputs += ["cache_write", "cache_write_1h"] if cache_writes else []
    inputs += ["audio_input"] if audio else []
    outputs = ["output", "audio_output"] if audio else ["output"]
    dearest_input = max(getattr(rates, name) for rates in reachable for name in inputs)
    dearest_output = max(getattr(rates, name) for rates in reachable for name in outputs)
    return Price(Rates(input=dearest_input, output=dearest_output), (), price.per_call)


def affordable_output(
    nanos: int, input_cost_price: Price, input_bound: int, choices: int, aud_per_usd_nanos: int
) -> int | None:
    """Most output tokens per choice that `nanos` pay for at a flat price, beside the input.

    None: not even the input is affordable. A price without an output rate affords any number.
    """
    if cost_nanos(Usage(input=input_bound), input_cost_price, aud_per_usd_nanos) > nanos:
        return None
    rates = input_cost_price.rates
    if rates.output == 0:
        return MAX_NANOS
    budget = nanos * PER_MILLION * NANOS // aud_per_usd_nanos
    budget -= input_bound * rates.input + input_cost_price.per_call * PER_MILLION
    return max(0, budget // (rates.output * choices))


def parse_amount(text: str, *, what: str = "amount") -> int:
    """Nano-units of a decimal such as "12.50". Raises ValueError naming `what`.

    Serves AUD, USD and exchange rates alike: at most nine decimals, nothing but digits and a point.
    """
    written = text.strip()
    if _DECIMAL.fullmatch(written) is None:
        raise ValueError(f"{what}: {text!r} is not a decimal number such as 12.50")
    if len(written.partition(".")[2].rstrip("0")) > 9:
        raise ValueError(f"{what}: {text} has more than nine decimals")
    value = Decimal(written)
    if abs(value) > MAX_NANOS // NANOS:
        raise ValueError(f"{what}: {text} is out of range")
    return int(value * NANOS)


def format_amount(nanos: int) -> str:
    """A bare decimal with all the digits that it needs and at least two: "12.50", "0.000031"."""
    sign = "-" if nanos < 0 else ""
    whole, fraction = divmod(abs(nanos), NANOS)
    return f"{sign}{whole}.{f'{fraction:09d}'.rstrip('0').ljust(2, '0')}"
