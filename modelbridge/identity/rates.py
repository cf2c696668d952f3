"""The pace of a key: calls and tokens a minute, calls at once. Counted in gateway/rates.py."""

from typing import NamedTuple

MOST_CALLS = 60_000
MOST_TOKENS = 1_000_000_000
MOST_AT_ONCE = 10_000


class Rates(NamedTuple):
    """What a key may do in a minute, and at once; None for each: as much as it likes."""

    calls: int | None = None
    tokens: int | None = None
    concurrent: int | None = None


NO_RATES = Rates()
MOST = Rates(MOST_CALLS, MOST_TOKENS, MOST_AT_ONCE)
FIELDS = ("rpm", "tpm", "concurrency")
_WORDS = ("calls a minute", "tokens a minute", "calls at once")


def check_rates(rates: Rates) -> Rates:
    """The rates, if they can be. Raises ValueError naming the field: rpm, tpm or concurrency."""
    for value, most, field in zip(rates, MOST, FIELDS, strict=True):
        if value is not None and not 1 <= value <= (most or 0):
            raise ValueError(f"{field}: must be a whole number from 1 to {most}, or none")
    return rates


def in_words(rates: Rates) -> str:
    """Like "60 calls a minute, 2 calls at once"; empty if there are none."""
    named = zip(rates, _WORDS, strict=True)
    return ", ".join(f"{value} {words}" for value, words in named if value is not None)
