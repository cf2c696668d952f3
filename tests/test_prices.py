"""The package's prices and the operator's, as integers."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelbridge.catalog import prices
from modelbridge.catalog.limits import MODELS
from modelbridge.catalog.providers import PROVIDERS
from modelbridge.money import NANOS, Price, Rates, Usage, cost_nanos, dearest

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
USD = NANOS  # at one AUD per USD, costs in nano-AUD are nano-USD


def known_models() -> list[tuple[str, str]]:
    """Every (package provider, name) that has a price now."""
    providers = [p.price_provider for p in PROVIDERS.values() if p.price_provider]
    return [(p, name) for p in providers for name in prices.package_names(p, NOW)]


KNOWN = known_models()
# Where tiers begin and end is where mistakes would be; the rest is anything.
COUNTS = st.one_of(
    st.sampled_from([0, 1, 99_999, 100_000, 128_001, 199_999, 200_000, 200_001, 272_001]),
    st.integers(0, 2_000_000),
)


def theirs(info: object, usage: Usage, at: datetime) -> int:
    """What the package itself reckons for these counts, in nano-USD, rounded up."""
    from genai_prices.types import Usage as PackageUsage

    package_usage = PackageUsage(
        input_tokens=usage.total_input,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write + usage.cache_write_1h,
        cache_write_5m_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        input_audio_tokens=usage.audio_input,
        cache_audio_read_tokens=0,
        output_tokens=usage.total_output,
        output_audio_tokens=usage.audio_output,
    )
    total: Decimal = info.get_prices(at).calc_price(package_usage)["total_price"]  # type: ignore[attr-defined]
    return int((total * NANOS).to_integral_value(ROUND_CEILING))


@settings(max_examples=20, deadline=None)
@given(counts=st.tuples(*[COUNTS] * 7))
def test_our_cost_is_the_packages_own_for_every_known_model(counts: tuple[int, ...]) -> None:
    read, write, write_1h, fresh, sound, out, sound_out = counts
    usage = Usage(
        input=fresh,
        cache_read=read,
        cache_write=write,
        cache_write_1h=write_1h,
        audio_input=sound,
        output=out,
        audio_output=sound_out,
    )
    for provider, name in KNOWN:
        entry = prices.find(provider, name)
        price = prices.package_price(provider, name, NOW)
        assert entry is not None
        assert price is not None
        assert cost_nanos(usage, price, USD) == theirs(entry.info, usage, NOW), (provider, name)


@settings(max_examples=10, deadline=None)
@given(bound=COUNTS, share=st.floats(0, 1), kind=st.sampled_from(["input", "cache_write_1h"]))
def test_the_dearest_price_covers_every_call_below_its_bound(
    bound: int, share: float, kind: str
) -> None:
    tokens = int(bound * share)
    usage = Usage(**{kind: tokens}, output=1000)
    for provider, name in KNOWN[::7]:
        price = prices.package_price(provider, name, NOW)
        assert price is not None
        quote = cost_nanos(
            Usage(input=bound, output=1000), dearest(price, bound, cache_writes=True), USD
        )
        assert cost_nanos(usage, price, USD) <= quote


def test_the_package_would_find_the_same_entry_by_its_own_rules() -> None:
    from genai_prices.data import providers

    by_id = {provider.id: provider for provider in providers}
    for provider, name in KNOWN:
        entry = prices.find(provider, name)
        assert entry is not None
        assert by_id[provider].find_model(name) is entry.info, (provider, name)


def test_sonnet_has_its_published_price_in_every_class() -> None:
    price = prices.package_price("anthropic", "claude-sonnet-4-6", NOW)

    assert price == Price(
        Rates(
            input=3 * NANOS,
            cache_read=NANOS * 3 // 10,
            cache_write=NANOS * 375 // 100,
            cache_write_1h=6 * NANOS,
            audio_input=3 * NANOS,
            output=15 * NANOS,
            audio_output=15 * NANOS,
        )
    )


def test_a_price_that_starts_on_a_date_holds_from_that_date() -> None:
    eve = datetime(2026, 3, 12, 23, 59, 59, tzinfo=UTC)

    before = prices.package_price("anthropic", "claude-sonnet-4-6", eve)
    after = prices.package_price("anthropic", "claude-sonnet-4-6", eve + timedelta(seconds=1))

    assert before is not None
    assert after is not None
    assert [start for start, _ in before.tiers] == [200_000]
    assert after.tiers == ()


def test_a_price_by_the_hour_holds_in_that_hour() -> None:
    noon = NOW.replace(hour=7)
    night = NOW.replace(hour=20)

    peak = prices.package_price("deepseek", "deepseek-v4-pro", noon)
    off_peak = prices.package_price("deepseek", "deepseek-v4-pro", night)

    assert peak is not None
    assert off_peak is not None
    assert peak.rates.output == 2 * off_peak.rates.output


def test_above_a_tier_every_token_costs_the_tiers_price() -> None:
    price = prices.package_price("anthropic", "claude-sonnet-4-5", NOW)
    assert price is not None

    below = cost_nanos(Usage(input=200_000, output=1000), price, USD)
    above = cost_nanos(Usage(input=200_001, output=1000), price, USD)

    assert below == 200_000 * 3000 + 1000 * 15_000
    assert above == 200_001 * 6000 + 1000 * 22_500


def test_a_tier_of_one_class_leaves_the_other_classes_at_their_price() -> None:
    from genai_prices.types import ModelPrice, Tier, TieredPrices

    price = prices.to_price(
        ModelPrice(
            input_mtok=TieredPrices(base=Decimal(1), tiers=[Tier(start=100, price=Decimal(2))]),
            output_mtok=TieredPrices(base=Decimal(4), tiers=[Tier(start=200, price=Decimal(8))]),
        )
    )

    assert price is not None
    assert [(start, r.input, r.output) for start, r in price.tiers] == [
        (100, 2 * NANOS, 4 * NANOS),
        (200, 2 * NANOS, 8 * NANOS),
    ]


def test_a_class_without_a_price_costs_what_the_class_around_it_costs() -> None:
    from genai_prices.types import ModelPrice

    price = prices.to_price(
        ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(8), cache_write_mtok=Decimal("2.5"))
    )

    assert price is not None
    assert price.rates == Rates(
        input=2 * NANOS,
        cache_read=2 * NANOS,
        cache_write=NANOS * 5 // 2,
        cache_write_1h=NANOS * 5 // 2,
        audio_input=2 * NANOS,
        output=8 * NANOS,
        audio_output=8 * NANOS,
    )


def test_writes_that_live_five_minutes_have_their_own_price_where_it_is_stated() -> None:
    from genai_prices.types import ModelPrice

    price = prices.to_price(
        ModelPrice(
            input_mtok=Decimal(2),
            output_mtok=Decimal(8),
            cache_write_mtok=Decimal(4),
            cache_write_5m_mtok=Decimal("2.5"),
        )
    )

    assert price is not None
    assert price.rates.cache_write == NANOS * 5 // 2


def test_a_fee_per_request_is_part_of_the_price() -> None:
    price = prices.package_price("perplexity", "sonar-pro", NOW)

    assert price is not None
    assert price.per_call == 14 * NANOS // 1000


@pytest.mark.parametrize(
    "stated",
    [
        {},
        {"input_mtok": "1"},
        {"output_mtok": "1"},
        {"input_mtok": "1", "output_mtok": "1", "audio_hours": "0.2"},
        {"input_mtok": "1", "output_mtok": "1", "output_reasoning_mtok": "3"},
        {"input_mtok": "1", "output_mtok": "1", "output_image_mtok": "30"},
        {"input_mtok": "1", "output_mtok": "1", "input_mchars": "30"},
        {"input_mtok": "1", "output_mtok": "1", "a_new_unit": "30"},
        {"input_mtok": "0.08333333333333", "output_mtok": "1"},
        {"input_mtok": "1", "output_mtok": "1", "cache_write_mtok": "0.2"},
        {"input_mtok": "-1", "output_mtok": "1"},
        {"input_mtok": "NaN", "output_mtok": "1"},
        {"input_mtok": "1", "output_mtok": "1", "requests_kcount": "0.0000000001"},
    ],
)
def test_what_tokens_do_not_bound_exactly_has_no_price(stated: dict[str, str]) -> None:
    from genai_prices.types import ModelPrice

    assert prices.to_price(ModelPrice(**{k: Decimal(v) for k, v in stated.items()})) is None


def test_nothing_stated_is_not_free_but_two_zeros_are() -> None:
    from genai_prices.types import ModelPrice

    assert prices.package_price("mistral", "mistral-nemo:free", NOW) is None
    zero = prices.to_price(ModelPrice(input_mtok=Decimal(0), output_mtok=Decimal(0)))
    assert zero is not None
    assert prices.is_zero(zero)


@pytest.mark.parametrize(
    "name",
    [
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "claude-haiku-4-5@20251001",
        "claude-sonnet-4-5-20250929",
        "claude-3-5-haiku-20241022",
    ],
)
def test_a_dated_name_costs_what_its_model_costs(name: str) -> None:
    assert prices.package_price("anthropic", name, NOW) is not None


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "gpt-4o-mini-tts"),
        ("openai", "gpt-4o-mini-new"),
        ("openai", "gpt-4o-2099-01-01"),
        ("openai", "gpt-4o-20241120"),
        ("openai", "gpt-4o-mini-search-preview"),
        ("openai", "text-embedding-3-small"),
        ("openai", "gpt-4o-audio-preview"),
        ("openai", "ft:gpt-4o-2024-08-06:acme::1"),
        ("openai", ""),
        ("anthropic", "claude-haiku-4-5-fast"),
        ("anthropic", "Claude-Haiku-4-5"),
        ("google", "gemini-2.5-flash-image"),
        ("openrouter", "openai/gpt-6-sol:batch"),
        ("nobody", "gpt-4o"),
    ],
)
def test_a_name_that_is_only_similar_has_no_price(provider: str, name: str) -> None:
    assert prices.package_price(provider, name, NOW) is None


def test_the_operators_price_fills_the_classes_that_it_does_not_name() -> None:
    plain = prices.operator_price({"input": "0.5", "output": "2"})
    written = prices.operator_price({"input": "1", "output": "2", "cache_write": "1.25"})
    read = prices.operator_price({"input": "1", "output": "2", "cache_read": "0"})

    assert plain.rates == Rates(*[NANOS // 2] * 5, *[2 * NANOS] * 2)
    assert written.rates.cache_write_1h == written.rates.cache_write == NANOS * 5 // 4
    assert read.rates.cache_read == 0


@pytest.mark.parametrize(
    ("given_prices", "complaint"),
    [
        ({"input": "1"}, "output price is missing"),
        ({"output": "1"}, "input price is missing"),
        ({"input": "1", "output": "2", "reasoning": "3"}, "reasoning"),
        ({"input": "-1", "output": "2"}, "input price"),
        ({"input": "1", "output": "two"}, "output price"),
        ({"input": "1", "output": "1000001"}, "output price"),
        ({"input": "1e3000000", "output": "1"}, "input price"),
    ],
)
def test_a_malformed_price_is_refused_by_its_name(
    given_prices: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        prices.operator_price(given_prices)


def test_the_same_price_has_the_same_version_in_every_process() -> None:
    price = prices.operator_price({"input": "3", "output": "15"})

    assert prices.version_of("m", price, "operator") == "pv_542631d26df0052327869472"
    assert prices.version_of("m", Price.from_json(price.to_json()), "operator") == (
        prices.version_of("m", price, "operator")
    )
    assert prices.version_of("other", price, "operator") != prices.version_of(
        "m", price, "operator"
    )


def test_reading_the_catalogues_does_not_load_the_price_package() -> None:
    code = (
        "import sys, modelbridge.catalog.routes, modelbridge.catalog.admin;"
        "assert not any(name.startswith('genai_prices') for name in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_current_model_of_the_great_providers_has_a_maximum_output() -> None:
    unsourced = {
        provider: [
            name
            for name in prices.package_names(PROVIDERS[provider].price_provider or "", NOW)
            if MODELS.is_listed(provider, name) and MODELS.limits(provider, name).max_output is None
        ]
        for provider in ("anthropic", "gemini", "deepseek")
    }

    assert unsourced == {"anthropic": [], "gemini": [], "deepseek": []}
