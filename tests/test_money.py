"""Money: whole numbers, rounded up once, and a quote that no call within its bounds exceeds."""

import sqlite3
from contextlib import closing
from decimal import ROUND_CEILING, Decimal, localcontext
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from modelbridge.money import (
    MAX_NANOS,
    NANOS,
    PRICED_CLASSES,
    Price,
    Rates,
    Usage,
    affordable_output,
    cost_nanos,
    dearest,
    format_amount,
    parse_amount,
)

MOST_RATE = 10_000 * NANOS  # USD 10,000 per million tokens
tokens = st.integers(0, 3_000_000)
rates = st.builds(Rates, **{name: st.integers(0, MOST_RATE) for name in PRICED_CLASSES})
tiers = st.lists(st.tuples(st.integers(0, 2_000_000), rates), max_size=3).map(
    lambda found: tuple(sorted(found, key=lambda tier: tier[0]))
)
prices = st.builds(Price, rates, tiers, st.integers(0, 100 * NANOS))
exchange_rates = st.integers(1, 1_000 * NANOS)
usages = st.builds(Usage, **dict.fromkeys(PRICED_CLASSES, tokens))


def exact_cost(usage: Usage, price: Price, aud_per_usd_nanos: int) -> Fraction:
    """The same by fractions, in nano-AUD before rounding."""
    held = price.rates
    for start, dearer in price.tiers:
        if usage.total_input > start:
            held = dearer
    usd = sum(
        (Fraction(getattr(usage, name) * getattr(held, name), 10**6) for name in PRICED_CLASSES),
        Fraction(price.per_call),
    )
    return usd * aud_per_usd_nanos / NANOS


@given(usages, prices, exchange_rates)
def test_a_cost_is_the_exact_one_rounded_up_once(usage: Usage, price: Price, rate: int) -> None:
    cost = cost_nanos(usage, price, rate)
    assert type(cost) is int
    assert cost == ceil(exact_cost(usage, price, rate))


def test_a_single_token_of_the_cheapest_model_costs_a_nano_dollar_and_nothing_costs_nothing() -> (
    None
):
    cheapest = Price(Rates(input=1))
    assert cost_nanos(Usage(input=1), cheapest, 1) == 1
    assert cost_nanos(Usage(), cheapest, NANOS) == 0
    # a million tokens at a nano-dollar per million are one nano-dollar, not a million roundings
    assert cost_nanos(Usage(input=1_000_000), cheapest, NANOS) == 1
    assert cost_nanos(Usage(input=500_000, output=1), Price(Rates(1, output=1)), NANOS) == 1


def test_reasoning_is_a_part_of_the_output_and_is_not_charged_twice() -> None:
    price = Price(Rates(output=NANOS))
    assert cost_nanos(Usage(output=10, reasoning=9), price, NANOS) == 10_000


def test_every_priced_class_is_charged_at_its_own_rate() -> None:
    for place, name in enumerate(PRICED_CLASSES, start=1):
        price = Price(Rates(**{name: place * NANOS}))
        assert cost_nanos(Usage(**{name: 1_000_000}), price, NANOS) == place * NANOS
        for other in PRICED_CLASSES:
            if other != name:
                assert cost_nanos(Usage(**{other: 1_000_000}), price, NANOS) == 0


def test_a_long_context_tier_begins_above_its_start_and_prices_the_whole_call() -> None:
    price = Price(
        Rates(input=NANOS, output=NANOS),
        ((200_000, Rates(2 * NANOS, output=3 * NANOS)), (400_000, Rates(5 * NANOS))),
    )
    assert cost_nanos(Usage(input=200_000, output=1), price, NANOS) == 200_001_000
    assert cost_nanos(Usage(input=200_001, output=1), price, NANOS) == 400_002_000 + 3_000
    assert cost_nanos(Usage(cache_read=400_000, input=1), price, NANOS) == 5_000


INPUTS = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input")


@pytest.mark.parametrize("name", INPUTS)
def test_every_class_of_input_counts_towards_a_tier(name: str) -> None:
    assert Usage(**{name: 7}).total_input == 7
    assert Usage(**{name: 7, "output": 9, "audio_output": 9, "reasoning": 9}).total_input == 7
    price = Price(Rates(), ((1_000, Rates(output=NANOS)),))
    rest = {other: 200 for other in INPUTS if other != name}
    assert cost_nanos(Usage(**rest, **{name: 200}, output=1), price, NANOS) == 0
    assert cost_nanos(Usage(**rest, **{name: 201}, output=1), price, NANOS) == 1_000


def test_what_was_said_counts_as_output_whether_text_or_sound() -> None:
    assert Usage(input=5, output=7, audio_output=11, reasoning=7).total_output == 18


@st.composite
def calls(draw: st.DrawFn) -> tuple[Price, int, int, int, int, bool, bool, Usage]:
    """A price, an exchange rate, bounds, and a usage within them."""
    cache_writes, audio = draw(st.booleans()), draw(st.booleans())
    bound, cap, choices = draw(st.integers(0, 3_000_000)), draw(tokens), draw(st.integers(1, 8))
    inputs = ["input", "cache_read"]
    inputs += ["cache_write", "cache_write_1h"] if cache_writes else []
    inputs += ["audio_input"] if audio else []
    left, counts = bound, {}
    for name in inputs:
        counts[name] = draw(st.integers(0, left))
        left -= counts[name]
    counts["output"] = draw(st.integers(0, cap * choices))
    if audio:
        counts["audio_output"] = draw(st.integers(0, cap * choices - counts["output"]))
    usage = Usage(**counts, reasoning=draw(st.integers(0, counts["output"])))
    return draw(prices), draw(exchange_rates), bound, cap, choices, cache_writes, audio, usage


@given(calls())
def test_no_call_within_its_bounds_costs_more_than_its_quote(
    call: tuple[Price, int, int, int, int, bool, bool, Usage],
) -> None:
    price, rate, bound, cap, choices, cache_writes, audio, usage = call
    flat = dearest(price, bound, cache_writes=cache_writes, audio=audio)
    quote = cost_nanos(Usage(input=bound, output=cap * choices), flat, rate)
    assert cost_nanos(usage, price, rate) <= quote


@given(prices, st.integers(0, 3_000_000), st.booleans(), st.booleans())
def test_the_quotes_price_is_a_price_that_the_call_can_reach(
    price: Price, bound: int, cache_writes: bool, audio: bool
) -> None:
    flat = dearest(price, bound, cache_writes=cache_writes, audio=audio)
    reachable = [price.rates] + [found for start, found in price.tiers if start < bound]
    names = ["input", "cache_read", *(["cache_write", "cache_write_1h"] * cache_writes)]
    names += ["audio_input"] * audio
    assert flat.rates.input == max(getattr(one, name) for one in reachable for name in names)
    spoken = ["output", "audio_output"] if audio else ["output"]
    assert flat.rates.output == max(getattr(one, name) for one in reachable for name in spoken)
    assert (flat.tiers, flat.per_call) == ((), price.per_call)


def test_a_tier_that_the_bound_just_misses_is_not_quoted() -> None:
    price = Price(Rates(NANOS, output=NANOS), ((1000, Rates(9 * NANOS, output=9 * NANOS)),))
    assert dearest(price, 1000, cache_writes=False).rates.input == NANOS
    assert dearest(price, 1001, cache_writes=False).rates.input == 9 * NANOS
    hourly = Price(Rates(NANOS, cache_write_1h=2 * NANOS, audio_input=7 * NANOS))
    assert dearest(hourly, 1, cache_writes=False).rates.input == NANOS
    assert dearest(hourly, 1, cache_writes=True).rates.input == 2 * NANOS
    assert dearest(hourly, 1, cache_writes=False, audio=True).rates.input == 7 * NANOS


@given(
    st.integers(-(10**9), 10**16),
    st.builds(
        Price,
        st.builds(Rates, input=st.integers(0, MOST_RATE), output=st.integers(0, MOST_RATE)),
        per_call=st.integers(0, NANOS),
    ),
    st.integers(0, 1_000_000),
    st.integers(1, 128),
    exchange_rates,
)
@example(3060 * 100, Price(Rates(output=2 * NANOS)), 0, 1, 1_530_000_000)
@example(0, Price(Rates(input=1, output=1)), 0, 1, 1)
@example(1, Price(Rates(output=1)), 0, 1, 1)
def test_the_affordable_output_is_exactly_the_largest_that_the_money_pays_for(
    nanos: int, flat: Price, bound: int, choices: int, rate: int
) -> None:
    def quote(output: int) -> int:
        return cost_nanos(Usage(input=bound, output=output * choices), flat, rate)

    most = affordable_output(nanos, flat, bound, choices, rate)
    if most is None:
        assert quote(0) > nanos
        return
    assert type(most) is int
    assert quote(most) <= nanos
    if flat.rates.output:
        assert quote(most + 1) > nanos
    else:
        assert most == MAX_NANOS


@given(prices)
def test_a_stored_price_is_read_back_whole(price: Price) -> None:
    assert Price.from_json(price.to_json()) == price


@pytest.mark.parametrize(
    "stored", [{"rates": [], "tiers": [], "per_call": 0}, {"rates": {}, "tiers": {}, "per_call": 0},
               {"rates": {}, "tiers": [], "per_call": "0"}],
)  # fmt: skip
def test_what_is_not_a_stored_price_is_refused(stored: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        Price.from_json(stored)


# Amounts as people write them


@given(st.integers(-MAX_NANOS, MAX_NANOS))
def test_what_is_written_is_read_back(nanos: int) -> None:
    written = format_amount(nanos)
    whole, _, fraction = written.partition(".")
    assert 2 <= len(fraction) <= 9
    assert whole.lstrip("-").isdigit()
    if abs(nanos) <= MAX_NANOS // NANOS * NANOS:
        assert parse_amount(written) == nanos
    else:
        with pytest.raises(ValueError, match="out of range"):
            parse_amount(written)


@given(st.decimals(min_value=-9_000_000_000, max_value=9_000_000_000, places=9), st.integers(0, 40))
def test_zeros_at_the_end_change_nothing(value: Decimal, zeros: int) -> None:
    written = f"{value:f}"
    with localcontext() as context:
        context.prec = 60
        nanos = int((value * NANOS).to_integral_exact(rounding=ROUND_CEILING))
    found = parse_amount(f" {written}{'0' * zeros} ")
    assert type(found) is int
    assert found == nanos


def test_the_largest_amount_is_the_largest_integer_of_the_database() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        ask = "SELECT typeof(?), typeof(? + 1)"  # what is larger becomes a float, and inexact
        assert connection.execute(ask, [MAX_NANOS] * 2).fetchone() == ("integer", "real")


def test_amounts_are_written_with_the_digits_that_they_need() -> None:
    assert format_amount(0) == "0.00"
    assert format_amount(1) == "0.000000001"
    assert format_amount(12_500_000_000) == "12.50"
    assert format_amount(-1_230_000_000) == "-1.23"
    assert format_amount(31_000) == "0.000031"
    assert format_amount(-1) == "-0.000000001"


@pytest.mark.parametrize(
    ("written", "nanos"),
    [("1", NANOS), ("+1.", NANOS), (".5", NANOS // 2), ("-.25", -NANOS // 4), ("000", 0),
     ("9223372036", 9_223_372_036 * NANOS), ("0.0000000010", 1)],
)  # fmt: skip
def test_decimals_are_read_in_every_usual_form(written: str, nanos: int) -> None:
    assert parse_amount(written) == nanos


@given(st.text(max_size=12))
def test_anything_else_is_refused_and_the_field_is_named(text: str) -> None:
    try:
        Decimal(text.strip())
    except ArithmeticError:
        pass
    else:
        assume(False)
    with pytest.raises(ValueError, match="^limit: "):
        parse_amount(text, what="limit")


@pytest.mark.parametrize(
    "text", ["1e3", "nan", "inf", "-Infinity", "1_000", "1,5", "١", "0x1", "", ".", "+", "1 0",
             "0.0000000001", "9223372036.1", "9223372037", "-9223372037", "1" + "0" * 5000],
)  # fmt: skip
def test_numbers_of_other_kinds_and_beyond_the_range_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^amount: "):
        parse_amount(text)
