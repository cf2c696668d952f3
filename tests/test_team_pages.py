"""Teams in the browser: made, set up, joined, left, deleted; and what each role may do."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboard_world import Browser
from team_world import BY_ROLE, TeamWorld, team_world_in

from modelbridge.dashboard import periods
from modelbridge.identity import teams
from modelbridge.ledger import accounts, postings
from modelbridge.money import NANOS
from modelbridge.store.tables import (
    Account,
    ApiKey,
    AuditEvent,
    DailyUsage,
    Membership,
    Team,
    User,
)


@pytest.fixture
def research(tmp_path: Path) -> Iterator[TeamWorld]:
    with team_world_in(tmp_path) as research:
        yield research


@pytest.fixture
def alice(research: TeamWorld) -> Browser:
    return research.browser("alice")


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).replace("\N{NO-BREAK SPACE}", " ").split())


def hand_over(research: TeamWorld, browser: Browser, path: str, **choices: str) -> str:
    """Sends the form that asks what becomes of keys; choices by key id."""
    fields = {f"key-{key_id}": choice for key_id, choice in choices.items()}
    return browser.client.post(
        path, data={**_hidden(browser, path), **fields}, follow_redirects=True
    ).text


def _hidden(browser: Browser, path: str) -> dict[str, str]:
    page = browser.get(path).text
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert token is not None
    return {"csrf_token": token[1]}


# Made and seen


def test_whoever_makes_a_team_owns_it(research: TeamWorld) -> None:
    charlie = research.browser("charlie")
    assert "No team yet" in charlie.get("/teams").text
    answer = charlie.submit("/teams/new", name="Chess")
    assert answer.status_code == 303
    page = charlie.get(answer.location).text
    assert "You are an <strong>owner</strong> of this team." in page
    assert "AUD 0.00" in words(page)
    with research.world.bridge.database.reading() as session:
        team = session.query(Team).filter_by(name="Chess").one()
        assert team.account_id != research.people["charlie"].account_id


@pytest.mark.parametrize("name", ["", "   ", "research", "x" * 101])
def test_a_refused_name_stays_in_the_form(research: TeamWorld, name: str) -> None:
    answer = research.browser("charlie").submit("/teams/new", name=name)
    assert answer.status_code == 400
    assert 'aria-invalid="true"' in answer.text
    assert f'value="{name}"' in answer.text


def test_the_page_shows_each_role_what_it_may_see(research: TeamWorld) -> None:
    research.invite("dora@example.com")
    for name, role in BY_ROLE.items():
        page = research.browser(name).get(research.path).text
        manages = role in ("owner", "admin")
        assert ("Available" in page) == manages, role
        assert ("dora@example.com" in page) == manages, role
        assert (">Invite" in page.replace("</i> ", ">")) == manages, role
        assert ("Settings" in page) == manages, role
        assert (f"/keys?team={research.team.id}" in page) == (role != "viewer"), role
        assert "bob@example.com" in page, role


def test_the_list_names_the_teams_of_the_person_alone(research: TeamWorld) -> None:
    assert "Research" in research.browser("vera").get("/teams").text
    for name in ("charlie", "olga"):
        assert "Research" not in research.browser(name).get("/teams").text


# Roles


def test_an_owner_changes_roles_and_an_admin_those_below_owners(
    research: TeamWorld, alice: Browser
) -> None:
    alice.submit(research.member_path("vera", "role"), role="admin")
    assert research.role("vera") == "admin"
    amy = research.browser("amy")
    amy.submit(research.member_path("vera", "role"), role="viewer")
    assert research.role("vera") == "viewer"
    assert amy.submit(research.member_path("bob", "role"), role="owner").status_code == 400
    for page in ("role", "remove"):
        path = research.member_path("alice", page)
        assert amy.get(path).status_code == 404
        assert amy.submit("/teams/new", to=path, role="viewer").status_code == 404
    assert (research.role("bob"), research.role("alice")) == ("member", "owner")


def test_nobody_changes_their_own_role(research: TeamWorld, alice: Browser) -> None:
    path = research.member_path("alice", "role")
    assert alice.get(path).status_code == 404
    assert alice.submit("/teams/new", to=path, role="viewer").status_code == 404


def test_with_a_second_owner_the_first_can_be_demoted(research: TeamWorld, alice: Browser) -> None:
    alice.submit(research.member_path("amy", "role"), role="owner")
    amy = research.browser("amy")
    amy.submit(research.member_path("alice", "role"), role="member")
    assert research.role("alice") == "member"
    assert alice.get(f"{research.path}/settings").status_code == 404


def test_who_becomes_a_viewer_hands_over_their_keys(research: TeamWorld, alice: Browser) -> None:
    kept, lost = research.key("bob", "Kept"), research.key("bob", "Lost")
    path = research.member_path("bob", "role")
    assert "A viewer has no keys" in alice.get(path).text
    fields = {f"key-{kept.id}": research.people["alice"].id, "role": "viewer"}
    page = alice.client.post(path, data={**_hidden(alice, path), **fields}, follow_redirects=True)
    assert "1 key was transferred and 1 key was revoked." in page.text
    assert research.fresh_key(kept).user_id == research.people["alice"].id
    assert research.fresh_key(lost).revoked_at is not None


def test_another_role_with_keys_leaves_them_alone(research: TeamWorld, alice: Browser) -> None:
    key = research.key("bob")
    alice.submit(research.member_path("bob", "role"), role="admin")
    assert research.fresh_key(key).revoked_at is None


# Going


def test_a_removed_members_keys_are_transferred_or_revoked(
    research: TeamWorld, alice: Browser
) -> None:
    kept, lost, unnamed = (research.key("bob", name) for name in ("Kept", "Lost", "Unnamed"))
    own = research.world.key(research.people["bob"], "Bob's own")
    others = research.key("amy")
    path = research.member_path("bob", "remove")
    shown = alice.get(path).text
    assert "Bob&#39;s own" not in shown
    assert "Vera" not in shown  # a viewer can't have keys
    page = hand_over(
        research, alice, path, **{kept.id: research.people["amy"].id, lost.id: "revoke"}
    )
    assert "1 key was transferred and 2 keys were revoked." in page
    assert research.role("bob") is None
    assert research.fresh_key(kept).user_id == research.people["amy"].id
    assert research.fresh_key(kept).revoked_at is None
    assert research.fresh_key(lost).revoked_at is not None
    assert research.fresh_key(unnamed).revoked_at is not None
    assert research.fresh_key(own).revoked_at is None
    assert research.fresh_key(others).revoked_at is None
    assert research.browser("bob").get(research.path).status_code == 404


def test_what_somebody_spent_stands_under_their_name_when_they_are_gone(
    research: TeamWorld, alice: Browser
) -> None:
    key, bob = research.key("bob", "Kept"), research.people["bob"]
    today = periods.today("Australia/Sydney")
    with research.world.transaction() as session:
        session.add(
            DailyUsage(day=today.isoformat(), account_id=research.team.account_id, key_id=key.id,
                       user_id=bob.id, model="gpt-exact", mode="live", calls=3, errors=1,
                       cost_nanos=7_000)
        )  # fmt: skip
    path = research.member_path("bob", "remove")
    hand_over(research, alice, path, **{key.id: research.people["amy"].id})
    usage = words(alice.get(f"/usage?team={research.team.id}&by=person").text)
    assert "Bob 3 1 failed 1 0 0 AUD 0.000007" in usage
    month = f"{today:%Y-%m}"
    statement = words(alice.get(f"/billing/statements/{month}?team={research.team.id}").text)
    assert "Bob 2 0 0 AUD 0.000007" in statement


@pytest.mark.parametrize("name", ["vera", "charlie", "bob"])
def test_a_key_goes_to_nobody_who_may_not_have_it(
    research: TeamWorld, alice: Browser, name: str
) -> None:
    key = research.key("bob")
    path = research.member_path("bob", "remove")
    answer = hand_over(research, alice, path, **{key.id: research.people[name].id})
    assert "that person can&#39;t have it" in answer
    assert research.role("bob") == "member"
    assert research.fresh_key(key).revoked_at is None


def test_a_member_who_leaves_leaves_no_key_behind(research: TeamWorld) -> None:
    key = research.key("bob")
    bob = research.browser("bob")
    path = f"{research.path}/leave"
    assert "These are revoked" in bob.get(path).text
    page = hand_over(research, bob, path, **{key.id: research.people["amy"].id})
    # Whoever manages only their own keys can't give them away.
    assert research.role("bob") == "member" or research.fresh_key(key).revoked_at is not None
    assert "You have left" not in page
    bob.submit(path)
    assert research.role("bob") is None
    assert research.fresh_key(key).revoked_at is not None


def test_an_admin_who_leaves_may_give_their_keys_away(research: TeamWorld) -> None:
    key = research.key("amy")
    page = hand_over(
        research,
        research.browser("amy"),
        f"{research.path}/leave",
        **{key.id: research.people["bob"].id},
    )
    assert "You have left “Research”. 1 key was transferred." in page
    assert research.fresh_key(key).user_id == research.people["bob"].id


def test_the_last_owner_cannot_go(research: TeamWorld, alice: Browser) -> None:
    path = f"{research.path}/leave"
    assert "only owner" in alice.get(path).text
    answer = alice.submit("/teams/new", to=path)
    assert answer.status_code == 409
    assert "only owner" in answer.text
    assert research.role("alice") == "owner"


def test_a_disabled_owner_does_not_count(research: TeamWorld, alice: Browser) -> None:
    with research.world.transaction() as session:
        amy = session.get_one(User, research.people["amy"].id)
        teams.add_member(session, research.team, amy, "owner")
        amy.disabled_at = amy.created_at
    assert alice.submit("/teams/new", to=f"{research.path}/leave").status_code == 409


# Settings


def test_settings_are_saved_and_shown(research: TeamWorld, alice: Browser) -> None:
    path = f"{research.path}/settings"
    fields = {"name": "Search", "limit": "12.50", "window": "week", "time_zone": "Europe/Berlin"}
    assert alice.submit(path, **fields).status_code == 303
    page = words(alice.get(research.path).text)
    assert "AUD 12.50 per week" in page
    assert "Europe/Berlin" in page
    with research.world.bridge.database.reading() as session:
        account = session.get_one(Account, research.team.account_id)
        assert (account.limit_nanos, account.limit_window) == (12_500_000_000, "week")
    alice.submit(path, **{**fields, "limit": "", "window": "week"})
    with research.world.bridge.database.reading() as session:
        account = session.get_one(Account, research.team.account_id)
        assert (account.limit_nanos, account.limit_window) == (None, "none")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("limit", "much"),
        ("limit", "-1"),
        ("time_zone", "Mars/Olympus"),
        ("window", "year"),
    ],
)
def test_refused_settings_change_nothing(
    research: TeamWorld, alice: Browser, field: str, value: str
) -> None:
    fields = {"name": "Search", "limit": "1", "window": "day", "time_zone": "UTC", field: value}
    answer = alice.submit(f"{research.path}/settings", **fields)
    assert answer.status_code == 400
    assert 'aria-invalid="true"' in answer.text
    with research.world.bridge.database.reading() as session:
        team = session.get_one(Team, research.team.id)
        assert (team.name, team.account.limit_nanos) == ("Research", None)


def test_a_team_with_money_is_not_deleted(research: TeamWorld, alice: Browser) -> None:
    with research.world.transaction() as session:
        postings.top_up(session, research.team.account_id, 3 * NANOS)
    path = f"{research.path}/delete"
    assert "There is still money on its account" in words(alice.get(path).text)
    answer = alice.submit("/teams/new", to=path)
    assert answer.status_code == 409
    assert "There is money on its account still" in words(answer.text)
    assert research.role("bob") == "member"


def test_a_deleted_team_keeps_its_rows_and_nothing_else(
    research: TeamWorld, alice: Browser
) -> None:
    key, token = research.key("bob"), research.invite("dora@example.com").token
    answer = alice.submit(f"{research.path}/delete")
    assert (answer.status_code, answer.location) == (303, "/teams")
    assert research.fresh_key(key).revoked_at is not None
    for name in BY_ROLE:
        assert research.browser(name).get(research.path).status_code == 404
    assert research.world.browser().get(f"/invitations/{token}").status_code == 410
    with research.world.bridge.database.reading() as session:
        assert session.query(Membership).filter_by(team_id=research.team.id).count() == 0
        assert session.get_one(Team, research.team.id).name == "Research"
        assert accounts.account_view(session, research.team.account_id).balance_nanos == 0
    assert research.browser("charlie").submit("/teams/new", name="Research").status_code == 303


def test_what_happened_to_a_team_is_in_the_audit_log(research: TeamWorld, alice: Browser) -> None:
    research.key("bob", "Bob's")
    alice.submit(research.member_path("vera", "role"), role="member")
    alice.submit(research.member_path("bob", "remove"))
    with research.world.bridge.database.reading() as session:
        found = {(event.actor, event.action): event.details for event in session.query(AuditEvent)}
        assert session.query(ApiKey).filter(ApiKey.revoked_at.is_not(None)).count() == 1
    assert found[("alice@example.com", "team.change_role")] == {
        "email": "vera@example.com", "before": "viewer", "after": "member",
    }  # fmt: skip
    assert found[("alice@example.com", "team.remove_member")] == {"email": "bob@example.com"}
    assert ("alice@example.com", "key.revoke") in found
