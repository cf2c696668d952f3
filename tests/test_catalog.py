"""What can be called through the operator's upstreams and models, and at what price."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from catalogue import empty_catalogue, upstream
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.catalog import admin, routes
from modelbridge.catalog.providers import PROVIDERS, read_providers
from modelbridge.catalog.routes import Catalog, CatalogCache, load
from modelbridge.money import NANOS, Price, Rates
from modelbridge.store.tables import CatalogState


@pytest.fixture
def session() -> Iterator[Session]:
    with empty_catalogue() as found:
        yield found


def offer(catalog: Catalog, name: str) -> routes.Offer:
    found = catalog.offered(name)
    assert found is not None
    assert len(found.offers) == 1
    return found.offers[0]


def test_an_empty_bridge_offers_nothing_and_knows_everything(session: Session) -> None:
    catalog = load(session)

    assert catalog.version == 7
    assert catalog.names() == []
    assert catalog.offered("gpt-4o") is None
    assert catalog.known("gpt-4o")
    assert catalog.known("claude-sonnet-4-5-20250929")
    assert not catalog.known("gpt-4o-mini-tts")
    assert not catalog.known("x" * 1_000_000)
    assert {"gpt-4o", "claude-sonnet-4-6", "gemini-2.5-pro"} <= set(catalog.known_names())
    assert catalog.nearest("gpt4o", among_known=True)[0] == "gpt-4o"


def test_a_credential_alone_makes_the_providers_models_callable(session: Session) -> None:
    upstream_id = upstream(session, "anthropic")

    catalog = load(session)
    found = offer(catalog, "claude-sonnet-4-6")

    assert (found.target.upstream_id, found.target.model) == (upstream_id, "claude-sonnet-4-6")
    assert (found.target.dialect, found.target.auth) == ("anthropic_messages", "x-api-key")
    assert found.price is not None
    assert found.price.rates.output == 15 * NANOS
    assert found.price_version.startswith("pv_")
    assert found.price_source.startswith("genai-prices ")
    assert (found.context_window, found.max_output, found.max_output_known) == (
        1_000_000,
        128_000,
        True,
    )
    assert not found.free
    assert "claude-sonnet-4-6" in catalog.names()
    assert catalog.names() == sorted(catalog.names())
    assert "gpt-4o" not in catalog.names()


def test_every_listed_name_is_offered_with_a_price(session: Session) -> None:
    for name in PROVIDERS:
        upstream(session, name.replace("_", "-"), name, "https://a.example/v1")

    catalog = load(session)

    assert len(catalog.names()) > 100
    for name in catalog.names():
        assert offer(catalog, name).price is not None
        assert catalog.known(name)
    assert set(catalog.names()) == set(catalog.known_names())


def test_a_dated_name_is_served_under_that_name(session: Session) -> None:
    upstream(session, "anthropic")

    found = offer(load(session), "claude-haiku-4-5-20251001")

    assert found.target.model == "claude-haiku-4-5-20251001"
    assert found.max_output == 64_000


def test_a_retired_model_is_served_where_it_is_named_but_not_listed(session: Session) -> None:
    upstream(session, "openai")

    catalog = load(session)

    assert offer(catalog, "gpt-4-32k").price is not None
    assert "gpt-4-32k" not in catalog.names()


def test_a_model_goes_to_the_house_whose_endpoint_knows_it(session: Session) -> None:
    upstream(session, "gemini")
    assert load(session).offered("claude-sonnet-4-6") is None

    upstream(session, "anthropic")

    assert offer(load(session), "claude-sonnet-4-6").target.upstream == "anthropic"


def test_the_upstream_that_was_added_first_serves_a_known_model_alone(session: Session) -> None:
    upstream(session, "second-by-name", "openai")
    upstream(session, "a-first-by-name", "openai")

    assert offer(load(session), "gpt-4o").target.upstream == "second-by-name"


def test_an_upstream_whose_prices_nobody_knows_serves_what_was_added_only(
    session: Session,
) -> None:
    upstream(session, "local", "vllm", "http://127.0.0.1:8001/v1")
    assert load(session).names() == []

    admin.add_model(session, name="smol", targets=[("local", "SmolLM2")], free=True)

    found = offer(load(session), "smol")
    assert found.free
    assert found.price == Price(Rates())
    assert found.target.cancel_stops_billing
    assert (found.context_window, found.max_output, found.max_output_known) == (None, 4096, False)


def test_what_the_operator_added_comes_before_what_is_known(session: Session) -> None:
    upstream(session, "openai")
    upstream(session, "local", "openai_compatible", "http://127.0.0.1:4080/v1")
    admin.add_model(
        session,
        name="gpt-4o",
        targets=[("local", "llama"), ("openai", "gpt-4o-mini")],
        prices={"input": "0.1", "output": "0.2"},
        context_window=2048,
        max_output=9000,
    )

    found = load(session).offered("gpt-4o")

    assert found is not None
    assert [o.target.model for o in found.offers] == ["llama", "gpt-4o-mini"]
    assert {o.price_source for o in found.offers} == {"operator"}
    assert {o.price.rates.output for o in found.offers if o.price} == {NANOS // 5}
    assert {(o.context_window, o.max_output) for o in found.offers} == {(2048, 2048)}


def test_an_added_model_without_prices_takes_the_packages(session: Session) -> None:
    upstream(session, "openai")
    admin.add_model(session, name="fast", targets=[("openai", "gpt-4o-mini")])

    catalog = load(session)
    found = offer(catalog, "fast")

    assert found.price == offer(catalog, "gpt-4o-mini").price
    assert found.price_version != offer(catalog, "gpt-4o-mini").price_version
    assert found.max_output == 16384
    assert "fast" in catalog.names()


def test_an_added_model_that_nobody_can_price_is_known_but_cannot_be_called(
    session: Session,
) -> None:
    upstream(session, "openai")
    admin.add_model(session, name="mystery", targets=[("openai", "gpt-99")])
    admin.add_model(session, name="gpt-4o", targets=[("openai", "gpt-98")])

    catalog = load(session)
    found = offer(catalog, "mystery")

    assert (found.price, found.price_version, found.price_source) == (None, "", "")
    assert "mystery" not in catalog.names()
    assert "gpt-4o" not in catalog.names()
    assert catalog.known("mystery")
    assert "mystery" in catalog.known_names()


def test_zero_is_a_price_and_not_a_mark_of_freedom(session: Session) -> None:
    upstream(session, "openai")
    admin.add_model(
        session, name="m", targets=[("openai", "x")], prices={"input": "0", "output": "0"}
    )

    found = offer(load(session), "m")

    assert found.price == Price(Rates())
    assert not found.free


def test_a_price_that_changes_by_the_hour_is_that_of_the_call(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream(session, "deepseek")
    catalog = load(session)
    moment = datetime(2026, 11, 23, 5, 59, 59, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: moment)
    cheap = offer(catalog, "deepseek-v4-pro")

    moment = datetime(2026, 11, 23, 6, 0, 0, tzinfo=UTC)
    dear = offer(catalog, "deepseek-v4-pro")

    assert cheap.price is not None
    assert dear.price is not None
    assert dear.price.rates.output == 2 * cheap.price.rates.output
    assert dear.price_version != cheap.price_version


def test_a_new_provider_is_data_only(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(
        """
[acme]
title = "Acme"
dialect = "openai_chat"
base_url = "https://api.acme.example/v1"
price_provider = "mistral"
rename = { max_completion_tokens = "max_tokens" }
""",
        encoding="utf-8",
    )
    rows = read_providers(file)
    monkeypatch.setattr(admin, "PROVIDERS", rows)
    monkeypatch.setattr(routes, "PROVIDERS", rows)

    upstream(session, "acme")

    found = offer(load(session), "mistral-large-latest")
    assert found.target.base_url == "https://api.acme.example/v1"
    assert found.target.quirks.rename == {"max_completion_tokens": "max_tokens"}
    assert found.price is not None


def test_an_upstream_of_a_provider_that_is_gone_serves_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream(session, "openai")
    upstream(session, "groq")
    admin.add_model(session, name="gone", targets=[("groq", "x")], free=True)
    admin.add_model(session, name="kept", targets=[("groq", "x"), ("openai", "gpt-4o")])
    monkeypatch.setattr(routes, "PROVIDERS", {"openai": PROVIDERS["openai"]})

    catalog = load(session)

    assert catalog.offered("gone") is None
    assert "gone" not in catalog.names()
    assert offer(catalog, "kept").target.upstream == "openai"


def test_a_mistyped_name_is_answered_with_similar_ones(session: Session) -> None:
    upstream(session, "openai")
    catalog = load(session)

    assert "gpt-5.4" in catalog.nearest("gpt-5-4")
    assert len(catalog.nearest("gpt-5-4")) <= 3
    assert catalog.nearest("zzzzzzzzzz") == []
    assert catalog.nearest("gpt-4o" * 1_000_000) == []


def test_a_catalogue_is_read_once_per_version_by_however_many_threads(session: Session) -> None:
    reads: list[int] = []

    @contextmanager
    def reading() -> Iterator[Session]:
        reads.append(1)
        yield session

    cache = CatalogCache(reading)
    found: list[Catalog] = []
    threads = [threading.Thread(target=lambda: found.append(cache.at(7))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(reads) == 1
    assert all(catalog is found[0] for catalog in found)
    session.get_one(CatalogState, 1).version = 8
    upstream(session, "openai")
    assert cache.at(8).names() != []
    assert cache.at(8) is cache.at(8)
    assert len(reads) == 2
