"""`flask upstream …` and `flask model …`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Commands, commands_in

from modelbridge.catalog import admin, routes
from modelbridge.catalog.routes import Offer
from modelbridge.store.tables import Upstream
from modelbridge.upstream import credentials

SECRET = "sk-ant-0123456789"


@pytest.fixture
def flask(tmp_path: Path) -> Iterator[Commands]:
    with commands_in(tmp_path) as commands:
        yield commands


def upstream(flask: Commands, name: str) -> Upstream:
    with flask.bridge.database.reading() as session:
        found = admin.find_upstream(session, name)
    assert found is not None
    return found


def credential(flask: Commands, name: str) -> str | None:
    row = upstream(flask, name)
    if row.credential is None:
        return None
    return credentials.unseal(flask.bridge.settings.master_key, row.id, row.credential)


def offers(flask: Commands, name: str) -> tuple[Offer, ...]:
    with flask.bridge.database.reading() as session:
        found = routes.load(session).offered(name)
    return () if found is None else found.offers


def add_local(flask: Commands, name: str = "local", port: int = 8081) -> None:
    url = f"http://127.0.0.1:{port}/v1"
    flask.run("upstream", "add", name, "--provider", "openai_compatible", "--base-url", url)


# Upstreams


def test_a_credential_from_standard_input_is_sealed(flask: Commands) -> None:
    flask.run(
        "upstream", "add", "anthropic", "--provider", "anthropic", "--api-key-stdin",
        stdin=f"  {SECRET}\r\n",
    )  # fmt: skip
    assert credential(flask, "anthropic") == SECRET
    assert SECRET not in (upstream(flask, "anthropic").credential or "")
    assert upstream(flask, "anthropic").base_url == "https://api.anthropic.com"


def test_a_credential_comes_from_a_variable_too(flask: Commands) -> None:
    words = ("upstream", "add", "openai", "--provider", "openai", "--api-key-env", "WORK_KEY")
    assert "WORK_KEY is not set" in flask.refused(*words)
    flask.run(*words, WORK_KEY=SECRET)
    assert credential(flask, "openai") == SECRET


def test_nobody_prints_a_credential(flask: Commands) -> None:
    made = flask.run(
        "upstream", "add", "openai", "--provider", "openai", "--api-key-stdin", stdin=SECRET
    )
    assert SECRET not in made.output + flask.out("upstream", "list")


@pytest.mark.parametrize("text", ["", "   \n", "mb_live_abc", "sk-one\nsk-two", "sk two", "sk-é"])
def test_what_is_no_provider_s_key_is_refused(flask: Commands, text: str) -> None:
    words = ("upstream", "add", "openai", "--provider", "openai", "--api-key-stdin")
    assert "API key" in flask.refused(*words, stdin=text)
    assert "API key" in flask.refused(*words[:-1], "--api-key-env", "WORK_KEY", WORK_KEY=text)
    assert "openai " not in flask.out("upstream", "list")


def test_two_places_for_a_key_are_one_too_many(flask: Commands) -> None:
    words = ("upstream", "add", "x", "--provider", "openai", "--api-key-stdin")
    assert "not both" in flask.refused(*words, "--api-key-env", "WORK_KEY", status=2)


def test_an_upstream_may_be_a_local_one_without_a_key(flask: Commands) -> None:
    add_local(flask)
    found = upstream(flask, "local")
    assert (found.base_url, found.credential) == ("http://127.0.0.1:8081/v1", None)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "http://[fe80::1]/v1",
        "ftp://example.com/v1",
        "example.com/v1",
        "https://user:secret@example.com/v1",
        "https://",
        "",
    ],
)
def test_an_address_that_calls_must_not_go_to_is_refused(flask: Commands, url: str) -> None:
    words = ("upstream", "add", "x", "--provider", "openai_compatible", "--base-url", url)
    assert "base" in flask.refused(*words).lower()


def test_an_unknown_provider_is_answered_with_the_known_ones(flask: Commands) -> None:
    said = flask.refused("upstream", "add", "x", "--provider", "opnai")
    assert "anthropic, " in said
    assert "openai_compatible" in said


def test_a_provider_without_an_address_wants_one(flask: Commands) -> None:
    said = flask.refused("upstream", "add", "x", "--provider", "openai_compatible")
    assert "--base-url" in said


def test_a_name_is_an_upstream_s_once(flask: Commands) -> None:
    add_local(flask)
    words = ("upstream", "add", "local", "--provider", "openai")
    assert "exists already" in flask.refused(*words)


def test_a_new_key_replaces_the_old_one(flask: Commands) -> None:
    add_local(flask)
    flask.run("upstream", "set-key", "local", "--api-key-stdin", stdin="first")
    assert credential(flask, "local") == "first"
    flask.run("upstream", "set-key", "local", "--api-key-env", "WORK_KEY", WORK_KEY="second")
    assert credential(flask, "local") == "second"
    assert "set" in flask.out("upstream", "list")


def test_a_new_key_has_to_come_from_somewhere(flask: Commands) -> None:
    add_local(flask)
    assert "--api-key-stdin" in flask.refused("upstream", "set-key", "local", status=2)
    words = ("upstream", "set-key", "remote", "--api-key-stdin")
    assert "no upstream 'remote'" in flask.refused(*words, stdin="x")


def test_an_upstream_goes_unless_a_model_needs_it(flask: Commands) -> None:
    add_local(flask)
    flask.run("model", "add", "tiny", "--upstream", "local", "--free")
    assert "tiny" in flask.refused("upstream", "remove", "local")
    flask.run("model", "remove", "tiny")
    assert flask.out("upstream", "remove", "local") == "Removed local."
    assert "local" in flask.refused("upstream", "remove", "local")


# Models


def test_an_anthropic_upstream_serves_its_models_without_more_ado(flask: Commands) -> None:
    flask.run(
        "upstream", "add", "anthropic", "--provider", "anthropic", "--api-key-stdin", stdin=SECRET
    )
    (line,) = (x for x in flask.out("model", "list").splitlines() if "claude-sonnet-4-6 " in x)
    assert line.split()[:7] == [
        "claude-sonnet-4-6", "catalogue", "anthropic/claude-sonnet-4-6",
        "3.00", "15.00", "0.30", "3.75",
    ]  # fmt: skip


def test_every_option_of_a_model_is_kept(flask: Commands) -> None:
    add_local(flask)
    flask.run(
        "model", "add", "tiny", "--upstream", "local", "--upstream-model", "smollm2",
        "--input", "0.5", "--output", "1", "--cache-read", "0", "--cache-write", "0.625",
        "--context-window", "8192", "--max-output", "2048",
    )  # fmt: skip
    row = flask.out("model", "list").splitlines()[1].split()
    assert row == ["tiny", "you", "local/smollm2", "0.50", "1.00", "0.00", "0.625", "8192", "2048"]


def test_cache_prices_are_as_input_where_nobody_gave_them(flask: Commands) -> None:
    add_local(flask)
    flask.run("model", "add", "tiny", "--upstream", "local", "--input", "0.5", "--output", "0")
    (offer,) = offers(flask, "tiny")
    assert offer.price is not None
    rates = offer.price.rates
    assert (rates.cache_read, rates.cache_write, rates.output) == (500_000_000, 500_000_000, 0)
    assert offer.target.model == "tiny"


def test_a_model_has_targets_in_order(flask: Commands) -> None:
    add_local(flask, "one", 8081)
    add_local(flask, "two", 8082)
    flask.run(
        "model", "add", "tiny", "--upstream", "two", "--upstream-model", "b",
        "--upstream", "one", "--upstream-model", "a", "--free",
    )  # fmt: skip
    found = [(offer.target.upstream, offer.target.model) for offer in offers(flask, "tiny")]
    assert found == [("two", "b"), ("one", "a")]


def test_adding_a_known_name_replaces_it(flask: Commands) -> None:
    add_local(flask)
    words = ("model", "add", "tiny", "--upstream", "local")
    flask.run(*words, "--input", "1", "--output", "1", "--max-output", "5")
    flask.run(*words, "--free")
    (offer,) = offers(flask, "tiny")
    assert offer.free
    assert not offer.max_output_known


def test_a_model_without_a_price_is_warned_of(flask: Commands) -> None:
    add_local(flask)
    warned = flask.run("model", "add", "tiny", "--upstream", "local")
    assert "local/tiny has no known price" in warned.stderr
    assert "unknown" in flask.out("model", "list")
    priced = flask.run("model", "add", "tiny", "--upstream", "local", "--free")
    assert priced.stderr == ""


@pytest.mark.parametrize(
    ("more", "status", "complaint"),
    [
        (("--input", "1"), 2, "--output"),
        (("--output", "1"), 2, "--input"),
        (("--cache-read", "1"), 2, "--input"),
        (("--free", "--input", "1", "--output", "1"), 2, "--free"),
        (("--upstream", "local"), 1, "twice"),
        (("--upstream-model", "a", "--upstream-model", "b"), 2, "--upstream-model"),
        (("--input", "-1", "--output", "1"), 1, "input price"),
        (("--input", "1", "--output", "cheap"), 1, "output price"),
        (("--max-output", "0"), 2, "--max-output"),
        (("--context-window", "many"), 2, "--context-window"),
        (("--upstream-model", "a b"), 1, "upstream model"),
    ],
)
def test_what_a_model_cannot_be_is_said(
    flask: Commands, more: tuple[str, ...], status: int, complaint: str
) -> None:
    add_local(flask)
    words = ("model", "add", "tiny", "--upstream", "local", *more)
    assert complaint in flask.refused(*words, status=status)
    assert offers(flask, "tiny") == ()


def test_a_model_of_no_upstream_is_refused(flask: Commands) -> None:
    assert "'nowhere'" in flask.refused("model", "add", "tiny", "--upstream", "nowhere")
    flask.refused("model", "add", "tiny", status=2)


def test_a_model_that_was_not_added_cannot_be_removed(flask: Commands) -> None:
    assert "'tiny'" in flask.refused("model", "remove", "tiny")
