"""Invitations: a link for one address, once, for 72 hours, with a role not above the inviter's."""

import re
import smtplib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from dashboard_world import Browser
from team_world import TeamWorld, team_world_in

from modelbridge.identity import invitations, preferences, teams
from modelbridge.store.tables import AuditEvent, Invitation, Membership, User

DORA = "dora@example.com"
GOOD = "wholly unrelated otters"


@pytest.fixture
def research(tmp_path: Path) -> Iterator[TeamWorld]:
    with team_world_in(tmp_path, MODELBRIDGE_PUBLIC_URL="http://bridge.test:8000") as research:
        yield research


def link_in(page: str) -> str:
    found = re.search(r"http://bridge\.test:8000(/invitations/[\w-]{43})", page)
    assert found is not None
    return found[1]


def send(browser: Browser, research: TeamWorld, email: str = DORA, role: str = "member") -> str:
    return browser.submit(f"{research.path}/invite", email=email, role=role).text


def register(browser: Browser, link: str, **fields: str) -> Any:
    """Sends the form for newcomers, whether or not the page shows it."""
    return browser.submit("/login", to=link, **{"name": "Dora", "password": GOOD, **fields})


def test_a_newcomer_registers_with_the_link_and_is_in(research: TeamWorld) -> None:
    link = link_in(send(research.browser("alice"), research, role="admin"))
    dora = research.world.browser()
    assert "Alice" in dora.get(link).text
    answer = register(dora, link)
    assert (answer.status_code, answer.location) == (303, research.path)
    page = dora.get(research.path).text
    assert "You are in “Research” now." in page
    assert "an <strong>admin</strong>" in page
    assert dora.get("/account").status_code == 200


def test_the_link_works_once(research: TeamWorld) -> None:
    link = link_in(send(research.browser("alice"), research))
    register(research.world.browser(), link)
    again = research.world.browser()
    assert again.get(link).status_code == 410
    assert register(again, link).status_code == 410


def test_the_link_dies_after_72_hours(research: TeamWorld) -> None:
    with time_machine.travel(datetime(2026, 5, 1, tzinfo=UTC)) as traveller:
        link = link_in(send(research.browser("alice"), research))
        traveller.shift(timedelta(hours=71, minutes=59))
        assert research.world.browser().get(link).status_code == 200
        traveller.shift(timedelta(minutes=1, seconds=1))
        assert research.world.browser().get(link).status_code == 410


def test_nobody_makes_the_bridge_write_to_the_whole_world(
    research: TeamWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_A_DAY", 3)
    with time_machine.travel(datetime(2026, 5, 1, tzinfo=UTC)) as traveller:
        alice = research.browser("alice")
        for number in range(3):
            link_in(send(alice, research, f"somebody{number}@example.com"))
        refused = send(alice, research, "one-more@example.com")
        assert "http://bridge.test:8000/invitations/" not in refused
        assert "3 invitations in the last day" in refused
        traveller.shift(timedelta(days=1, seconds=1))
        assert link_in(send(alice, research, "one-more@example.com"))


def test_only_the_hash_of_the_token_is_stored(research: TeamWorld) -> None:
    token = link_in(send(research.browser("alice"), research)).rpartition("/")[2]
    for file in research.world.bridge.settings.data_dir.glob("modelbridge.db*"):
        assert token.encode() not in file.read_bytes()


def test_somebody_with_an_account_logs_in_and_joins(research: TeamWorld) -> None:
    link = link_in(send(research.browser("alice"), research, "charlie@example.com", "viewer"))
    charlie = research.world.browser()
    assert f"/login?next={link}" in charlie.get(link).text
    assert charlie.log_in("charlie@example.com").status_code == 303
    assert "Join the team" in charlie.get(link).text
    assert research.role("charlie") is None
    assert charlie.submit(link).location == research.path
    assert research.role("charlie") == "viewer"


def test_a_link_is_worth_nothing_to_somebody_with_another_address(research: TeamWorld) -> None:
    link = link_in(send(research.browser("alice"), research))
    charlie = research.browser("charlie")
    assert "You are logged in as" in charlie.get(link).text
    assert charlie.submit(link).status_code == 200
    assert research.role("charlie") is None
    assert research.world.browser().get(link).status_code == 200


def test_an_address_with_an_account_cannot_be_registered_again(research: TeamWorld) -> None:
    link = link_in(send(research.browser("alice"), research, "charlie@example.com"))
    answer = register(research.world.browser(), link)
    assert "has an account here" in answer.text
    assert research.role("charlie") is None


@pytest.mark.parametrize(
    ("name", "role", "may"),
    [
        ("alice", "owner", True),
        ("alice", "viewer", True),
        ("amy", "owner", False),
        ("amy", "admin", True),
    ],
)
def test_nobody_gives_a_role_above_their_own(
    research: TeamWorld, name: str, role: str, may: bool
) -> None:
    answer = research.browser(name).submit(f"{research.path}/invite", email=DORA, role=role)
    assert answer.status_code == (200 if may else 400)
    with research.world.bridge.database.reading() as session:
        assert session.query(Invitation).count() == int(may)


@pytest.mark.parametrize("name", ["bob", "vera", "charlie", "olga"])
def test_only_owners_and_admins_invite(research: TeamWorld, name: str) -> None:
    browser = research.browser(name)
    assert browser.get(f"{research.path}/invite").status_code == 404
    answer = browser.submit("/keys", to=f"{research.path}/invite", email=DORA, role="viewer")
    assert answer.status_code == 404


def test_a_member_is_not_invited_again(research: TeamWorld) -> None:
    page = send(research.browser("alice"), research, "Bob@Example.com")
    assert "A member of the team has this address already" in page


@pytest.mark.parametrize("email", ["", "nobody", "a@b@c"])
def test_a_malformed_address_is_refused_and_kept(research: TeamWorld, email: str) -> None:
    answer = research.browser("alice").submit(f"{research.path}/invite", email=email, role="viewer")
    assert answer.status_code == 400
    assert f'value="{email}"' in answer.text


def test_a_second_invitation_replaces_the_first(research: TeamWorld) -> None:
    alice = research.browser("alice")
    first, second = link_in(send(alice, research)), link_in(send(alice, research, role="viewer"))
    assert research.world.browser().get(first).status_code == 410
    assert research.world.browser().get(second).status_code == 200


def test_a_revoked_invitation_is_gone_and_the_page_names_it(research: TeamWorld) -> None:
    alice = research.browser("alice")
    link = link_in(send(alice, research))
    page = alice.get(research.path).text
    path = re.search(rf"{research.path}/invitations/\w+/revoke", page)
    assert path is not None
    assert DORA in alice.get(path[0]).text
    assert research.world.browser().get(link).status_code == 200
    alice.submit(path[0])
    assert research.world.browser().get(link).status_code == 410
    assert "Open invitations" not in alice.get(research.path).text
    assert "It is over already: it was revoked." in alice.get(path[0]).text


def test_a_foreign_invitation_is_not_there(research: TeamWorld) -> None:
    new = research.invite(DORA)
    charlie = research.browser("charlie")
    charlie.submit("/teams/new", name="Charlie's")
    own = re.search(r"/teams/team_\w+", charlie.get("/teams").text)
    assert own is not None
    path = f"{own[0]}/invitations/{new.row.id}/revoke"
    assert charlie.get(path).status_code == 404
    assert charlie.submit("/keys", to=path).status_code == 404


def test_an_invitation_dies_with_the_inviters_place(research: TeamWorld) -> None:
    link = f"/invitations/{research.invite(DORA, 'admin', by='amy').token}"
    stranger = research.world.browser()
    assert stranger.get(link).status_code == 200
    with research.world.transaction() as session:
        amy = session.get_one(Membership, (research.team.id, research.people["amy"].id))
        teams.add_member(session, amy.team, amy.user, "member")
    assert stranger.get(link).status_code == 410
    assert register(stranger, link).status_code == 410
    assert "Open invitations" not in research.browser("alice").get(research.path).text


def test_while_registration_is_closed_only_people_with_an_account_join(
    research: TeamWorld,
) -> None:
    with research.world.transaction() as session:
        preferences.set_registration(session, "closed")
    newcomer = research.world.browser()
    link = f"/invitations/{research.invite(DORA).token}"
    assert "takes no new ones" in newcomer.get(link).text
    assert register(newcomer, link).status_code == 200
    with research.world.bridge.database.reading() as session:
        assert session.query(User).filter_by(email=DORA).count() == 0
    charlie = research.browser("charlie")
    assert charlie.submit(f"/invitations/{research.invite('charlie@example.com').token}")
    assert research.role("charlie") == "member"


@pytest.mark.parametrize("password", ["short", "dora@example.com", ""])
def test_a_refused_registration_keeps_the_name_and_the_link(
    research: TeamWorld, password: str
) -> None:
    link = f"/invitations/{research.invite(DORA).token}"
    browser = research.world.browser()
    answer = register(browser, link, name="Dora Dean", password=password)
    assert answer.status_code == 400
    assert 'value="Dora Dean"' in answer.text
    assert register(browser, link).status_code == 303


def test_whoever_was_added_meanwhile_keeps_their_role(research: TeamWorld) -> None:
    link = f"/invitations/{research.invite('charlie@example.com', 'viewer').token}"
    with research.world.transaction() as session:
        charlie = session.get_one(User, research.people["charlie"].id)
        teams.add_member(session, research.team, charlie, "admin")
    research.browser("charlie").submit(link)
    assert research.role("charlie") == "admin"


def test_the_link_is_mailed_where_a_server_is_set_and_copied_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []

    class Server:
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...
        def __enter__(self) -> "Server":
            return self

        def __exit__(self, *args: object) -> None: ...
        def starttls(self, **kwargs: Any) -> None: ...
        def send_message(self, message: Any) -> None:
            sent.append(message)

    monkeypatch.setattr(smtplib, "SMTP", Server)
    settings = {
        "MODELBRIDGE_PUBLIC_URL": "http://bridge.test:8000",
        "MODELBRIDGE_SMTP_HOST": "mail.test",
        "MODELBRIDGE_SMTP_FROM": "bridge@bridge.test",
    }
    with team_world_in(tmp_path, **settings) as research:
        page = send(research.browser("alice"), research)
    (message,) = sent
    assert message["To"] == DORA
    assert link_in(page) in message.get_content()
    assert "was mailed to dora@example.com" in page


def test_what_happened_is_in_the_audit_log(research: TeamWorld) -> None:
    link = link_in(send(research.browser("alice"), research))
    register(research.world.browser(), link)
    with research.world.bridge.database.reading() as session:
        events = [(event.actor, event.action) for event in session.query(AuditEvent)]
    assert ("alice@example.com", "team.invite") in events
    assert (DORA, "team.join") in events
