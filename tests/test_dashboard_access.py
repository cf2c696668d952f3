"""Who may open a page, for how long, and what every page carries."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from dashboard_world import PASSWORD, World, hidden_fields, world_in

from modelbridge import clock
from modelbridge.dashboard.access import PUBLIC_ENDPOINTS
from modelbridge.store.tables import LoginSession, User

ALICE = "alice@example.com"
OFF_SITE = [
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\\/evil.example",
    "///evil.example",
    "https://evil.example/",
    "https:evil.example",
    "http:/evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    "",
    " /keys",
    "/keys\r\nSet-Cookie: a=b",
    "/keys\n",
    "/\tevil.example",
    "/\x00",
    "/kéys",
    "/a\\b",
    "?next=/keys",
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.person(ALICE, name="Alice", is_admin=True)
        yield world


def test_every_page_that_is_not_listed_as_public_asks_a_stranger_to_log_in(world: World) -> None:
    stranger = world.browser()
    seen = set()
    for rule in world.app.url_map.iter_rules():
        if rule.endpoint in PUBLIC_ENDPOINTS or rule.endpoint.split(".")[0] in ("v1", "health"):
            continue
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            answer = stranger.client.open(path, method=method)
            assert answer.status_code == 303, (method, path)
            assert answer.location.startswith("/login"), (method, path)
            seen.add(rule.endpoint)
    assert {"keys.index", "keys.create", "keys.revoke", "session.logout", "home.index"} <= seen


def test_health_and_the_api_ask_for_no_login_and_set_no_cookie(world: World) -> None:
    stranger = world.browser()
    for path, status in (("/healthz", 200), ("/v1/models", 401), ("/v1/nowhere", 404)):
        answer = stranger.get(path)
        assert answer.status_code == status
        assert "Set-Cookie" not in answer.headers


def test_whoever_logs_in_lands_where_they_wanted_to_go(world: World) -> None:
    stranger = world.browser()
    asked = stranger.get("/keys/new?name=x")
    assert asked.location == "/login?next=/keys/new?name%3Dx"
    answer = stranger.submit(asked.location, to="/login", email=ALICE, password=PASSWORD)
    assert answer.status_code == 303
    assert answer.location == "/keys/new?name=x"


@pytest.mark.parametrize("target", OFF_SITE)
def test_no_next_leads_off_site(world: World, target: str) -> None:
    answer = world.browser().submit("/login", email=ALICE, password=PASSWORD, next=target)
    assert answer.status_code == 303
    assert answer.location == "/"


def test_who_is_logged_in_already_is_sent_on_from_the_login_page(world: World) -> None:
    alice = world.browser(ALICE)
    assert alice.get("/login").location == "/"
    assert alice.get("/login?next=/keys/new").location == "/keys/new"
    assert alice.get("/login?next=//evil.example").location == "/"


def test_a_copied_cookie_is_worth_nothing_after_the_logout(world: World) -> None:
    alice = world.browser(ALICE)
    thief = alice.copy()
    assert thief.is_logged_in()
    answer = alice.log_out()
    assert answer.location == "/login"
    assert not alice.is_logged_in()
    assert not thief.is_logged_in()


def test_each_login_has_a_session_of_its_own(world: World) -> None:
    first, second = world.browser(ALICE), world.browser(ALICE)
    first.log_out()
    assert second.is_logged_in()


def test_the_database_holds_no_token_that_opens_a_session(world: World) -> None:
    alice = world.browser(ALICE)
    with alice.client.session_transaction() as cookie:
        token = cookie["_user_id"]
    with world.bridge.database.reading() as session:
        row = session.query(LoginSession).one()
    assert token not in (row.token_sha256, row.user_id)
    assert len(token) >= 43


def test_a_disabled_person_is_out_at_once_and_cannot_come_back(world: World) -> None:
    alice = world.browser(ALICE)
    with world.transaction() as session:
        session.query(User).one().disabled_at = clock.now()
    assert not alice.is_logged_in()
    assert alice.log_in(ALICE).status_code == 401


def test_a_session_ends_after_two_weeks_without_a_visit(world: World) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    with time_machine.travel(start) as traveller:
        alice = world.browser(ALICE)
        for _ in range(3):
            traveller.shift(timedelta(days=13))
            assert alice.is_logged_in()
        traveller.shift(timedelta(days=14, seconds=1))
        assert not alice.is_logged_in()


def test_a_session_ends_after_sixty_days_however_busy_it_is(world: World) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    with time_machine.travel(start) as traveller:
        alice = world.browser(ALICE)
        for _ in range(5):
            traveller.shift(timedelta(days=11, hours=23))
            assert alice.is_logged_in()
        traveller.shift(timedelta(days=1))
        assert not alice.is_logged_in()


def test_a_page_view_is_written_down_every_five_minutes_at_most(world: World) -> None:
    def last_seen() -> datetime:
        with world.bridge.database.reading() as session:
            row: LoginSession = session.query(LoginSession).one()
            return row.last_seen_at

    start = datetime(2026, 5, 1, tzinfo=UTC)
    with time_machine.travel(start, tick=False) as traveller:
        alice = world.browser(ALICE)
        traveller.shift(timedelta(minutes=4))
        alice.get("/keys")
        assert last_seen() == start
        traveller.shift(timedelta(minutes=2))
        alice.get("/keys")
        assert last_seen() == start + timedelta(minutes=6)


def test_a_login_sweeps_away_the_persons_sessions_that_have_ended(world: World) -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    with time_machine.travel(start) as traveller:
        world.browser(ALICE)
        traveller.shift(timedelta(days=15))
        world.browser(ALICE)
    with world.bridge.database.reading() as session:
        assert session.query(LoginSession).count() == 1


@pytest.mark.parametrize("path", ["/login", "/logout", "/keys/new", "/keys/key_x/revoke"])
def test_a_form_without_its_token_changes_nothing(world: World, path: str) -> None:
    alice = world.browser(ALICE)
    answer = alice.post(path, name="Laptop", email=ALICE, password=PASSWORD)
    assert answer.status_code == 400
    assert "This form has expired" in answer.text
    assert alice.is_logged_in()


def test_logging_out_is_not_a_link(world: World) -> None:
    alice = world.browser(ALICE)
    answer = alice.get("/logout")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]
    assert alice.is_logged_in()


def test_pages_carry_their_headers_and_are_never_cached(world: World) -> None:
    alice = world.browser(ALICE)
    for path in ("/login", "/keys", "/keys/new", "/nothing-here"):
        headers = alice.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "Strict-Transport-Security" not in headers


def test_no_page_holds_an_inline_script_or_style(world: World) -> None:
    alice = world.browser(ALICE)
    for path in ("/login", "/keys", "/keys/new"):
        page = alice.get(path, follow_redirects=True).text
        assert "<style" not in page
        assert " style=" not in page
        assert not re.search(r"<script(?![^>]*src=)", page)
        assert not re.search(r"\son\w+=", page)


def test_static_files_are_cached_under_an_address_that_changes_with_them(world: World) -> None:
    stranger = world.browser()
    page = stranger.get("/login").text
    addresses = re.findall(r'(?:href|src)="(/[^"]*(?:css|js|svg)[^"]*)"', page)
    assert len(addresses) >= 7
    for address in addresses:
        assert "?v=" in address
        with stranger.get(address) as answer:
            assert answer.status_code == 200, address
            assert "max-age=31536000" in answer.headers["Cache-Control"]


def test_cookies_are_strict(world: World) -> None:
    cookie = world.browser().get("/login").headers["Set-Cookie"]
    assert cookie.startswith("mb=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert "Secure" not in cookie


def test_behind_https_cookies_are_secure_and_bound_to_the_host(tmp_path: Path) -> None:
    with world_in(tmp_path, MODELBRIDGE_PUBLIC_URL="https://bridge.example.com") as world:
        answer = world.browser().get("/login", base_url="https://bridge.example.com")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-mb=")
    assert "Secure" in cookie
    assert "HttpOnly" in cookie
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")


def test_a_form_works_behind_https_although_no_referrer_is_sent(tmp_path: Path) -> None:
    url = "https://bridge.example.com"
    with world_in(tmp_path, MODELBRIDGE_PUBLIC_URL=url) as world:
        world.person(ALICE)
        client = world.browser().client
        page = client.get("/login", base_url=url).text
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
        assert token is not None
        fields = {"email": ALICE, "password": PASSWORD, "csrf_token": token[1]}
        assert client.post("/login", base_url=url, data=fields).status_code == 303


def test_whoever_opens_the_bridge_at_another_address_is_told_the_right_one(tmp_path: Path) -> None:
    with world_in(tmp_path, MODELBRIDGE_PUBLIC_URL="https://bridge.example.com") as world:
        # A browser that speaks plain http keeps no secure cookie, so the form comes without one.
        fields = hidden_fields(world.browser().get("/login").text)
        answer = world.browser().post("/login", **{**fields, "email": ALICE, "password": PASSWORD})
    assert answer.status_code == 400
    assert "https://bridge.example.com" in answer.text
