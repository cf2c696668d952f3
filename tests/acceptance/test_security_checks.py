"""Acceptance checks of security, each named after its number in docs/acceptance.md.

Against a bridge in a process of its own, whose environment names a proxy and a .netrc that must
not matter. Money and operations have files of their own.
"""

import csv
import io
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from dashboard_world import World, world_in
from hostile import HostileUpstream, gzipped, redirect, reply, status, stream
from people import wait_for
from running import RunningBridge, set_up
from web_site import ALICE, BOB, CHARLIE, KEY, PASSWORD, Browser, Site

from modelbridge import ids

LIVE_MODEL = "gpt-4o-mini"
EVIL = "evil.example.com"


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, hostile_process: HostileUpstream
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / ".netrc").write_text("machine 127.0.0.1 login eve password eve\n")
    (folder / ".netrc").chmod(0o600)
    nowhere = "http://127.0.0.1:9"
    environ = {"HOME": str(folder), "http_proxy": nowhere, "all_proxy": nowhere}
    with RunningBridge.start(folder, **environ) as bridge:
        set_up(bridge)
        bridge.upstream("hostile", "openai", hostile_process.base_url, "sk-upstream-secret")
        found = Site(bridge)
        found.set_up()
        yield found
        found.close()
        bridge.flask("books", "check")


@pytest.fixture(scope="module")
def alice(site: Site) -> Browser:
    return site.browser(ALICE)


@pytest.fixture(scope="module")
def live(site: Site, alice: Browser) -> str:
    """A live key of Alice's."""
    return site.key(alice, mode="live", name="Live")[1]


def code_of(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status_code, error["code"]


# Keys


def test_check_01_no_garbage_or_mistyped_key_is_a_401_and_the_upstream_hears_nothing(
    site: Site, live: str, upstream: HostileUpstream
) -> None:
    mistyped = live[:-1] + ("a" if live[-1] != "a" else "b")
    for secret in ("garbage", mistyped, ids.new_api_key(test=False), "mb_live_", "' OR 1=1 --"):
        answer = site.call(secret, model=LIVE_MODEL)
        assert code_of(answer) == (401, "invalid_api_key")
        assert len(secret) < 10 or secret not in answer.text
    none = requests.post(f"{site.url}/v1/chat/completions", json={}, timeout=60)
    assert code_of(none) == (401, "missing_api_key")
    assert none.headers["WWW-Authenticate"] == "Bearer"
    assert upstream.seen() == []


def test_check_02_a_key_works_until_the_exact_second_of_its_expiry(site: Site) -> None:
    expires = (datetime.now(UTC) + timedelta(seconds=12)).replace(microsecond=0)
    secret = site.bridge.key("short", "--test", "--expires", expires.isoformat())
    while datetime.now(UTC) < expires - timedelta(seconds=0.3):
        answer = site.call(secret)
        if datetime.now(UTC) < expires:
            assert answer.status_code == 200
        time.sleep(0.1)
    time.sleep(max(0.0, (expires - datetime.now(UTC)).total_seconds()))
    assert code_of(site.call(secret)) == (401, "api_key_expired")


def test_check_03_after_a_revocation_every_one_of_100_calls_is_refused(
    site: Site, alice: Browser
) -> None:
    key_id, secret = site.key(alice)
    assert site.call(secret).status_code == 200
    assert alice.submit(f"/keys/{key_id}/revoke").status_code == 303
    assert {code_of(site.call(secret)) for _ in range(100)} == {(401, "api_key_revoked")}


def test_check_04_a_stream_whose_key_is_revoked_is_cut_and_charged(
    site: Site, alice: Browser, upstream: HostileUpstream
) -> None:
    upstream.will(stream(200, 0.1))
    _, secret = site.key(alice, mode="live")
    running = site.call(secret, model=LIVE_MODEL, stream=True)
    lines = running.iter_lines()
    next(line for line in lines if b"w1" in line)
    said = requests.post(
        f"{site.url}/v1/key/revoke", headers={"Authorization": f"Bearer {secret}"}, timeout=60
    )
    assert said.json()["revoked"] == "key"
    started = time.monotonic()
    rest = b"\n".join(lines)
    assert time.monotonic() - started < 5
    assert b"api_key_revoked" in rest
    assert b"[DONE]" not in rest
    receipt = site.bridge.receipt(running.headers["x-request-id"])
    assert (receipt["finish"], receipt["cost_nanos"] > 0) == ("revoked", True)
    assert code_of(site.call(secret)) == (401, "api_key_revoked")


def test_check_05_keys_of_the_disabled_and_the_removed_stop_at_once(
    site: Site, alice: Browser
) -> None:
    site.bridge.flask("user", "create", "dora@example.com", "--password-stdin", stdin=PASSWORD)
    site.bridge.flask("team", "add", "Research", "dora@example.com", "--role", "member")
    dora = site.browser("dora@example.com")
    own = site.key(dora)[1]
    teams = site.key(dora, account=site.team_id)[1]
    assert [site.call(secret).status_code for secret in (own, teams)] == [200, 200]
    dora_id = site.user_id("dora@example.com")
    assert alice.submit(f"/teams/{site.team_id}/members/{dora_id}/remove").status_code == 303
    assert [site.call(secret).status_code for secret in (own, teams)] == [200, 401]
    assert alice.submit(f"/admin/users/{dora_id}/disable").status_code == 303
    assert code_of(site.call(own)) == (401, "api_key_revoked")
    assert not dora.is_logged_in()


def test_check_06_a_key_in_the_query_string_opens_nothing(site: Site, live: str) -> None:
    for name in ("api_key", "key", "access_token"):
        answer = requests.get(f"{site.url}/v1/models?{name}={live}", timeout=60)
        assert code_of(answer) == (401, "missing_api_key")


def test_check_07_two_different_credentials_are_a_400(site: Site, live: str) -> None:
    answer = site.call(live, headers={"x-api-key": ids.new_api_key(test=True)})
    assert code_of(answer) == (400, "ambiguous_credentials")
    assert site.call(live, model="nope", headers={"x-api-key": live}).status_code == 404


def test_check_08_a_key_is_shown_once_and_kept_nowhere(site: Site, alice: Browser) -> None:
    key_id, secret = site.key(alice)
    site.call(secret)
    pages = ("/keys", f"/keys/{key_id}", f"/keys/{key_id}/edit", "/usage.csv", "/admin/audit.csv")
    for path in pages:
        page = alice.get(path)
        assert page.status_code == 200, path
        assert KEY.findall(page.text) == [], path
    assert KEY.findall(site.bridge.flask("key", "list", "--json")) == []
    kept = [path for path in site.bridge.data_dir.rglob("*") if path.is_file()]
    assert len(kept) > 2
    for file in kept:
        assert secret.encode() not in file.read_bytes(), file.name
    assert secret not in site.bridge.log


# Validation


def test_check_17_numbers_that_are_none_are_a_400(
    site: Site, live: str, upstream: HostileUpstream
) -> None:
    for value in ("9223372036854775808", "-1", "true", '"5"', "NaN", "1e400", "0", "1.5"):
        messages = '[{"role": "user", "content": "x"}]'
        body = f'{{"model": "{LIVE_MODEL}", "n": {value}, "messages": {messages}}}'
        answer = raw_call(site, live, body)
        assert answer.status_code == 400, value
        assert answer.json()["error"]["type"] == "invalid_request_error"
    assert upstream.seen() == []


def test_check_19_a_field_that_is_there_twice_is_a_400(site: Site, live: str) -> None:
    body = '{"model": "m", "max_tokens": 1, "max_tokens": 9, "messages": []}'
    answer = raw_call(site, live, body)
    assert answer.status_code == 400
    assert "max_tokens" in answer.json()["error"]["message"]


def raw_call(site: Site, secret: str, body: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    return requests.post(
        f"{site.url}/v1/chat/completions", data=body.encode(), headers=headers, timeout=60
    )


# The proxy


def test_check_36_a_redirect_is_not_followed(
    site: Site, live: str, upstream: HostileUpstream
) -> None:
    for code in (301, 302, 307, 308):
        upstream.reset()
        upstream.will(redirect(upstream.decoy_url, code))
        assert site.call(live, model=LIVE_MODEL).status_code == 502
        assert len(upstream.seen()) == 1


def test_check_37_proxies_and_netrc_of_the_environment_have_no_effect(
    site: Site, live: str, upstream: HostileUpstream
) -> None:
    assert site.call(live, model=LIVE_MODEL).status_code == 200
    assert upstream.seen()[0]["headers"]["authorization"] == "Bearer sk-upstream-secret"


def test_check_38_a_gzip_bomb_is_refused_unopened(
    site: Site, live: str, upstream: HostileUpstream
) -> None:
    def resident_bytes() -> int:
        pages = Path(f"/proc/{site.bridge.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096

    before = resident_bytes()
    upstream.will(gzipped(200_000_000))
    assert site.call(live, model=LIVE_MODEL).status_code == 502
    assert resident_bytes() - before < 50 * 2**20


def test_check_39_hop_by_hop_headers_and_cookies_stay_at_the_upstream(
    site: Site, live: str, upstream: HostileUpstream
) -> None:
    headers = {"Connection": "close", "Set-Cookie": "a=b", "X-Strange": "1", "Server": "them"}
    upstream.will(reply(headers=headers))
    answer = site.call(live, model=LIVE_MODEL)
    assert answer.status_code == 200
    assert not {"set-cookie", "x-strange", "server", "keep-alive"} & set(answer.headers)


def test_check_43_a_401_of_the_provider_is_a_502_without_its_words(
    site: Site, live: str, upstream: HostileUpstream
) -> None:
    said = {"error": {"message": "Incorrect API key provided: sk-upstream-secret", "code": "x"}}
    upstream.will(status(401, said))
    answer = site.call(live, model=LIVE_MODEL)
    assert code_of(answer) == (502, "upstream_auth_failed")
    assert "sk-" not in answer.text
    assert "Incorrect" not in answer.text
    assert answer.headers["x-should-retry"] == "false"


# The pages


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


def test_check_60_the_log_of_all_this_has_no_key_password_or_prompt(site: Site, live: str) -> None:
    marked = "a prompt that nobody else may read"
    site.call(live, messages=[{"role": "user", "content": marked}], model="no-such-model")
    site.call(live, messages=[{"role": "user", "content": marked}], model=LIVE_MODEL, n=-1)
    for text in (site.bridge.log, "".join(site.bridge.printed[1:])):
        for secret in (live, marked, PASSWORD, "sk-upstream-secret", "several quiet giraffes"):
            assert secret not in text
        assert "Traceback" not in text
    wait_for(lambda: site.value("SELECT count(*) FROM calls") > 5)
