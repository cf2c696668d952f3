"""Acceptance checks of security, each named after its number in docs/acceptance.md.

Against a bridge in a process of its own, whose environment names a proxy and a .netrc that must
not matter (`site` in conftest.py).
"""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from hostile import HostileUpstream, gzipped, redirect, reply, status, stream
from web_site import ALICE, KEY, PASSWORD, Browser, Site

from modelbridge import ids

LIVE_MODEL = "gpt-4o-mini"


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
    headers = {"Connection": "close, X-Strange", "Set-Cookie": "a=b", "X-Strange": "1",
               "Server": "them", "Trailer": "X-Strange", "Keep-Alive": "timeout=9"}  # fmt: skip
    foreign = {"set-cookie", "x-strange", "server", "keep-alive", "trailer"}
    for framing in ("chunked", "close"):
        upstream.will(reply(headers=headers, framing=framing))
        answer = site.call(live, model=LIVE_MODEL)
        assert answer.status_code == 200
        assert not {name.lower() for name in answer.headers} & (foreign | {"transfer-encoding"})
        assert "strange" not in answer.headers.get("connection", "").lower()
        assert int(answer.headers["content-length"]) == len(answer.content)


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
