"""Teams: names, members and roles."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from modelbridge.identity import teams, users
from modelbridge.ledger.accounts import open_account
from modelbridge.store import migrate
from modelbridge.store.database import Database
from modelbridge.store.tables import Team, User


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = Database(tmp_path / "modelbridge.db")
    migrate.upgrade(database.engine)
    with database.transaction() as session:
        yield session
    database.close()


@pytest.fixture
def alice(session: Session) -> User:
    return person(session, "alice@example.com")


@pytest.fixture
def bob(session: Session) -> User:
    return person(session, "bob@example.com")


def person(session: Session, email: str) -> User:
    account_id = open_account(session, "user").id
    return users.create_user(session, email=email, account_id=account_id)


def make(session: Session, owner: User, name: str = "Research") -> Team:
    account_id = open_account(session, "team").id
    return teams.create_team(session, name=name, owner=owner, account_id=account_id)


def test_alice_owns_the_team_that_she_makes(session: Session, alice: User) -> None:
    team = make(session, alice)
    membership = teams.membership_of(session, team, alice)
    assert membership is not None
    assert membership.role == "owner"
    assert team.account_id != alice.account_id


def test_a_team_is_found_whatever_the_case_width_and_spacing(session: Session, alice: User) -> None:
    team = make(session, alice, "  Team   Straße ")
    assert team.name == "Team Straße"
    for written in ("Team Straße", "team STRASSE", "team  straße", "Ｔｅａｍ straße"):
        assert teams.find_team(session, written) is team, written
    assert teams.find_team(session, "team") is None


def test_a_name_is_taken_once(session: Session, alice: User, bob: User) -> None:
    make(session, alice, "Research")
    with pytest.raises(ValueError, match=r"^name: there is a team 'RESEARCH' already"):
        make(session, bob, "RESEARCH")


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x00b", "a\u202eb"])
def test_a_name_that_cannot_be_shown_is_refused(session: Session, alice: User, name: str) -> None:
    with pytest.raises(ValueError, match=r"^name: "):
        make(session, alice, name)


def test_members_hold_keys_and_viewers_and_strangers_do_not(
    session: Session, alice: User, bob: User
) -> None:
    team = make(session, alice)
    assert not teams.may_hold_keys(teams.membership_of(session, team, bob))
    for role, may in (("member", True), ("admin", True), ("viewer", False), ("owner", True)):
        assert teams.may_hold_keys(teams.add_member(session, team, bob, role)) == may, role


def test_adding_bob_again_changes_his_role(session: Session, alice: User, bob: User) -> None:
    team = make(session, alice)
    first = teams.add_member(session, team, bob, "viewer")
    assert teams.add_member(session, team, bob, "admin") is first
    assert first.role == "admin"


def test_a_team_keeps_an_owner(session: Session, alice: User, bob: User) -> None:
    team = make(session, alice)
    with pytest.raises(ValueError, match=r"^role: alice@example.com is the only owner"):
        teams.add_member(session, team, alice, "member")
    teams.add_member(session, team, bob, "owner")
    assert teams.add_member(session, team, alice, "member").role == "member"


def test_an_unknown_role_is_refused(session: Session, alice: User, bob: User) -> None:
    with pytest.raises(ValueError, match=r"^role: must be one of owner"):
        teams.add_member(session, make(session, alice), bob, "boss")
