"""Keys of a team in the browser, changed keys, rotated keys; and that the API obeys."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from dashboard_world import Browser
from furnished_world import furnish
from ledger_world import World as Ledger
from team_world import BY_ROLE, TeamWorld, team_world_in

from modelbridge import clock, ids
from modelbridge.identity import keys, rotation
from modelbridge.ledger import limits
from modelbridge.money import NANOS
from modelbridge.store.tables import Account, ApiKey, AuditEvent, RetiredSecret

_KEY = re.compile(ids.KEY_PATTERN)


@pytest.fixture
def research(tmp_path: Path) -> Iterator[TeamWorld]:
    with team_world_in(tmp_path, MODELBRIDGE_PUBLIC_URL="http://bridge.test:8000") as research:
        yield research


@pytest.fixture
def bob(research: TeamWorld) -> Browser:
    return research.browser("bob")


def create(browser: Browser, research: TeamWorld, **fields: str) -> str:
    wanted = {
        "name": "Notebook", "account": research.team.id, "mode": "test", "window": "none",
        "expires": "never",
    }  # fmt: skip
    return browser.submit("/keys/new", **{**wanted, **fields}).text


def secret_in(page: str) -> str:
    found = set(_KEY.findall(page))
    assert len(found) == 1
    return str(found.pop())


def asks(research: TeamWorld, secret: str) -> tuple[int, Any]:
    """What the bridge tells this key about itself."""
    answer = research.world.app.test_client().get(
        "/v1/key", headers={"Authorization": f"Bearer {secret}"}
    )
    return answer.status_code, answer.get_json()


def only_key(research: TeamWorld) -> ApiKey:
    with research.world.bridge.database.reading() as session:
        found: ApiKey = session.query(ApiKey).one()
        return found


# Made


def test_a_member_makes_a_key_that_the_team_pays_for(research: TeamWorld, bob: Browser) -> None:
    assert asks(research, secret_in(create(bob, research)))[0] == 200
    key = only_key(research)
    assert key.account_id == research.team.account_id
    assert key.user_id == research.people["bob"].id


def test_the_form_offers_personal_and_the_teams_where_one_may_have_keys(
    research: TeamWorld,
) -> None:
    for name, role in BY_ROLE.items():
        page = research.browser(name).get("/keys/new").text
        assert (f'value="{research.team.id}"' in page) == (role != "viewer"), role
        assert 'value="personal"' in page
    page = research.browser("bob").get(f"/keys/new?team={research.team.id}").text
    assert f'<option selected value="{research.team.id}">' in page


@pytest.mark.parametrize("name", ["vera", "charlie", "olga"])
def test_whoever_may_have_no_team_key_makes_none(research: TeamWorld, name: str) -> None:
    browser = research.browser(name)
    answer = browser.submit(
        "/keys/new", name="X", account=research.team.id, mode="live", expires="never"
    )
    assert answer.status_code == 400
    path = f"/keys/new?team={research.team.id}"
    assert browser.get(path).status_code == 404
    assert browser.submit("/keys/new", to=path, name="X", mode="live").status_code == 404
    with research.world.bridge.database.reading() as session:
        assert session.query(ApiKey).count() == 0


def test_a_day_ends_where_the_team_is(research: TeamWorld, bob: Browser) -> None:
    with research.world.transaction() as session:
        limits.set_account_time_zone(session, research.team.account_id, "America/New_York")
    create(bob, research, expires="date", expires_on="2099-01-31")
    wanted = datetime(2099, 1, 31, 23, 59, 59, tzinfo=ZoneInfo("America/New_York"))
    assert only_key(research).expires_at == wanted.astimezone(UTC)


# Listed


def test_a_member_sees_own_keys_and_managers_all(research: TeamWorld) -> None:
    research.key("bob", "Bob's"), research.key("amy", "Amy's")
    research.world.key(research.people["bob"], "Bob's own")
    path = f"/keys?team={research.team.id}"
    seen = {
        name: {
            key
            for key in ("Bob&#39;s", "Amy&#39;s")
            if f">{key}<" in research.browser(name).get(path).text
        }
        for name in ("alice", "amy", "bob")
    }
    both = {"Bob&#39;s", "Amy&#39;s"}
    assert seen == {"alice": both, "amy": both, "bob": {"Bob&#39;s"}}
    assert "Bob&#39;s own" not in research.browser("bob").get(path).text


def test_the_switcher_appears_with_the_first_team(research: TeamWorld) -> None:
    assert "Whose account" not in research.browser("charlie").get("/keys").text
    page = research.browser("bob").get("/keys").text
    assert "Whose account" in page
    assert f'href="/keys?team={research.team.id}"' in page


def test_only_managers_see_the_balance_of_the_team(research: TeamWorld, bob: Browser) -> None:
    path = f"/keys?team={research.team.id}"
    assert "available" in research.browser("amy").get(path).text
    assert "available" not in bob.get(path).text


def test_a_long_list_has_pages(research: TeamWorld, bob: Browser) -> None:
    for number in range(53):
        research.key("bob", f"Key number {number:02}")
    path = f"/keys?team={research.team.id}"
    first, second = bob.get(path).text, bob.get(f"{path}&page=2").text
    assert first.count("Key number") // second.count("Key number") > 10
    assert "Page 1 of 2 (53 in all)" in first
    assert f'href="/keys?page=2&amp;team={research.team.id}"' in first
    assert "Key number 00" in second
    for odd in ("0", "-1", "3", "99999999999999999999", "x", "²"):
        assert bob.get(f"{path}&page={odd}").status_code == 200


# Changed


def test_a_key_is_changed_and_keeps_its_secret(research: TeamWorld, bob: Browser) -> None:
    secret = secret_in(create(bob, research))
    key = only_key(research)
    fields = {
        "name": "Bench", "limit": "2.5", "window": "day", "expires": "30",
        "models": "gpt-5.4, claude-sonnet-4-6",
    }  # fmt: skip
    answer = bob.submit(f"/keys/{key.id}/edit", **fields)
    assert answer.location == f"/keys/{key.id}"
    changed = research.fresh_key(key)
    assert changed.name == "Bench"
    assert (changed.limit_nanos, changed.limit_window) == (2_500_000_000, "day")
    assert changed.models == ["gpt-5.4", "claude-sonnet-4-6"]
    assert changed.expires_at is not None
    assert asks(research, secret)[1]["limit"] == "2.50"
    shown = bob.get(f"/keys/{key.id}/edit").text
    for text in ('value="Bench"', 'value="2.50"', "gpt-5.4, claude-sonnet-4-6", "As it is ("):
        assert text in shown
    bob.submit(f"/keys/{key.id}/edit", name="Bench", window="none", expires="keep")
    again = research.fresh_key(key)
    assert again.expires_at == changed.expires_at
    assert (again.limit_nanos, again.models) == (None, None)


def test_an_expired_key_comes_back_with_a_later_expiry(research: TeamWorld, bob: Browser) -> None:
    key = research.key("bob", expires_at=clock.now() + timedelta(hours=1))
    with time_machine.travel(clock.now() + timedelta(hours=2)):
        browser = research.browser("bob")
        assert "has expired" in browser.get(f"/keys/{key.id}/rotate").text
        renamed = {"name": "Still over", "window": "none", "expires": "keep"}
        assert browser.submit(f"/keys/{key.id}/edit", **renamed).status_code == 303
        assert keys.status(research.fresh_key(key), 0) == "expired"
        browser.submit(f"/keys/{key.id}/edit", **{**renamed, "expires": "7"})
        assert keys.status(research.fresh_key(key), 0) == "active"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("limit", "five"),
        ("expires", "date"),
        ("models", "a b"),
    ],
)
def test_a_refused_change_keeps_what_was_typed(
    research: TeamWorld, bob: Browser, field: str, value: str
) -> None:
    key = research.key("bob", "Before")
    fields = {"name": "After", "limit": "", "window": "none", "expires": "never", field: value}
    answer = bob.submit(f"/keys/{key.id}/edit", **fields)
    assert answer.status_code == 400
    assert 'aria-invalid="true"' in answer.text
    if field != "name":
        assert 'value="After"' in answer.text
    assert research.fresh_key(key).name == "Before"


def test_a_revoked_key_has_nothing_to_change(research: TeamWorld, bob: Browser) -> None:
    key = research.key("bob")
    bob.submit(f"/keys/{key.id}/revoke")
    page = bob.get(f"/keys/{key.id}").text
    assert "Revoked" in page
    assert "/edit" not in page
    assert bob.get(f"/keys/{key.id}/edit").status_code == 303
    assert "is revoked" in bob.get(f"/keys/{key.id}/rotate").text
    answer = bob.submit("/keys", to=f"/keys/{key.id}/rotate", overlap="1", replaces=keys.hint(key))
    assert answer.status_code == 400


def test_the_page_shows_what_the_key_spent(research: TeamWorld) -> None:
    things = furnish(research)
    page = research.browser("alice").get(f"/keys/{things.team_key.id}").text
    assert "Spend of the last 30 days" in page
    assert f"/usage?key={things.team_key.id}&amp;team={research.team.id}" in page
    assert "1 call in the last 30 days</a>" in page
    assert f"/receipts/{things.team_call}" in page
    assert "gpt-exact" in page
    assert "No call has been made" in (
        research.browser("bob").get(f"/keys/{things.members_key.id}").text
    )


# Rotated


def rotate(browser: Browser, key: ApiKey, hours: str) -> str:
    return browser.submit(f"/keys/{key.id}/rotate", overlap=hours).text


def test_both_secrets_work_until_the_overlap_is_over(research: TeamWorld, bob: Browser) -> None:
    old = secret_in(create(bob, research))
    key = only_key(research)
    page = rotate(bob, key, "24")
    new = secret_in(page)
    assert "has a new secret" in page
    assert new != old
    assert "The old secret" in bob.get(f"/keys/{key.id}").text
    assert asks(research, old)[1]["id"] == asks(research, new)[1]["id"] == key.id
    with time_machine.travel(clock.now() + timedelta(hours=23, minutes=59)):
        assert asks(research, old)[0] == 200
    with time_machine.travel(clock.now() + timedelta(hours=24, seconds=1)):
        assert asks(research, old)[0] == 401
        assert asks(research, new)[0] == 200
    assert only_key(research).id == key.id


def test_without_overlap_the_old_secret_ends_at_once(research: TeamWorld, bob: Browser) -> None:
    old = secret_in(create(bob, research))
    new = secret_in(rotate(bob, only_key(research), "0"))
    assert (asks(research, old)[0], asks(research, new)[0]) == (401, 200)


def test_a_revoked_key_opens_with_neither_secret(research: TeamWorld, bob: Browser) -> None:
    old = secret_in(create(bob, research))
    new = secret_in(rotate(bob, only_key(research), "72"))
    bob.submit(f"/keys/{only_key(research).id}/revoke")
    for secret in (old, new):
        status, body = asks(research, secret)
        assert (status, body["error"]["code"]) == (401, "api_key_revoked")


def test_an_overlap_can_be_ended_early(research: TeamWorld, bob: Browser) -> None:
    old = secret_in(create(bob, research))
    key = only_key(research)
    older = secret_in(rotate(bob, key, "72"))
    new = secret_in(rotate(bob, key, "72"))
    path = f"/keys/{key.id}/end-overlap"
    assert bob.get(path).text.count("…") >= 2
    assert bob.submit(path).status_code == 303
    assert [asks(research, secret)[0] for secret in (old, older, new)] == [401, 401, 200]
    assert "No earlier secret" in bob.get(path).text


@pytest.mark.parametrize("hours", ["73", "-1", "", "x", "1.5", "1e9"])
def test_an_overlap_out_of_range_is_refused(research: TeamWorld, bob: Browser, hours: str) -> None:
    secret = secret_in(create(bob, research))
    answer = bob.submit(f"/keys/{only_key(research).id}/rotate", overlap=hours)
    assert answer.status_code == 400
    assert asks(research, secret)[0] == 200
    with research.world.bridge.database.reading() as session:
        assert session.query(RetiredSecret).count() == 0


def test_a_form_that_is_sent_twice_rotates_once(research: TeamWorld, bob: Browser) -> None:
    create(bob, research)
    key = only_key(research)
    page = bob.get(f"/keys/{key.id}/rotate").text
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert token is not None
    fields = {"csrf_token": token[1], "replaces": keys.hint(key), "overlap": "1"}
    new = secret_in(bob.post(f"/keys/{key.id}/rotate", **fields).text)
    again = bob.post(f"/keys/{key.id}/rotate", **fields)
    assert again.status_code == 409
    assert not _KEY.search(again.text)
    assert asks(research, new)[0] == 200


def test_what_was_spent_goes_on_with_the_new_secret(research: TeamWorld) -> None:
    things = furnish(research)
    key = things.team_key
    ledger = Ledger(
        research.world.bridge, research.team.account_id, "", {key.id: str(key.account_id)}
    )
    before = ledger.spent(key.id)
    rotate(research.browser("alice"), key, "1")
    ledger.spend(key.id, 500)
    assert ledger.spent(key.id) == before + 500 * ledger.TOKEN
    assert ledger.problems() == []


def test_a_retired_secret_still_names_its_key(research: TeamWorld, bob: Browser) -> None:
    old = secret_in(create(bob, research))
    key = only_key(research)
    rotate(bob, key, "0")
    with research.world.bridge.database.reading() as session:
        for text in (old, old[:12], f"{old[:12]}…{old[-4:]}"):
            assert [found.id for found in keys.find_by_prefix(session, text)] == [key.id], text
        assert keys.find_by_prefix(session, ids.new_api_key(test=True)) == []


def test_a_manager_rotates_and_revokes_the_keys_of_others(research: TeamWorld) -> None:
    key = research.key("bob", test=True)
    amy = research.browser("amy")
    assert asks(research, secret_in(rotate(amy, key, "0")))[0] == 200
    assert "Bob" in amy.get(f"/keys/{key.id}").text
    amy.submit(f"/keys/{key.id}/revoke")
    assert research.fresh_key(key).revoked_at is not None


def test_what_happened_to_a_key_is_in_the_audit_log(research: TeamWorld, bob: Browser) -> None:
    secret = secret_in(create(bob, research))
    key = only_key(research)
    bob.submit(f"/keys/{key.id}/edit", name="B", limit="1", window="day", expires="never")
    new = secret_in(rotate(bob, key, "1"))
    bob.submit(f"/keys/{key.id}/revoke")
    with research.world.bridge.database.reading() as session:
        events = session.query(AuditEvent).filter_by(subject_kind="key").all()
    actions = [event.action for event in events]
    assert actions == ["key.create", "key.edit", "key.rotate", "key.revoke"]
    for event in events:
        written = f"{event.subject} {event.details}"
        assert secret not in written
        assert new not in written


# Time zones


def test_a_new_time_zone_sorts_what_was_spent_into_its_own_days(research: TeamWorld) -> None:
    noon_in_sydney = datetime(2026, 5, 4, 2, tzinfo=UTC)  # in New York it is the evening before
    with time_machine.travel(noon_in_sydney) as traveller:
        things = furnish(research)
        key = things.team_key
        with research.world.transaction() as session:
            limits.set_key_limit(session, key.id, 10 * NANOS, "day")
            limits.set_account_limit(session, research.team.account_id, 10 * NANOS, "day")
        ledger = Ledger(
            research.world.bridge, research.team.account_id, "", {key.id: str(key.account_id)}
        )
        spent = ledger.spent(key.id)
        assert spent > 0
        with research.world.transaction() as session:
            limits.set_account_time_zone(session, research.team.account_id, "America/New_York")
        assert (ledger.spent(key.id), ledger.account.spent_nanos) == (spent, spent)
        traveller.shift(timedelta(hours=2, minutes=1))  # past midnight in New York
        assert (ledger.spent(key.id), ledger.account.spent_nanos) == (0, 0)
        with research.world.transaction() as session:
            limits.set_account_time_zone(session, research.team.account_id, "Australia/Sydney")
        assert (ledger.spent(key.id), ledger.account.spent_nanos) == (spent, spent)
        assert ledger.problems() == []


def test_an_unknown_time_zone_is_refused(research: TeamWorld) -> None:
    with (
        research.world.transaction() as session,
        pytest.raises(ValueError, match=r"^time_zone: 'Mars' is not a zone"),
    ):
        limits.set_account_time_zone(session, research.team.account_id, "Mars")
    with research.world.bridge.database.reading() as session:
        account = session.get_one(Account, research.team.account_id)
        assert account.time_zone == "Australia/Sydney"


def test_a_test_key_rotates_to_a_test_key(research: TeamWorld) -> None:
    key = research.key("bob", test=True)
    with research.world.transaction() as session:
        new = rotation.rotate(session, session.get_one(ApiKey, key.id), 0)
    assert new.secret.startswith("mb_test_")
    assert ids.is_well_formed_key(new.secret)
