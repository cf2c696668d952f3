"""Administration of people, teams and accounts: what an administrator can do, and nobody else."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from dashboard_world import PASSWORD, Browser, World, hidden_fields, world_in
from people import TestBridge

from modelbridge.identity import teams, users
from modelbridge.ledger import accounts
from modelbridge.store.tables import AuditEvent, User

ALICE, BOB, CHARLIE = "alice@example.com", "bob@example.com", "charlie@example.com"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path, MODELBRIDGE_PUBLIC_URL="http://bridge.test:8000") as world:
        yield world


@pytest.fixture
def alice(world: World) -> User:
    return world.person(ALICE, name="Alice", is_admin=True)


@pytest.fixture
def bob(world: World) -> User:
    return world.person(BOB, name="Bob")


@pytest.fixture
def browser(world: World, alice: User) -> Browser:
    return world.browser(ALICE)


def link_on(page: str) -> str:
    found = re.search(r'<code id="link">http://bridge\.test:8000(/reset/[^<]+)</code>', page)
    assert found is not None
    return found[1]


def person(world: World, user: User) -> User:
    with world.bridge.database.reading() as session:
        found: User = session.get_one(User, user.id)
    return found


def actions(world: World) -> list[str]:
    with world.bridge.database.reading() as session:
        found = session.query(AuditEvent).order_by(AuditEvent.sequence)
        return [one.action for one in found if not one.action.startswith("session.")]


def admin_paths(world: World, user: User) -> list[tuple[str, str]]:
    """Every path of the administration with each of its methods."""
    values = {"user_id": user.id, "action": "disable", "name": "openai"}
    adapter = world.app.url_map.bind("localhost")
    return [
        (method, adapter.build(rule.endpoint, values))
        for rule in world.app.url_map.iter_rules()
        if rule.endpoint.startswith("admin.")
        for method in sorted((rule.methods or set()) & {"GET", "POST"})
    ]  # fmt: skip


def test_for_anybody_but_administrators_these_pages_do_not_exist(
    world: World, alice: User, bob: User
) -> None:
    paths = admin_paths(world, alice)
    assert len(paths) > 25
    browser = world.browser(BOB)
    token = hidden_fields(browser.get("/docs/quickstart").text)["csrf_token"]
    for method, path in paths:
        answer = browser.get(path) if method == "GET" else browser.post(path, csrf_token=token)
        assert answer.status_code == 404, (method, path)
        stranger = world.browser()
        assert (stranger.get(path) if method == "GET" else stranger.post(path)).status_code == 303
    assert person(world, alice).disabled_at is None
    assert "Administration" not in browser.get("/docs/quickstart").text


def test_a_new_person_gets_a_link_to_choose_a_password(world: World, browser: Browser) -> None:
    page = browser.submit("/admin/users/new", email="Bob@Example.com", name="Bob").text
    assert "bob@example.com is added" in page
    bob = world.browser()
    assert bob.submit(link_on(page), password=PASSWORD).status_code == 303
    assert bob.is_logged_in()
    assert world.browser(BOB).is_logged_in()
    assert "user.create" in actions(world)


def test_the_list_has_everybody_fifty_a_page_and_can_be_searched(
    world: World, browser: Browser
) -> None:
    with world.transaction() as session:
        for number in range(60):
            account = accounts.open_account(session, "user")
            users.create_user(
                session,
                email=f"p{number:02}@example.com",
                name="Päivi" if number == 7 else "",
                account_id=account.id,
            )
    first = browser.get("/admin/users").text
    assert "61 people have an account" in first
    assert "p48@example.com" in first
    assert "p49@example.com" not in first
    after = unescape(re.search(r'href="(/admin/users\?after=[^"]+)"', first)[1])  # type: ignore[index]
    assert "p59@example.com" in browser.get(after).text
    found = browser.get("/admin/users?q=päivi").text
    assert "p07@example.com" in found
    assert "p08@example.com" not in found
    assert "Nobody is found" in browser.get("/admin/users?q=%25").text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"email": ""}, "Enter their e-mail address."),
        ({"email": "bob"}, "is not an e-mail address"),
        ({"email": ALICE}, "There is somebody with the address"),
    ],
)
def test_a_refused_person_keeps_what_was_typed(
    browser: Browser, fields: dict[str, str], words: str
) -> None:
    answer = browser.submit("/admin/users/new", name="Robert", **fields)
    assert answer.status_code == 400
    assert words in unescape(answer.text)
    assert 'value="Robert"' in answer.text


def test_a_disabled_person_is_logged_out_and_cannot_come_back(
    world: World, browser: Browser, bob: User
) -> None:
    his = world.browser(BOB)
    asked = browser.get(f"/admin/users/{bob.id}/disable").text
    assert "get 401 from the next call on" in asked
    assert his.is_logged_in()
    browser.submit(f"/admin/users/{bob.id}/disable")
    assert not his.is_logged_in()
    assert world.browser().log_in(BOB).status_code == 401
    assert "link" not in re.findall(rf"/admin/users/{bob.id}/(\w+)", _page(browser, bob))
    assert browser.submit(f"/admin/users/{bob.id}/link").status_code == 303
    browser.submit(f"/admin/users/{bob.id}/enable")
    assert world.browser(BOB).is_logged_in()
    assert actions(world) == ["user.disable", "user.enable"]


def test_a_disabled_persons_keys_stop_at_once(bridge: TestBridge) -> None:
    bob = bridge.person("robert")
    bridge.person("root", is_admin=True)
    key = bob.key()
    assert key.get("/v1/key").status_code == 200
    with bridge.database.transaction() as session:
        users.disable(session, session.get_one(User, bob.id))
    refused = key.get("/v1/key")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "api_key_revoked")


def test_the_last_administrator_stays_one(
    world: World, browser: Browser, alice: User, bob: User
) -> None:
    answer = browser.submit(f"/admin/users/{alice.id}/demote")
    assert "the only administrator" in browser.get(answer.location).text
    assert person(world, alice).is_admin
    browser.submit(f"/admin/users/{bob.id}/promote")
    his = world.browser(BOB)
    his.submit(f"/admin/users/{alice.id}/disable")
    answer = his.submit(f"/admin/users/{bob.id}/demote")
    assert "the only administrator who can log in" in his.get(answer.location).text
    assert person(world, bob).is_admin


def test_an_administrator_who_gives_it_up_lands_outside(
    world: World, browser: Browser, alice: User, bob: User
) -> None:
    browser.submit(f"/admin/users/{bob.id}/promote")
    answer = browser.submit(f"/admin/users/{alice.id}/demote")
    assert answer.location == "/"
    assert browser.get("/admin").status_code == 404


def test_nobody_disables_themselves(world: World, browser: Browser, alice: User) -> None:
    browser.submit(f"/admin/users/{alice.id}/disable")
    assert person(world, alice).disabled_at is None


def test_a_forgotten_password_is_a_link_that_works_once(
    world: World, browser: Browser, bob: User
) -> None:
    link = link_on(browser.submit(f"/admin/users/{bob.id}/link").text)
    new = "another fine long word"
    assert world.browser().submit(link, password=new).status_code == 303
    assert world.browser().get(link).status_code == 410
    assert world.browser().log_in(BOB, new).status_code == 303


def test_nothing_happens_on_get_nor_without_the_token(
    world: World, browser: Browser, bob: User
) -> None:
    for action in ("disable", "promote", "link"):
        assert browser.get(f"/admin/users/{bob.id}/{action}").status_code == 200
        assert browser.post(f"/admin/users/{bob.id}/{action}").status_code == 400
    assert person(world, bob).disabled_at is None
    assert not person(world, bob).is_admin
    assert actions(world) == []


def test_unknown_people_and_actions_are_not_found(browser: Browser, bob: User) -> None:
    assert browser.get("/admin/users/user_unknown").status_code == 404
    assert browser.get("/admin/users/user_unknown/disable").status_code == 404
    assert browser.get(f"/admin/users/{bob.id}/explode").status_code == 404


def test_teams_and_accounts_are_listed_with_their_money(
    world: World, browser: Browser, bob: User
) -> None:
    with world.transaction() as session:
        account = accounts.open_account(session, "team")
        teams.create_team(
            session,
            name="Acme <b>",
            owner=session.get_one(User, bob.id),
            account_id=account.id,
        )
    page = browser.get("/admin/teams").text
    assert "Acme &lt;b&gt;" in page
    assert BOB in page
    page = browser.get("/admin/accounts").text
    assert ALICE in page
    assert "Acme &lt;b&gt;" in page
    assert f"/admin/money/accounts/{account.id}" in page
    assert BOB not in browser.get("/admin/accounts?q=acme").text


def _page(browser: Browser, user: User) -> str:
    return browser.get(f"/admin/users/{user.id}").text
