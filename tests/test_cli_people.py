"""`flask user …` and `flask team …`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Commands, commands_in

from modelbridge.identity import links, passwords, users
from modelbridge.store.tables import ApiKey, OneTimeLink, User

GOOD = "correct horse battery staple"
LINK = re.compile(r"http://127\.0\.0\.1:8000/reset/([A-Za-z0-9_-]{43})")


@pytest.fixture
def flask(tmp_path: Path) -> Iterator[Commands]:
    with commands_in(tmp_path) as commands:
        yield commands


def load(flask: Commands, email: str) -> User:
    with flask.bridge.database.reading() as session:
        found = users.find_user(session, email)
    assert found is not None
    return found


def link_of(flask: Commands, printed: str) -> OneTimeLink | None:
    matched = LINK.fullmatch(printed)
    assert matched is not None, printed
    with flask.bridge.database.reading() as session:
        return links.open_link(session, "reset", matched[1])


def test_alice_is_made_with_a_link_to_choose_her_password(flask: Commands) -> None:
    link = link_of(flask, flask.out("user", "create", "Alice@Example.com"))
    alice = load(flask, "alice@example.com")
    assert link is not None
    assert link.user_id == alice.id
    assert (alice.is_admin, alice.password_hash) == (False, None)


def test_a_password_from_standard_input_opens_the_door(flask: Commands) -> None:
    result = flask.run("user", "create", "alice@example.com", "--password-stdin", stdin=GOOD + "\n")
    assert result.stdout == ""
    assert GOOD not in result.output
    assert passwords.verify(load(flask, "alice@example.com").password_hash, GOOD)


@pytest.mark.parametrize("password", ["", "\n", "short\n", "password1234\n"])
def test_an_easy_password_is_refused(flask: Commands, password: str) -> None:
    words = ("user", "create", "alice@example.com", "--password-stdin")
    assert "password: " in flask.refused(*words, stdin=password)
    with flask.bridge.database.reading() as session:
        assert users.find_user(session, "alice@example.com") is None


@pytest.mark.parametrize("email", ["alice", "alice@", "@example.com", "a b@example.com", ""])
def test_what_is_no_address_is_refused(flask: Commands, email: str) -> None:
    assert "email: " in flask.refused("user", "create", email)


def test_nobody_is_made_twice_and_nothing_is_left_behind(flask: Commands) -> None:
    flask.run("user", "create", "alice@example.com")
    assert "already" in flask.refused("user", "create", "ALICE@example.com")
    assert flask.out("user", "list").count("@") == 1
    assert flask.json("books", "check")["ok"] is True


def test_the_first_administrator_gets_the_first_test_key(flask: Commands) -> None:
    flask.run("user", "create", "bob@example.com")
    flask.run("user", "create", "alice@example.com", "--admin")
    flask.run("user", "create", "charlie@example.com", "--admin")
    alice = load(flask, "alice@example.com")
    assert alice.is_admin
    with flask.bridge.database.reading() as session:
        holders = {row.user_id for row in session.query(ApiKey)}
    assert holders <= {alice.id}


def test_the_list_tells_who_is_what(flask: Commands) -> None:
    flask.run("user", "create", "bob@example.com")
    flask.run("user", "create", "alice@example.com", "--admin", "--password-stdin", stdin=GOOD)
    flask.run("topup", "bob@example.com", "12.50")
    headings, alice, bob = flask.out("user", "list").splitlines()
    assert headings.split()[:4] == ["EMAIL", "NAME", "ADMIN", "STATE"]
    assert re.match(r"alice@example.com +- +yes +active +0\.00 ", alice)
    assert re.match(r"bob@example.com +- +no +no password yet +12\.50 ", bob)


def test_a_reset_prints_a_link_that_is_theirs(flask: Commands) -> None:
    flask.run("user", "create", "alice@example.com")
    link = link_of(flask, flask.out("user", "reset", "alice@EXAMPLE.com"))
    assert link is not None
    assert link.user_id == load(flask, "alice@example.com").id


def test_a_reset_for_nobody_is_refused(flask: Commands) -> None:
    assert "no user 'nobody@example.com'" in flask.refused("user", "reset", "nobody@example.com")


# Teams


@pytest.fixture
def team(flask: Commands) -> Commands:
    for name in ("alice", "bob", "charlie"):
        flask.run("user", "create", f"{name}@example.com")
    flask.run("team", "create", "Research", "--owner", "alice@example.com")
    return flask


def test_a_team_has_an_account_of_its_own(team: Commands) -> None:
    team.run("topup", "team:research", "100")
    assert team.json("account", "show", "team:RESEARCH")["balance"] == "100.00"
    assert team.json("account", "show", "alice@example.com")["balance"] == "0.00"


def test_bob_joins_and_his_role_can_change(team: Commands) -> None:
    for role in ("owner", "admin", "member", "viewer"):
        said = team.out("team", "add", "Research", "bob@example.com", "--role", role)
        assert said == f"bob@example.com is {role} of team:Research."


def test_the_team_keys_of_whoever_becomes_a_viewer_are_revoked(team: Commands) -> None:
    team.run("team", "add", "Research", "bob@example.com", "--role", "member")
    bot = (
        "key",
        "create",
        "--name",
        "Bot",
        "--account",
        "team:Research",
        "--user",
        "bob@example.com",
    )
    of_the_team = team.out(*bot)
    team.run("key", "create", "--name", "Own", "--account", "bob@example.com")
    said = team.out("team", "add", "Research", "bob@example.com", "--role", "viewer")
    assert f"Revoked their team key {of_the_team[:12]}…{of_the_team[-4:]}." in said
    states = {key["name"]: key["status"] for key in team.json("key", "list")}
    assert states == {"Bot": "revoked", "Own": "active"}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("team", "create", "research", "--owner", "bob@example.com"), "name: there is a team"),
        (("team", "create", " ", "--owner", "bob@example.com"), "name: "),
        (("team", "create", "Sales", "--owner", "nobody@example.com"), "no user"),
        (("team", "add", "Sales", "bob@example.com", "--role", "member"), "no team 'Sales'"),
        (("team", "add", "Research", "nobody@x.org", "--role", "member"), "no user"),
        (("team", "add", "Research", "alice@example.com", "--role", "viewer"), "only owner"),
    ],
)
def test_what_a_team_cannot_be_is_said(
    team: Commands, words: tuple[str, ...], complaint: str
) -> None:
    assert complaint in team.refused(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("team", "create", "Sales"),
        ("team", "add", "Research", "bob@example.com"),
        ("team", "add", "Research", "bob@example.com", "--role", "boss"),
        ("user", "create"),
        ("user", "make", "x@example.com"),
    ],
)
def test_a_misspelt_command_ends_with_status_two(team: Commands, words: tuple[str, ...]) -> None:
    team.refused(*words, status=2)
