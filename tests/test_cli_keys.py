"""`flask key …`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Commands, commands_in

from modelbridge import ids

ALICE, BOB, CHARLIE = "alice@example.com", "bob@example.com", "charlie@example.com"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture
def flask(tmp_path: Path) -> Iterator[Commands]:
    with commands_in(tmp_path) as commands:
        for email in (ALICE, BOB, CHARLIE):
            commands.run("user", "create", email)
        commands.run("team", "create", "Research", "--owner", ALICE)
        commands.run("team", "add", "Research", BOB, "--role", "member")
        commands.run("team", "add", "Research", CHARLIE, "--role", "viewer")
        yield commands


def create(flask: Commands, *more: str, account: str = ALICE, name: str = "laptop") -> str:
    return flask.out("key", "create", "--account", account, "--name", name, *more)


def refused(flask: Commands, *more: str, account: str = ALICE, status: int = 1) -> str:
    words = ("key", "create", "--account", account, "--name", "laptop", *more)
    return flask.refused(*words, status=status)


def only_key(flask: Commands, account: str = ALICE) -> dict[str, object]:
    (found,) = flask.json("key", "list", "--account", account)
    assert isinstance(found, dict)
    return found


def test_the_key_is_alone_on_standard_output(flask: Commands) -> None:
    result = flask.run("key", "create", "--account", ALICE, "--name", "laptop")
    secret = result.stdout.removesuffix("\n")
    assert ids.is_well_formed_key(secret)
    assert secret.startswith("mb_live_")
    assert "exchange rate" in result.stderr
    assert secret not in result.stderr


def test_once_the_operator_set_a_rate_nothing_is_warned_of(flask: Commands) -> None:
    flask.run("fx", "set", "1.5")
    told = flask.run("key", "create", "--account", ALICE, "--name", "laptop").stderr
    assert "exchange rate" not in told


def test_a_test_key_says_so(flask: Commands) -> None:
    assert create(flask, "--test").startswith("mb_test_")
    assert only_key(flask)["mode"] == "test"


def test_a_key_without_options_has_no_bounds(flask: Commands) -> None:
    secret = create(flask)
    found = only_key(flask)
    assert str(found.pop("id")).startswith("key_")
    assert MOMENT.fullmatch(str(found.pop("created_at")))
    assert found == {
        "hint": f"{secret[:12]}…{secret[-4:]}",
        "name": "laptop",
        "mode": "live",
        "account": ALICE,
        "user": ALICE,
        "status": "active",
        "limit": None,
        "window": "none",
        "spent": "0.00",
        "held": "0.00",
        "models": None,
        "rpm": None,
        "tpm": None,
        "concurrency": None,
        "addresses": None,
        "expires_at": None,
        "revoked_at": None,
        "last_used_at": None,
    }


def test_every_option_is_kept(flask: Commands) -> None:
    create(
        flask, "--limit", "2.50", "--window", "day", "--expires", "2099-01-31T18:00:00+02:00",
        "--models", "gpt-5.4, claude-sonnet-4-6",
    )  # fmt: skip
    found = only_key(flask)
    assert (found["limit"], found["window"]) == ("2.50", "day")
    assert found["expires_at"] == "2099-01-31T16:00:00Z"
    assert found["models"] == ["gpt-5.4", "claude-sonnet-4-6"]


def test_a_plain_date_is_the_end_of_that_day_where_the_account_is(flask: Commands) -> None:
    create(flask, "--expires", "2099-01-31")
    assert only_key(flask)["expires_at"] == "2099-01-31T12:59:59Z"


def test_a_limit_of_nothing_is_a_limit(flask: Commands) -> None:
    create(flask, "--limit", "0")
    found = only_key(flask)
    assert (found["limit"], found["status"]) == ("0.00", "limit_reached")


def test_models_that_nothing_serves_are_warned_of(flask: Commands) -> None:
    words = ("key", "create", "--account", ALICE, "--name", "x", "--models", "no-such-model")
    assert "no-such-model" in flask.run(*words).stderr


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--limit", "-1"), "--limit"),
        (("--limit", "much"), "--limit"),
        (("--expires", "2020-01-01"), "expires: is in the past"),
        (("--expires", "2020-01-01T00:00:00Z"), "expires: is in the past"),
        (("--expires", "tomorrow"), "expires: 'tomorrow' is not"),
        (("--expires", ""), "expires: "),
        (("--models", ""), "models: "),
        (("--models", "a b"), "models: "),
        (("--name", " "), "name: "),
        (("--user", "nobody@example.com"), "no user"),
        (("--user", BOB), "personal account"),
    ],
)
def test_what_a_key_cannot_be_is_said(
    flask: Commands, more: tuple[str, ...], complaint: str
) -> None:
    assert complaint in refused(flask, *more)
    assert flask.json("key", "list", "--account", ALICE) == []


def test_a_window_without_a_limit_is_a_mistake(flask: Commands) -> None:
    assert "--window" in refused(flask, "--window", "day", status=2)
    assert "--window" in refused(flask, "--limit", "1", "--window", "year", status=2)


def test_an_account_that_is_not_there_is_named(flask: Commands) -> None:
    assert "no user" in refused(flask, account="nobody@example.com")
    assert "no team 'Sales'" in refused(flask, account="team:Sales")


# In a team


def test_a_team_s_key_is_a_member_s_or_nobody_s(flask: Commands) -> None:
    create(flask, "--user", BOB, account="team:Research", name="bob's")
    create(flask, account="team:Research", name="nightly build")
    machine, bobs = flask.json("key", "list", "--account", "team:research")
    assert (machine["account"], machine["user"]) == ("team:Research", None)
    assert (bobs["account"], bobs["user"]) == ("team:Research", BOB)
    assert flask.json("key", "list", "--account", BOB) == []


def test_a_viewer_and_a_stranger_get_no_key_of_the_team(flask: Commands) -> None:
    flask.run("user", "create", "dave@example.com")
    for email in (CHARLIE, "dave@example.com"):
        assert "not a member" in refused(flask, "--user", email, account="team:Research")


# Listing and revoking


def test_the_list_shows_hints_and_never_keys(flask: Commands) -> None:
    secret = create(flask, "--limit", "20", "--window", "month")
    printed = flask.out("key", "list")
    assert f"{secret[:12]}…{secret[-4:]}" in printed
    assert "20.00 AUD a month" in printed
    assert secret[12:-4] not in printed + flask.out("key", "list", "--json")


def test_a_key_is_revoked_by_id_prefix_or_whole_once_and_for_good(flask: Commands) -> None:
    for cut in (None, 12, 30):
        secret = create(flask)
        assert flask.out("key", "revoke", secret[:cut]).startswith("Revoked key_")
    create(flask)
    newest = flask.json("key", "list", "--account", ALICE)[0]
    assert flask.out("key", "revoke", newest["id"]).startswith("Revoked key_")
    found = flask.json("key", "list", "--account", ALICE)
    assert {row["status"] for row in found} == {"revoked"}
    assert "was revoked before, at " in flask.out("key", "revoke", newest["id"])
    assert flask.json("key", "list", "--account", ALICE)[0] == found[0]


def test_the_hint_of_the_list_revokes_too(flask: Commands) -> None:
    create(flask)
    assert flask.out("key", "revoke", str(only_key(flask)["hint"])).startswith("Revoked")


def test_too_little_of_a_key_revokes_nothing(flask: Commands) -> None:
    secret = create(flask)
    for text in (secret[:11], "mb_live_", "key_", "", "mb_live_ZZZZ", "key_000000000000"):
        assert "ID_OR_PREFIX" in flask.refused("key", "revoke", text)
    assert only_key(flask)["status"] == "active"
