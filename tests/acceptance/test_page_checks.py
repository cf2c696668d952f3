"""Acceptance checks of the pages, each named after its number in docs/acceptance.md.

Against a bridge in a process of its own, by browsers that know nothing but HTTP.
"""

import csv
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import pyotp
import pytest
import requests
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from dashboard_world import World, world_in
from hostile import HostileUpstream
from people import wait_for
from running import RunningBridge
from web_site import ALICE, BOB, CHARLIE, PASSWORD, Browser, Site

LIVE_MODEL = "gpt-4o-mini"
EVIL = "evil.example.com"


@pytest.fixture(scope="module")
def alice(site: Site) -> Browser:
    return site.browser(ALICE)


@pytest.fixture(scope="module")
def live(site: Site, alice: Browser) -> str:
    """A live key of Alice's."""
    return site.key(alice, mode="live", name="Live")[1]


def test_check_50_nothing_is_posted_without_its_token(site: Site, alice: Browser) -> None:
    forms = ("/login", "/logout", "/keys/new", "/account/profile", "/teams/new", "/admin/settings")
    for path in forms:
        answer = alice.open("POST", path, data={"name": "x"})
        assert answer.status_code == 400, path
        assert "has expired" in answer.text
    key_id, secret = site.key(alice)
    for action in ("revoke", "rotate", "end-overlap"):
        assert alice.get(f"/keys/{key_id}/{action}").status_code == 200
    assert alice.get("/logout").status_code == 405
    assert site.call(secret).status_code == 200
    assert alice.is_logged_in()


def test_check_51_sessions_end_on_the_server(site: Site) -> None:
    bob, other, thief = site.browser(BOB), site.browser(BOB), site.browser()
    stranger = site.browser()
    stranger.get("/login")
    before = stranger.cookie()
    assert stranger.log_in(BOB).status_code == 303
    assert stranger.cookie() != before
    thief.session.cookies.set("mb", bob.cookie())
    assert thief.is_logged_in()
    assert bob.submit("/keys", to="/logout").status_code == 303
    replayed = thief.get("/keys")
    assert (replayed.status_code, replayed.headers["location"][:6]) == (303, "/login")
    new = "several quiet giraffes"
    fields = {"current_password": PASSWORD, "new_password": new}
    assert other.submit("/account", to="/account/password", **fields).status_code == 303
    assert other.is_logged_in()
    assert not stranger.is_logged_in()
    back = {"current_password": new, "new_password": PASSWORD}
    assert other.submit("/account", to="/account/password", **back).status_code == 303


def test_check_52_cookies_and_headers_are_strict(tmp_path: Path) -> None:
    public = {"MODELBRIDGE_PUBLIC_URL": "https://bridge.example.com"}
    with RunningBridge.start(tmp_path, **public) as bridge:
        page = requests.get(f"{bridge.url}/login", timeout=60)
        (cookie,) = page.raw.headers.getlist("set-cookie")
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert cookie.startswith("__Host-mb=")
        assert {"secure", "httponly", "path=/", "samesite=lax"} <= parts
        assert not [part for part in parts if part.startswith("domain")]
        policy = page.headers["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "*" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["Strict-Transport-Security"].startswith("max-age=")
        assert "Access-Control-Allow-Origin" not in page.headers
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", page.text)


def test_check_53_known_and_unknown_users_get_the_same_answer(site: Site) -> None:
    def answer(email: str) -> tuple[int, str]:
        browser = site.browser(address="127.0.0.53")
        got = browser.log_in(email, "not the password")
        return got.status_code, re.sub(r'value="[^"]*"', "", got.text)

    answers = [answer(email) for email in (CHARLIE, "nobody@example.com", "x@y", BOB)]
    assert {status for status, _ in answers} == {401}
    assert len(set(answers)) == 1


def test_check_53_known_and_unknown_users_cost_the_same_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes: list[str] = []

    def counted(_hasher: PasswordHasher, known: str, _typed: str) -> bool:
        hashes.append(known)
        raise VerifyMismatchError

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    with world_in(tmp_path) as world:
        emails = _people_of_all_kinds(world)
        parameters = set()
        for number in range(200):
            hashes.clear()
            browser = world.browser(address=f"192.0.2.{number}")
            token = browser.get("/login").text
            fields = {"email": emails[number % len(emails)], "password": f"guess {number}"}
            found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', token)
            assert found is not None
            assert browser.post("/login", csrf_token=found[1], **fields).status_code == 401
            assert len(hashes) == 1, fields
            parameters.add(hashes[0].rpartition("p=")[0])
        assert parameters == {"$argon2id$v=19$m=65536,t=3,"}


def _people_of_all_kinds(world: World) -> list[str]:
    """Somebody known, disabled, without a password, unknown, and what is no address."""
    world.person("known@example.com")
    disabled, fresh = world.person("disabled@example.com"), world.person("fresh@example.com")
    with world.transaction() as session:
        session.merge(disabled).disabled_at = datetime.now(UTC)
        session.merge(fresh).password_hash = None
    unknown = ["nobody@example.com", "no address", "'; --@example.com", "a" * 300]
    return ["known@example.com", disabled.email, fresh.email, *unknown]


def test_check_54_the_eleventh_guess_waits_and_the_owner_elsewhere_does_not(site: Site) -> None:
    guesser = site.browser(address="127.0.0.54")
    statuses = [guesser.log_in(CHARLIE, f"guess {number}").status_code for number in range(11)]
    assert statuses == [401] * 10 + [429]
    refused = guesser.log_in(CHARLIE)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert site.browser(address="127.0.0.55").log_in(CHARLIE).status_code == 303


def test_check_54_a_code_of_the_second_step_works_once(site: Site) -> None:
    owner = site.browser(CHARLIE, address="127.0.0.60")
    page = "/account/second-step"
    owner.submit(page, to=f"{page}/begin", password=PASSWORD)
    secret = re.search(r'<code id="secret">([A-Z2-7 ]+)</code>', owner.get(page).text)
    assert secret is not None
    device = pyotp.TOTP(secret[1].replace(" ", ""))
    before = device.at(datetime.now(UTC), counter_offset=-1)
    code = device.at(datetime.now(UTC))
    assert owner.submit(page, code=before).status_code == 200

    def enter_with(code: str) -> int:
        browser = site.browser(address="127.0.0.60")
        asked = browser.log_in(CHARLIE)
        assert (asked.status_code, asked.headers["location"]) == (303, "/login/code")
        assert not browser.is_logged_in()
        return browser.submit("/login/code", code=code).status_code

    try:
        assert [enter_with(before), enter_with(code), enter_with(code)] == [401, 303, 401]
    finally:
        site.bridge.flask("user", "reset", "--second-step", CHARLIE)


NEXTS = (
    "//evil.example.com", "///evil.example.com", "/\\evil.example.com", "\\\\evil.example.com",
    "https://evil.example.com", "https:evil.example.com", "http:///evil.example.com",
    "HTTPS://evil.example.com", "javascript:alert(1)", "data:text/html,x", "/x\r\nLocation: y",
    "/\t/evil.example.com", "\t//evil.example.com", " //evil.example.com", "/\n/evil.example.com",
    "evil.example.com", ".evil.example.com", "@evil.example.com", "/\u2028/evil.example.com",
    "/\uff0fevil.example.com",
)  # fmt: skip


def test_check_55_no_next_leads_off_site(site: Site) -> None:
    assert len(NEXTS) == 20
    bob = site.browser(BOB)
    stranger = site.browser(address="127.0.0.56")
    for target in NEXTS:
        sent_on = bob.get("/login", params={"next": target})
        assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/"), target
        page = stranger.get("/login", params={"next": target})
        assert page.status_code == 200
    fields = {"email": BOB, "password": PASSWORD, "next": NEXTS[2]}
    assert stranger.submit("/login", **fields).headers["location"] == "/"


def test_check_56_another_host_is_a_400_and_addresses_are_the_public_one(
    site: Site, alice: Browser
) -> None:
    for path in ("/login", "/", "/keys"):
        answer = alice.get(path, headers={"Host": EVIL})
        assert answer.status_code == 400
        assert EVIL not in answer.text
    assert f"{site.url}/v1" in alice.get("/keys").text
    forwarded = alice.get("/keys", headers={"X-Forwarded-Host": EVIL, "Forwarded": f"host={EVIL}"})
    assert EVIL not in forwarded.text


def test_check_57_what_is_another_teams_is_404_by_every_method(site: Site, alice: Browser) -> None:
    personal, _ = site.key(alice)
    teams, _ = site.key(alice, account=site.team_id)
    charlie = site.browser(CHARLIE, address="127.0.0.57")
    token = charlie.fields("/keys/new")
    paths = [f"/keys/{key}{part}" for key in (personal, teams) for part in
             ("", "/edit", "/revoke", "/rotate", "/end-overlap")]  # fmt: skip
    paths += [f"/teams/{site.team_id}{part}" for part in ("", "/settings", "/invite", "/delete")]
    paths += [f"{path}?team={site.team_id}" for path in ("/usage", "/billing", "/keys")]
    paths += ["/admin", f"/admin/users/{site.user_id(ALICE)}"]
    for path in paths:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            answer = charlie.open(method, path, data=token if method == "POST" else None)
            assert answer.status_code in (404, 405), (method, path)


def test_check_58_fields_that_are_none_of_the_forms_are_ignored(site: Site, alice: Browser) -> None:
    bob = site.browser(BOB, address="127.0.0.58")
    extra = {
        "role": "owner", "is_admin": "y", "balance_nanos": "9", "user_id": site.user_id(ALICE),
        "spent_nanos": "0", "account_id": "acct_1", "id": "key_1", "sha256": "x",
    }  # fmt: skip
    profile = {"name": "Bob", "time_zone": "Australia/Sydney"}
    assert bob.submit("/account", to="/account/profile", **profile, **extra).status_code == 303
    query = "SELECT is_admin || role FROM users JOIN memberships ON user_id = id WHERE email = ?"
    assert site.value(query, BOB) == "0member"
    key_id, _ = site.key(bob, **extra)
    owner = site.value("SELECT user_id FROM api_keys WHERE id = ?", key_id)
    assert owner == site.user_id(BOB)
    bobs_account = site.value("SELECT account_id FROM users WHERE email = ?", BOB)
    assert site.value("SELECT account_id FROM api_keys WHERE id = ?", key_id) == bobs_account
    foreign = bob.submit("/keys/new", name="x", mode="test", expires="never", window="none",
                         account="team_unknown")  # fmt: skip
    assert foreign.status_code in (400, 404)


def test_check_58_an_invitation_works_once_and_for_its_address(site: Site, alice: Browser) -> None:
    page = alice.submit(f"/teams/{site.team_id}/invite", email="eve@example.com", role="member")
    link = re.search(r"/invitations/[\w-]{40,}", page.text)
    assert link is not None
    charlie = site.browser(CHARLIE, address="127.0.0.59")
    assert "eve@example.com" in charlie.get(link[0]).text
    assert charlie.submit("/keys/new", to=link[0]).status_code == 200
    eve = site.browser()
    fields = {"name": "Eve", "password": "several quiet giraffes", "role": "owner", "email": BOB}
    assert eve.submit(link[0], **fields).status_code == 303
    assert site.browser().get(link[0]).status_code == 410
    query = "SELECT role FROM memberships JOIN users ON id = user_id WHERE email = ?"
    assert site.value(query, "eve@example.com") == "member"
    assert site.value(query, CHARLIE) is None


NAMES = ("<script>alert(1)</script>", '=HYPERLINK("http://evil")', "%%%%", "{{7*7}}", "@SUM(1)")


def test_check_59_names_are_inert_in_pages_csv_and_searches(
    site: Site, alice: Browser, upstream: HostileUpstream
) -> None:
    for name in NAMES:
        key_id, secret = site.key(alice, mode="live", name=name)
        assert site.call(secret, model=LIVE_MODEL).status_code == 200
        for path in ("/keys", f"/keys/{key_id}", "/usage", "/admin/audit"):
            page = alice.get(path).text
            assert "<script>alert" not in page, path
            assert ">49<" not in page
    for path in ("/usage.csv", "/admin/audit.csv"):
        rows = list(csv.reader(io.StringIO(alice.get(path).text)))
        assert len(rows) > 1
        assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+@\t\0")], path
    for words in NAMES:
        found = alice.get("/admin/users", params={"q": words})
        assert found.status_code == 200
        assert "bob@example.com" not in found.text, words


def test_check_59_names_of_teams_and_models_are_inert_too(
    site: Site, alice: Browser, live: str, upstream: HostileUpstream
) -> None:
    seen = []
    for name in NAMES:
        team = alice.submit("/teams/new", name=name)
        assert team.status_code == 303, name
        fields = {"targets-0-upstream": "hostile", "targets-0-model": "x", "free": "y"}
        added = alice.submit("/admin/models/new", name=name, **fields)
        assert (added.status_code, site.call(live, model=name).status_code) in (
            (303, 200), (400, 404),  # such a name is refused, or it is one like any other
        ), name  # fmt: skip
        seen.append(added.status_code)
        paths = ("/teams", "/admin/models", "/models", "/keys/new", "/usage", "/admin/audit")
        for path in (team.headers["location"], *paths):
            page = alice.get(path)
            assert page.status_code == 200, path
            assert "<script>alert" not in page.text, path
            assert ">49<" not in page.text
    assert 303 in seen
    for path in ("/usage.csv", "/admin/audit.csv"):
        rows = list(csv.reader(io.StringIO(alice.get(path).text)))
        assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+@\t\0")], path


def test_check_60_the_log_of_all_this_has_no_key_password_or_prompt(site: Site, live: str) -> None:
    marked = "a prompt that nobody else may read"
    site.call(live, messages=[{"role": "user", "content": marked}], model="no-such-model")
    site.call(live, messages=[{"role": "user", "content": marked}], model=LIVE_MODEL, n=-1)
    for text in (site.bridge.log, "".join(site.bridge.printed[1:])):
        for secret in (live, marked, PASSWORD, "sk-upstream-secret", "several quiet giraffes"):
            assert secret not in text
        assert "Traceback" not in text
    wait_for(lambda: site.value("SELECT count(*) FROM calls") > 5)
