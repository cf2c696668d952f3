"""Administration of upstreams, models, prices and the exchange rate."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import hostile
import pytest
from dashboard_world import Browser, World, hidden_fields, world_in
from hostile import HostileUpstream

from modelbridge.catalog import fx, routes
from modelbridge.catalog.admin import find_upstream, list_models
from modelbridge.store.tables import AuditEvent, Model, PriceVersion, Upstream, User
from modelbridge.upstream import credentials, probe

ALICE = "alice@example.com"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


@pytest.fixture
def browser(world: World) -> Browser:
    world.person(ALICE, name="Alice", is_admin=True)
    return world.browser(ALICE)


def add_upstream(browser: Browser, **fields: str) -> str:
    """What the page says after the form was sent."""
    wanted = {"provider": "openai", "name": "openai", "credential": "sk-test", "base_url": ""}
    answer = browser.submit("/admin/upstreams/new", **(wanted | fields))
    return unescape(browser.get(answer.location).text if answer.location else answer.text)


def add_local(browser: Browser, upstream: HostileUpstream, provider: str = "openai") -> str:
    base_url = upstream.anthropic_base_url if provider == "anthropic" else upstream.base_url
    return add_upstream(
        browser, provider=provider, name="local", base_url=base_url, allow_private="y"
    )


def row_of(world: World, name: str) -> Upstream:
    with world.bridge.database.reading() as session:
        row = find_upstream(session, name)
    assert row is not None
    return row


def outcome_of_test(browser: Browser, name: str = "local") -> str:
    """What the connection's test said."""
    token = hidden_fields(browser.get("/admin/upstreams").text)["csrf_token"]
    answer = browser.post(f"/admin/upstreams/{name}/test", csrf_token=token)
    alerts = re.findall(
        r'role="status">(.*?)</div>\s*</div>', browser.get(answer.location).text, re.S
    )
    return " ".join(unescape(re.sub("<[^>]+>", " ", alerts[0])).split())


def test_a_preset_needs_only_a_credential(world: World, browser: Browser) -> None:
    assert "openai is added" in add_upstream(browser)
    row = row_of(world, "openai")
    assert (row.provider, row.base_url) == ("openai", "https://api.openai.com/v1")
    sealed = row.credential or ""
    assert "sk-test" not in sealed
    assert credentials.unseal(world.bridge.settings.master_key, row.id, sealed) == "sk-test"


def test_a_credential_is_never_shown_again(world: World, browser: Browser) -> None:
    add_upstream(browser, credential="sk-very-secret")
    pages = ["", "/upstreams", "/upstreams/openai/credential", "/audit", "/audit.csv"]
    sealed = row_of(world, "openai").credential or ""
    for page in pages:
        text = browser.get(f"/admin{page}").text
        assert "sk-very-secret" not in text
        assert sealed not in text
    refused = browser.submit(
        "/admin/upstreams/new", provider="openai", name="", credential="sk-very-secret"
    )
    assert refused.status_code == 400
    assert "sk-very-secret" not in refused.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "Give it a name"),
        ({"name": "Open AI"}, "is not an upstream's name"),
        ({"base_url": "http://api.example.com/v1"}, "must begin with https://"),
        ({"base_url": "https://192.168.1.4/v1"}, "private or loopback host"),
        ({"base_url": "https://169.254.169.254/", "allow_private": "y"}, "metadata service"),
        ({"base_url": "ftp://x"}, "must look like https://"),
        ({"provider": "ollama"}, "tick the box"),
        ({"provider": "vllm"}, "vLLM has none of its own"),
        ({"provider": "nonsense"}, "Not a valid choice"),
        ({"credential": "mb_live_abc"}, "a key of ModelBridge"),
        ({"credential": "two words"}, "has spaces"),
    ],
)
def test_what_cannot_be_an_upstream_is_refused_beside_its_field(
    world: World, browser: Browser, fields: dict[str, str], words: str
) -> None:
    assert words in add_upstream(browser, **fields)
    with world.bridge.database.reading() as session:
        assert session.query(Upstream).count() == 0


def test_a_private_address_needs_the_tick(
    world: World, browser: Browser, upstream: HostileUpstream
) -> None:
    refused = add_upstream(browser, name="local", base_url=upstream.base_url)
    assert "tick the box" in refused
    assert f'value="{upstream.base_url}"' in refused
    assert "local is added" in add_local(browser, upstream)


@pytest.mark.parametrize(
    ("provider", "path", "header"),
    [
        ("openai", "/v1/models", ("authorization", "Bearer sk-test")),
        ("anthropic", "/v1/models", ("x-api-key", "sk-test")),
    ],
)
def test_the_test_of_a_connection_asks_for_the_list_of_models(
    browser: Browser,
    upstream: HostileUpstream,
    provider: str,
    path: str,
    header: tuple[str, str],
) -> None:
    add_local(browser, upstream, provider)
    upstream.will(hostile.status(200, {"data": [{"id": "a"}, {"id": "b"}]}))
    assert (
        outcome_of_test(browser)
        == "local: It works: the API key is accepted and the list has 2 models."
    )
    (seen,) = upstream.wait_for(1)
    assert (seen["method"], seen["path"], seen["text"]) == ("GET", path, "")
    assert seen["headers"][header[0]] == header[1]
    assert "content-type" not in seen["headers"]
    assert "Working" in browser.get("/admin/upstreams").text


def test_geminis_list_is_beside_its_calls(browser: Browser, upstream: HostileUpstream) -> None:
    add_upstream(
        browser, provider="gemini", name="local", base_url=upstream.anthropic_base_url,
        allow_private="y",
    )  # fmt: skip
    upstream.will(hostile.status(200, {"models": [{}, {}]}))
    assert "2 models" in outcome_of_test(browser)
    (seen,) = upstream.wait_for(1)
    assert seen["path"] == "/v1beta/models?pageSize=1000"


SECRET_WORDS = {"error": {"message": "Incorrect key sk-test-secret <script>"}}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (hostile.status(401, SECRET_WORDS), "refuses the API key"),
        (hostile.status(404, SECRET_WORDS), "no list of models at this address"),
        (hostile.status(429, SECRET_WORDS), "ask too often"),
        (hostile.status(500, SECRET_WORDS), "a failure of its own (status 500)"),
        (hostile.status(418, SECRET_WORDS), "status 418"),
        (hostile.status(200, b"<html>sk-test-secret"), "not with a list of models"),
        (hostile.status(200, {"hello": "sk-test-secret"}), "not with a list of models"),
        (hostile.redirect("http://127.0.0.1:1/"), "redirect, which is not followed"),
        (hostile.reset_after_body(), "closed the connection without an answer"),
    ],
)
def test_what_came_of_the_test_is_told_in_our_words(
    browser: Browser, upstream: HostileUpstream, step: hostile.Step, words: str
) -> None:
    add_local(browser, upstream)
    upstream.will(step)
    said = outcome_of_test(browser)
    assert words in said
    assert "secret" not in said


def test_a_silent_upstream_does_not_keep_the_administrator_waiting(
    browser: Browser, upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PATIENCE_SECONDS", 0.3)
    add_local(browser, upstream)
    upstream.will(hostile.hang())
    assert "did not answer within" in outcome_of_test(browser)


def test_nobody_at_the_address(browser: Browser, upstream: HostileUpstream) -> None:
    add_local(browser, upstream)
    upstream.refuse()
    assert "cannot be reached" in outcome_of_test(browser)


def test_a_credential_is_replaced(world: World, browser: Browser) -> None:
    add_upstream(browser)
    browser.submit("/admin/upstreams/openai/credential", credential="sk-new")
    row = row_of(world, "openai")
    master_key = world.bridge.settings.master_key
    assert credentials.unseal(master_key, row.id, row.credential or "") == "sk-new"
    assert browser.submit("/admin/upstreams/openai/credential", credential="").status_code == 400


def test_an_upstream_that_a_model_needs_is_not_removed(world: World, browser: Browser) -> None:
    add_upstream(browser)
    add_model(browser)
    answer = browser.submit("/admin/upstreams/openai/remove")
    assert "the only target of house" in unescape(browser.get(answer.location).text)
    browser.submit("/admin/models/remove/house")
    browser.submit("/admin/upstreams/openai/remove")
    with world.bridge.database.reading() as session:
        assert session.query(Upstream).count() == 0
        log = [one.action for one in session.query(AuditEvent).order_by(AuditEvent.sequence)]
    assert log[1:] == ["upstream.add", "model.add", "model.remove", "upstream.remove"]


def test_unknown_names_are_not_found(browser: Browser) -> None:
    token = hidden_fields(browser.get("/admin").text)["csrf_token"]
    for path in (
        "upstreams/x/credential",
        "upstreams/x/remove",
        "models/edit/x",
        "models/remove/x",
    ):
        assert browser.get(f"/admin/{path}").status_code == 404
    assert browser.post("/admin/upstreams/x/test", csrf_token=token).status_code == 404


# Models and prices


def add_model(browser: Browser, path: str = "/admin/models/new", **fields: str) -> str:
    wanted = {
        "name": "house", "targets-0-upstream": "openai", "targets-0-model": "gpt-5.4",
        "input": "1", "output": "2",
    }  # fmt: skip
    answer = browser.submit(path, **(wanted | fields))
    return unescape(browser.get(answer.location).text if answer.location else answer.text)


def price_versions(world: World) -> list[PriceVersion]:
    with world.bridge.database.reading() as session:
        found = session.query(PriceVersion).filter_by(model="house")
        return sorted(found, key=lambda row: row.created_at)


def model_of(world: World) -> Model:
    with world.bridge.database.reading() as session:
        (row,) = list_models(session)
    return row


def test_a_changed_price_is_a_new_version_and_the_old_one_stays(
    world: World, browser: Browser
) -> None:
    add_upstream(browser)
    assert "house is saved" in add_model(browser)
    add_model(browser, "/admin/models/edit/house", input="1.5")
    inputs = [row.price["rates"]["input"] for row in price_versions(world)]
    assert inputs == [1_000_000_000, 1_500_000_000]
    add_model(browser, "/admin/models/edit/house", input="1.5")
    assert len(price_versions(world)) == 2
    page = browser.get("/admin/models/edit/house").text
    for row in price_versions(world):
        assert row.id in page
    assert 'value="1.5"' in page


def test_targets_keep_their_order(world: World, browser: Browser) -> None:
    for name in ("openai", "second", "third"):
        add_upstream(browser, name=name)
    add_model(
        browser,
        **{
            "targets-0-upstream": "third",
            "targets-0-model": "",
            "targets-1-upstream": "openai",
            "targets-2-upstream": "second",
            "targets-2-model": "other",
        },
    )
    routes_of = model_of(world).routes
    assert [(route.upstream.name, route.upstream_model) for route in routes_of] == [
        ("third", "house"),
        ("openai", "house"),
        ("second", "other"),
    ]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": ""}, "name", "Give the model a name"),
        ({"name": "two words"}, "name", "is not a name"),
        ({"input": "x"}, "input", "is not a decimal number"),
        ({"output": ""}, "output", "Give both the input and the output price"),
        ({"output": "-1"}, "output", "must be between 0 and"),
        ({"free": "y"}, "free", "A free model has no prices"),
        ({"max_output": "0"}, "max_output", "whole number of tokens"),
        ({"context_window": "many"}, "context_window", "Not a valid integer"),
        ({"targets-0-upstream": ""}, None, "a model needs at least one"),
        ({"targets-0-upstream": "gone"}, None, "there is none named"),
        ({"targets-1-upstream": "openai", "targets-1-model": "gpt-5.4"}, None, "given twice"),
    ],
)
def test_a_refused_model_says_beside_which_field(
    world: World, browser: Browser, fields: dict[str, str], field: str | None, words: str
) -> None:
    add_upstream(browser)
    page = add_model(browser, **fields)
    assert words in page
    if field is not None:
        assert words in re.search(rf'id="{field}-error".*?</div>', page, re.S)[0]  # type: ignore[index]
    with world.bridge.database.reading() as session:
        assert list_models(session) == []


def test_a_model_without_a_price_is_warned_of(browser: Browser) -> None:
    add_upstream(browser)
    page = add_model(browser, **{"targets-0-model": "my-own", "input": "", "output": ""})
    assert "openai/my-own has no known price" in page
    assert "No price" in page


def test_a_renamed_model_leaves_nothing_behind(world: World, browser: Browser) -> None:
    add_upstream(browser)
    add_model(browser)
    add_model(browser, "/admin/models/edit/house", name="a/b")
    assert model_of(world).name == "a/b"
    assert browser.get("/admin/models/edit/a/b").status_code == 200


def test_a_known_model_gets_our_own_price(world: World, browser: Browser) -> None:
    add_upstream(browser)
    add_model(browser, name="gpt-5.4", **{"targets-0-model": ""})
    with world.bridge.database.reading() as session:
        offered = routes.load(session).offered("gpt-5.4")
    assert offered is not None
    assert offered.offers[0].price is not None
    assert offered.offers[0].price.rates.input == 1_000_000_000


# The exchange rate


def test_a_rate_is_a_new_version_and_the_history_stays(world: World, browser: Browser) -> None:
    assert "came with the release" in browser.get("/admin/exchange-rate").text
    browser.submit("/admin/exchange-rate", rate="1.6123")
    page = browser.get("/admin/exchange-rate").text
    assert "came with the release" not in page
    assert "1.6123" in page
    assert "1.53" in page
    with world.bridge.database.reading() as session:
        assert fx.current(session).aud_per_usd_nanos == 1_612_300_000


@pytest.mark.parametrize("text", ["", "0", "-1", "abc", "1001", "1,5", "1.0000000001"])
def test_an_impossible_rate_is_refused(world: World, browser: Browser, text: str) -> None:
    answer = browser.submit("/admin/exchange-rate", rate=text)
    assert answer.status_code == 400
    assert 'id="rate-error"' in answer.text
    with world.bridge.database.reading() as session:
        assert fx.current(session).version == 1


def test_the_administrator_is_named_in_the_log(world: World, browser: Browser) -> None:
    browser.submit("/admin/exchange-rate", rate="2")
    with world.bridge.database.reading() as session:
        event = session.query(AuditEvent).filter_by(action="fx.set").one()
        actor = session.get_one(User, event.actor_id)
    assert (event.actor, actor.email, event.details) == (ALICE, ALICE, {"before": "1.53"})
