"""The table of errors, row by row: status, type, code, param and the headers that clients obey."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hostile import HostileUpstream, hang, recorded, reply, reset_after_body, status, stream
from people import Key, Person, TestBridge
from test_v1_contract import CHAT, HELLO, MODELS, Answer, ask, bearer

from modelbridge import money
from modelbridge.ledger.limits import set_account_limit

JSON = ("Content-Type", "application/json")
QUOTE_NANOS = 100 * 2 * 1530  # of 100 tokens of gpt-exact


def chat(key: Key, *headers: tuple[str, str], **fields: Any) -> Answer:
    body = json.dumps(HELLO | fields).encode()
    return ask(key.bridge, "POST", CHAT, [bearer(key), JSON, *headers], body)


def expect(
    answer: Answer,
    told: tuple[int, str, str],
    *,
    param: str | None = None,
    retry: str | None = None,
    retry_after: str | None = None,
) -> str:
    """The message of an error that is exactly this."""
    assert answer.told == told
    assert answer.error["param"] == param
    assert answer.headers["x-should-retry"] == retry
    assert answer.headers["retry-after"] == retry_after
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.error["message"])


@pytest.fixture
def exact(bridge: TestBridge, upstream: HostileUpstream) -> None:
    """gpt-exact: input is free, output costs USD 2 a million."""
    bridge.model("gpt-exact", prices={"input": "0", "output": "2"})
    upstream.will(reply(completion_tokens=100))


# The money


@pytest.mark.usefixtures("exact")
def test_a_keys_limit_that_is_reached(bridge: TestBridge, alice: Person) -> None:
    answer = chat(alice.key(limit="0"), model="gpt-exact")
    told = (429, "insufficient_quota", "spending_limit_exceeded")
    assert "this API key" in expect(answer, told, retry="false")


@pytest.mark.usefixtures("exact")
def test_an_accounts_limit_that_is_reached(bridge: TestBridge, alice: Person) -> None:
    with bridge.database.transaction() as session:
        set_account_limit(session, alice.account_id, 0, "month")
    answer = chat(alice.key(), model="gpt-exact")
    told = (429, "insufficient_quota", "spending_limit_exceeded")
    assert "personal account" in expect(answer, told, retry="false")


@pytest.mark.usefixtures("exact")
def test_an_account_without_money(charlie: Person) -> None:
    answer = chat(charlie.key(), model="gpt-exact")
    told = (429, "insufficient_quota", "insufficient_balance")
    assert "Top it up" in expect(answer, told, retry="false")


@pytest.mark.usefixtures("exact")
def test_a_team_without_money(bridge: TestBridge, alice: Person) -> None:
    team = bridge.team("acme", alice, aud=None)
    answer = chat(bridge.key(account_id=team, user_id=alice.id), model="gpt-exact")
    told = (429, "insufficient_quota", "insufficient_balance")
    assert "team's balance" in expect(answer, told, retry="false")


@pytest.mark.usefixtures("exact")
def test_a_maximum_that_is_not_affordable(alice: Person) -> None:
    key = alice.key(limit=money.format_amount(QUOTE_NANOS))
    for field in ("max_tokens", "max_completion_tokens"):
        answer = chat(key, model="gpt-exact", **{field: 101})
        told = (429, "insufficient_quota", "max_tokens_unaffordable")
        message = expect(answer, told, param=field, retry="false")
        assert "at most 100 tokens" in message


@pytest.mark.usefixtures("exact")
def test_money_that_other_calls_hold(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    object.__setattr__(bridge.bridge.settings, "budget_wait_seconds", 0.1)
    upstream.will(reply(gate="door"))
    key = alice.key(limit=money.format_amount(QUOTE_NANOS))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(chat, key, model="gpt-exact", max_tokens=100)
        upstream.wait_for(1)
        second = chat(key, model="gpt-exact", max_tokens=100)
        expect(second, (429, "rate_limit_error", "budget_in_flight"), retry_after="1")
        upstream.open("door")
        assert first.result().status == 200


# The model


def test_an_unknown_model_is_told_the_nearest_names(bridge: TestBridge, key: Key) -> None:
    bridge.upstream("anthropic", "http://127.0.0.1:9", "anthropic")
    told = (404, "invalid_request_error", "model_not_found")
    for answer in (
        chat(key, model="claude-sonet-4-6"),
        chat(key, model="claude-sonet-4-6", stream=True),
        ask(bridge, "GET", f"{MODELS}/claude-sonet-4-6", [bearer(key)]),
    ):
        assert "claude-sonnet-4-6" in expect(answer, told, param="model")
    for name in ("GPT-TEST", "gpt-test ", "x" * 300, "📎", "a/b"):
        expect(chat(key, model=name), told, param="model")


@pytest.mark.parametrize("test", [False, True])
def test_a_model_that_is_not_on_the_keys_list(
    bridge: TestBridge, alice: Person, test: bool
) -> None:
    key = alice.key(test=test, models=["gpt-test"])
    told = (403, "permission_error", "model_not_allowed")
    other = "claude-test"
    expect(chat(key, model=other), told, param="model")
    expect(chat(key, model=other, stream=True), told, param="model")
    expect(ask(bridge, "GET", f"{MODELS}/{other}", [bearer(key)]), told, param="model")
    listed = json.loads(ask(bridge, "GET", MODELS, [bearer(key)]).body)["data"]
    assert [model["id"] for model in listed] == ["gpt-test"]
    assert chat(key).status == 200


def test_a_model_without_a_price(bridge: TestBridge, key: Key) -> None:
    bridge.model("unpriced", prices=None, upstream_model="nobody-prices-this")
    told = (503, "server_error", "model_not_priced")
    expect(chat(key, model="unpriced"), told, param="model", retry="false")


# Paths and methods


def test_a_wrong_path_is_a_404_in_json(bridge: TestBridge, key: Key) -> None:
    told = (404, "invalid_request_error", "not_found")
    for path in ("/v1", "/v1/", "/v1/nope", f"{CHAT}/", "/v1//chat/completions", f"{MODELS}/"):
        for method in ("GET", "POST"):
            for headers in ([], [bearer(key)]):
                answer = ask(bridge, method, path, headers, b"" if method == "POST" else None)
                assert path in expect(answer, told)


def test_geminis_clients_are_told_in_json_where_to_go(bridge: TestBridge, key: Key) -> None:
    told = (404, "invalid_request_error", "not_found")
    called = ask(
        bridge, "POST", "/v1beta/models/gemini-2.5-pro:generateContent", [bearer(key)], b"{}"
    )
    listed = ask(bridge, "GET", "/v1beta/models", [("x-goog-api-key", "x")])
    assert called.told == listed.told == told
    assert "client of OpenAI's or Anthropic's" in called.error["message"]
    assert "GET /v1/models" in listed.error["message"]


def test_a_wrong_method_is_a_405_that_names_the_right_ones(bridge: TestBridge, key: Key) -> None:
    readable = {"GET", "HEAD", "OPTIONS"}
    for method, path, allowed in (
        ("GET", CHAT, {"POST", "OPTIONS"}),
        ("PUT", CHAT, {"POST", "OPTIONS"}),
        ("DELETE", f"{MODELS}/gpt-test", readable),
        ("POST", MODELS, readable),
        ("TRACE", "/v1/key", readable),
        ("GET", "/v1/estimate", {"POST", "OPTIONS"}),
    ):
        answer = ask(bridge, method, path, [bearer(key)])
        assert method in expect(answer, (405, "invalid_request_error", "method_not_allowed"))
        assert set(answer.headers["allow"].split(", ")) == allowed


def test_head_has_the_headers_of_get(bridge: TestBridge, key: Key) -> None:
    head, get = (ask(bridge, method, MODELS, [bearer(key)]) for method in ("HEAD", "GET"))
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == get.headers[name]
    assert ask(bridge, "HEAD", MODELS, []).status == 401
    assert ask(bridge, "HEAD", CHAT, [bearer(key)]).status == 405


def test_options_names_the_methods_and_opens_nothing_to_other_sites(bridge: TestBridge) -> None:
    origin = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")]
    answer = ask(bridge, "OPTIONS", CHAT, origin)
    assert (answer.status, answer.body) == (200, b"")
    assert set(answer.headers["allow"].split(", ")) == {"POST", "OPTIONS"}
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


# The upstream


UPSTREAM_ROWS: list[tuple[int, tuple[int, str, str | None], str | None]] = [
    (400, (400, "invalid_request_error", "theirs"), None),
    (404, (404, "invalid_request_error", "theirs"), None),
    (413, (413, "invalid_request_error", "theirs"), None),
    (422, (422, "invalid_request_error", "theirs"), None),
    (401, (502, "server_error", "upstream_auth_failed"), "false"),
    (402, (502, "server_error", "upstream_auth_failed"), "false"),
    (403, (502, "server_error", "upstream_auth_failed"), "false"),
    (500, (502, "server_error", "upstream_error"), "false"),
    (502, (502, "server_error", "upstream_error"), "false"),
    (503, (502, "server_error", "upstream_error"), None),
]


@pytest.mark.parametrize("streamed", [False, True])
def test_an_upstreams_refusals_keep_their_meaning(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, streamed: bool
) -> None:
    for given, told, retry in UPSTREAM_ROWS:
        words = {"message": f"they say {given}", "code": "theirs", "param": None, "type": "x"}
        upstream.will(status(given, {"error": words}))
        answer = chat(key, stream=streamed)
        message = expect(answer, told, retry=retry)  # type: ignore[arg-type]
        assert ("they say" in message) == (told[2] == "theirs"), given
        assert "x-modelbridge-cost" not in answer.headers
    bridge.settle_down()


def test_an_upstreams_parameter_is_named(key: Key, upstream: HostileUpstream) -> None:
    words = {"message": "no", "code": "theirs", "param": "logit_bias", "type": "x"}
    upstream.will(status(400, {"error": words}))
    told = (400, "invalid_request_error", "theirs")
    expect(chat(key), told, param="logit_bias")


def test_an_upstreams_429_keeps_its_retry_after(key: Key, upstream: HostileUpstream) -> None:
    told = (429, "rate_limit_error", "upstream_rate_limited")
    for theirs, ours in (("7", "7"), ("0", "0"), ("1.2", "2")):
        upstream.will(status(429, headers={"Retry-After": theirs}))
        expect(chat(key), told, retry_after=ours)
    upstream.will(status(429))
    expect(chat(key), told)


def test_an_upstream_that_takes_too_long(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    object.__setattr__(bridge.bridge.settings, "first_byte_seconds", 0.2)
    upstream.will(hang())
    expect(chat(key), (504, "server_error", "upstream_timeout"), retry="false")


def test_an_upstream_that_cannot_be_reached(key: Key, upstream: HostileUpstream) -> None:
    upstream.refuse()
    message = expect(chat(key), (502, "server_error", "upstream_error"))
    assert "127.0.0.1" not in message


def test_an_upstream_that_goes_silent_after_it_got_the_call(
    key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reset_after_body())
    expect(chat(key), (502, "server_error", "upstream_error"), retry="false")


def test_an_answer_that_is_no_reply(key: Key, upstream: HostileUpstream) -> None:
    for body in (b"<html>", b"[]", b'{"error": {"message": "no"}}'):
        upstream.will(recorded(200, "application/json", body))
        expect(chat(key), (502, "server_error", "upstream_error"), retry="false")


def test_a_failure_after_the_stream_began_is_told_in_it(
    key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(stream(5, error_after=2, error={"error": {"message": "overloaded"}}))
    answer = chat(key, stream=True)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [frame for frame in answer.body.split(b"\n\n") if frame]
    error = json.loads(frames[-1].removeprefix(b"data: "))["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("server_error", "upstream_error")
    assert b"[DONE]" not in answer.body


# The house


def test_all_workers_busy_is_told_at_once_and_health_still_answers(
    bridge: TestBridge, key: Key
) -> None:
    object.__setattr__(bridge.bridge.gateway.slots, "size", 0)
    told = (503, "server_error", "overloaded")
    expect(chat(key), told, retry_after="1")
    expect(chat(key, stream=True), told, retry_after="1")
    assert ask(bridge, "GET", MODELS, [bearer(key)]).status == 200


def test_a_bridge_that_is_told_to_stop_takes_no_new_calls(bridge: TestBridge, key: Key) -> None:
    bridge.bridge.gateway.draining.set()
    expect(chat(key), (503, "server_error", "overloaded"), retry_after="2")
    bridge.bridge.gateway.draining.clear()
    assert chat(key).status == 200


def test_a_fault_of_our_own_is_a_500_without_detail(
    bridge: TestBridge, key: Key, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("modelbridge.v1.models._names", fail)
    answer = ask(bridge, "GET", MODELS, [bearer(key)])
    message = expect(answer, (500, "server_error", "internal_error"), retry="false")
    assert answer.headers["x-request-id"] in message
    assert "secret detail" not in answer.text
    assert "a secret detail" in caplog.text
    assert answer.headers["x-request-id"] in caplog.text
    assert key.secret not in caplog.text


# A call that is made twice


def test_idempotency(bridge: TestBridge, key: Key, upstream: HostileUpstream) -> None:
    once = ("Idempotency-Key", "order-17")
    upstream.will(reply(gate="door"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(chat, key, once)
        upstream.wait_for(1)
        told = (409, "invalid_request_error", "idempotency_in_flight")
        expect(chat(key, once), told, retry="false")
        upstream.open("door")
        done = first.result()
    assert done.status == 200
    told = (409, "invalid_request_error", "idempotency_done")
    message = expect(chat(key, once), told, retry="false")
    assert done.headers["x-request-id"] in message
    assert done.headers["x-modelbridge-cost"] in message
    told = (422, "invalid_request_error", "idempotency_mismatch")
    expect(chat(key, once, max_tokens=7), told, retry="false")
    long = chat(key, ("Idempotency-Key", "x" * 256))
    expect(long, (400, "invalid_request_error", "invalid_request"), param="Idempotency-Key")
    assert len(upstream.seen()) == 1


def test_every_request_has_an_id_of_its_own(bridge: TestBridge, key: Key) -> None:
    found: set[str] = set()
    lock = threading.Lock()

    def one(_: int) -> None:
        headers = [bearer(key), ("x-request-id", "req_mine")]
        answer = ask(bridge, "GET", MODELS, headers)
        with lock:
            found.add(answer.headers["x-request-id"])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(20)))
    assert len(found) == 20
    assert "req_mine" not in found
