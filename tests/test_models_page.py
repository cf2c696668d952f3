"""The models page: everything that can be called, its price in both currencies, found quickly."""

import re
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from dashboard_world import Browser, World, world_in

from modelbridge.catalog import admin, fx

ALICE = "alice@example.com"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


@pytest.fixture
def browser(world: World) -> Browser:
    world.person(ALICE, name="Alice")
    return world.browser(ALICE)


def add_upstream(world: World, name: str = "openai", provider: str = "openai") -> None:
    with world.transaction() as session:
        admin.add_upstream(
            session,
            name=name,
            provider=provider,
            base_url=None,
            allow_private=True,
            sealed_credential=lambda _: None,
        )


def names_on(page: str) -> list[str]:
    return re.findall(r'id="model-\d+">([^<]+)<', page)


def test_a_bridge_without_upstreams_says_so(browser: Browser) -> None:
    page = browser.get("/models").text
    assert "No models yet" in page
    assert "An administrator has to connect a provider first." in page


def test_a_model_shows_what_it_costs_in_both_currencies(world: World, browser: Browser) -> None:
    add_upstream(world)
    with world.transaction() as session:
        fx.set_rate(session, 1_537_100_000)
        admin.add_model(
            session,
            name="house",
            targets=[("openai", "gpt-5.4")],
            prices={"input": "0.02", "output": "2.5", "cache_read": "0.001"},
            context_window=128_000,
            max_output=2_000,
        )
    page = browser.get("/models?q=house").text.replace("\N{NO-BREAK SPACE}", " ")
    assert names_on(page) == ["house"]
    for words in (
        "AUD 0.030742", "USD 0.02<", "AUD 3.84275", "USD 2.50", "AUD 0.0015371", "USD 0.001",
        "128,000", "2,000", "openai",
    ):  # fmt: skip
        assert words in page, words


def test_free_unpriced_and_second_targets_are_told(world: World, browser: Browser) -> None:
    add_upstream(world)
    add_upstream(world, "ours", "llamacpp")
    with world.transaction() as session:
        admin.add_model(session, name="free-one", targets=[("ours", "x")], free=True)
        admin.add_model(
            session,
            name="twice",
            targets=[("ours", "x"), ("openai", "gpt-5.4")],
            prices={"input": "1", "output": "2"},
        )
    page = browser.get("/models?q=ours").text
    assert names_on(page) == ["free-one", "twice"]
    assert "Free" in page
    assert "assumed" in page
    assert "then openai" in page


def test_dearer_prices_of_long_calls_are_told(world: World, browser: Browser) -> None:
    add_upstream(world, "gemini", "gemini")
    page = browser.get("/models?q=gemini-2.5-pro").text
    assert "Above 200,000 input tokens" in page


def test_hundreds_of_models_come_fifty_a_page_and_fast(world: World, browser: Browser) -> None:
    for provider in ("openai", "anthropic", "gemini", "openrouter", "mistral", "groq"):
        add_upstream(world, provider, provider)
    browser.get("/models")  # reads the price package once
    seen: list[str] = []
    path: str | None = "/models"
    begun = time.monotonic()
    pages = 0
    while path:
        page = browser.get(path).text
        seen += names_on(page)
        more = re.search(r'href="(/models\?after=[^"]+)"', page)
        path = unescape(more[1]) if more else None
        pages += 1
    seconds = (time.monotonic() - begun) / pages
    assert len(seen) > 300
    assert [unescape(name) for name in seen] == sorted(unescape(name) for name in seen)
    assert len(set(seen)) == len(seen)
    assert seconds < 1


def test_the_search_takes_words_in_any_order_and_case(world: World, browser: Browser) -> None:
    add_upstream(world)
    add_upstream(world, "anthropic", "anthropic")
    found = names_on(browser.get("/models?q=SONNET+claude").text)
    assert found
    assert all("sonnet" in name for name in found)
    assert "No model is found" in browser.get("/models?q=%3Cscript%3E").text
    assert "<script>" not in browser.get("/models?q=%3Cscript%3E").text.split("</head>")[1]


def test_the_page_is_private(world: World, browser: Browser) -> None:
    assert world.browser().get("/models").status_code == 303
