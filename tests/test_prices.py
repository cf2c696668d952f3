"""The package's prices and the operator's, as integers."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from types import SimpleNamespace

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
        ("openai", "text-embedding-3-tiny"),
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


def test_a_model_that_makes_vectors_has_a_price_of_input_alone() -> None:
    price = prices.package_price("openai", "text-embedding-3-small", NOW)
    assert price is not None
    assert (price.rates.input, price.rates.output) == (20_000_000, 0)


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
            if MODELS.is_listed(provider, name)
            and MODELS.is_chat(name)
            and MODELS.limits(provider, name).max_output is None
        ]
        for provider in ("anthropic", "gemini", "deepseek")
    }

    assert unsourced == {"anthropic": [], "gemini": [], "deepseek": []}


# A package of our own making


class Entry:
    """An entry of the package as far as it is looked at: `rule` says which names it is for."""

    def __init__(self, name: str, aliases: tuple[str, ...] = (), rule: str = "") -> None:
        self.id = name
        self.name: str | None = None
        self.context_window: int | None = None
        self.rule = rule or f"{name}|{'|'.join(aliases)}"
        clauses = [SimpleNamespace(equals=alias) for alias in aliases]
        self.match = SimpleNamespace(or_=[SimpleNamespace(or_=clauses)])
        self.prices: object = None

    def is_match(self, name: str) -> bool:
        return bool(re.fullmatch(self.rule, name))


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[Entry]]]:
    """The package has what a test puts into it."""
    found: dict[str, list[Entry]] = {}
    monkeypatch.setattr(prices, "load_package", lambda: found)
    for cached in (prices._index, prices.find):
        cached.cache_clear()
    yield found
    for cached in (prices._index, prices.find):
        cached.cache_clear()


def entry_of(name: str) -> object:
    entry = prices.find("acme", name)
    return entry and entry.info


def test_a_name_is_found_by_its_id_before_any_alias(package: dict[str, list[Entry]]) -> None:
    other = Entry("other", aliases=("foo", "bar"))
    foo, late = Entry("foo"), Entry("late", aliases=("bar",))
    package["acme"] = [other, foo, late]
    assert entry_of("foo") is foo
    assert entry_of("bar") is other  # the first that states it
    assert entry_of("baz") is None
    assert prices.find("nobody", "foo") is None


def test_a_name_that_an_entrys_own_rule_does_not_take_is_not_its_name(
    package: dict[str, list[Entry]],
) -> None:
    package["acme"] = [Entry("foo", aliases=("bar",), rule="nothing"), Entry("qux", ("bar",))]
    assert entry_of("foo") is None
    assert entry_of("bar") is package["acme"][1]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("foo-20251001", True),
        ("foo@20251001", True),
        ("foo-2025-10-01", True),
        ("foo-latest", True),
        ("foo", True),
        ("foo-2025-1-01", False),
        ("foo-2025100", False),
        ("foo-latest-x", False),
        ("foo-mini", False),
    ],
)
def test_a_date_at_the_end_of_a_name_is_looked_past(
    package: dict[str, list[Entry]], asked: str, found: bool
) -> None:
    package["acme"] = [Entry("foo", rule="foo.*")]
    assert (entry_of(asked) is not None) == found


def test_a_dated_name_is_its_familys_newest_where_the_rule_agrees(
    package: dict[str, list[Entry]],
) -> None:
    latest = Entry("foo-latest", rule="foo-(latest|20251001)")
    package["acme"] = [latest]
    assert entry_of("foo-20251001") is latest
    assert entry_of("foo-20240101") is None


def test_an_entry_tells_its_title_its_window_and_whether_time_matters() -> None:
    entry = Entry("foo")
    model = prices.PackageModel(entry)
    assert (model.title, model.context_window, model.depends_on_time) == ("", None, False)
    entry.name, entry.context_window = "Foo", 128_000
    assert (model.title, model.context_window) == ("Foo", 128_000)
    for stated, depends in (([1], False), ([1, 2], True), ((1, 2), False)):
        entry.prices = stated
        assert model.depends_on_time == depends


def test_a_receipt_names_the_package_and_its_version() -> None:
    assert re.fullmatch(r"genai-prices \d+\.\d+.*", prices.package_source())


# At the edges


def stated(**more: str) -> Price | None:
    """The price of an entry that states these, beside input at 2 and output at 8."""
    from genai_prices.types import ModelPrice

    fields = {"input_mtok": "2", "output_mtok": "8"} | more
    return prices.to_price(ModelPrice(**{name: Decimal(text) for name, text in fields.items()}))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("cache_read_mtok", "cache_read"),
        ("cache_write_mtok", "cache_write"),
        ("cache_write_5m_mtok", "cache_write"),
        ("cache_write_1h_mtok", "cache_write_1h"),
        ("input_audio_mtok", "audio_input"),
        ("output_audio_mtok", "audio_output"),
        ("input_mtok", "input"),
        ("output_mtok", "output"),
    ],
)
def test_every_class_is_read_from_its_own_unit(name: str, field: str) -> None:
    price = stated(**{name: "2.000000007"})
    assert price is not None
    assert getattr(price.rates, field) == 2_000_000_007


@pytest.mark.parametrize(
    "name",
    [
        "web_searches_kcount",
        "social_searches_kcount",
        "storage_searches_kcount",
        "code_executions_kcount",
        "cache_audio_read_mtok",
    ],
)
def test_fees_for_what_is_never_asked_for_change_nothing(name: str) -> None:
    assert stated(**{name: "10"}) == stated()


def test_cache_writes_may_cost_as_much_as_fresh_input_but_not_less() -> None:
    assert stated(cache_write_mtok="2") == stated()
    assert stated(cache_write_mtok="1.999999999") is None


def test_a_price_is_exact_to_the_nano_dollar_or_none() -> None:
    assert stated(input_mtok="0.000000001") is not None
    assert stated(cache_read_mtok="0.000000001") is not None
    assert stated(cache_read_mtok="0.0000000001") is None
    assert stated(cache_read_mtok="0") is not None
    assert stated(cache_read_mtok="Infinity") is None
    fee = stated(requests_kcount="0.000001")
    assert fee is not None
    assert fee.per_call == 1
    free = stated()
    assert free is not None
    assert free.per_call == 0


def test_a_tier_begins_where_it_says_and_the_next_one_follows_it() -> None:
    from genai_prices.types import ModelPrice, Tier, TieredPrices

    def tiered(*steps: tuple[int, int]) -> TieredPrices:
        return TieredPrices(
            base=Decimal(1), tiers=[Tier(start=at, price=Decimal(usd)) for at, usd in steps]
        )

    price = prices.to_price(
        ModelPrice(input_mtok=tiered((100, 2), (300, 4)), output_mtok=tiered((200, 3), (300, 5)))
    )
    assert price is not None
    assert (price.rates.input, price.rates.output) == (NANOS, NANOS)
    assert [(at, r.input // NANOS, r.output // NANOS) for at, r in price.tiers] == [
        (100, 2, 1),
        (200, 2, 3),
        (300, 4, 5),
    ]


def test_the_operator_may_ask_a_million_dollars_and_nothing_at_all() -> None:
    dear = prices.operator_price({"input": "1000000", "output": "0"})
    assert (dear.rates.input, dear.rates.output) == (1_000_000 * NANOS, 0)
    with pytest.raises(ValueError, match="^input price must be between 0 and 1000000 USD"):
        prices.operator_price({"input": "1000000.000000001", "output": "0"})
    with pytest.raises(ValueError, match="^output price must be"):
        prices.operator_price({"input": "0", "output": "-0.000000001"})


def test_the_operators_price_has_every_class_and_no_tier() -> None:
    price = prices.operator_price(
        {"input": "1", "output": "5", "cache_read": "0.1", "cache_write": "2"}
    )
    rates = Rates(
        input=1_000_000_000,
        cache_read=100_000_000,
        cache_write=2_000_000_000,
        cache_write_1h=2_000_000_000,
        audio_input=1_000_000_000,
        output=5_000_000_000,
        audio_output=5_000_000_000,
    )
    assert price == Price(rates)


@pytest.mark.parametrize("name", ["input", "cache_write_1h", "audio_output"])
def test_a_price_with_any_cost_at_all_is_not_free(name: str) -> None:
    assert prices.is_zero(Price(Rates()))
    assert not prices.is_zero(Price(Rates(**{name: 1})))
    assert not prices.is_zero(Price(Rates(), per_call=1))
    assert not prices.is_zero(Price(Rates(), ((1, Rates(**{name: 1})),)))


def test_what_a_price_is_for_and_where_it_is_from_is_part_of_its_version() -> None:
    price = Price(Rates(input=1))
    versions = {
        prices.version_of("m", price, "operator"),
        prices.version_of("m", price, "genai-prices 1"),
        prices.version_of("n", price, "operator"),
        prices.version_of("m", Price(Rates(input=2)), "operator"),
    }
    assert len(versions) == 4
    assert all(re.fullmatch("pv_[0-9a-f]{24}", version) for version in versions)


def test_the_package_is_at_least_as_old_as_its_files() -> None:
    assert datetime(2024, 1, 1, tzinfo=UTC) < prices.package_since() <= datetime.now(UTC)
