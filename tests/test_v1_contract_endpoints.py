"""What the endpoints answer over raw HTTP when all is well."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hostile import HostileUpstream, reply, stream
from people import Key, Person, TestBridge
from test_v1_contract import CHAT, HELLO, MODELS, ask, bearer

from modelbridge import clock
from modelbridge.store.tables import Hold
from modelbridge.upstream.sandbox import SCENARIO_MODELS

JSON = ("Content-Type", "application/json")


def get(key: Key, path: str) -> dict[str, Any]:
    answer = ask(key.bridge, "GET", path, [bearer(key)])
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = json.loads(answer.body)
    return found


def post(key: Key, path: str, **fields: Any) -> tuple[Any, Any]:
    """The answer's headers and its JSON."""
    body = json.dumps(HELLO | fields).encode()
    answer = ask(key.bridge, "POST", path, [bearer(key), JSON], body)
    assert answer.status == 200, answer.body
    return answer.headers, json.loads(answer.body)


# The call


def test_a_finished_call_says_its_cost_and_its_id(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply("Hi", prompt_tokens=1000, completion_tokens=500))
    headers, body = post(key, CHAT)
    assert headers["content-type"] == "application/json"
    assert Decimal(headers["x-modelbridge-cost"]) == Decimal("0.00306")
    assert headers["x-request-id"] == bridge.last_call().id
    assert body["choices"][0]["message"]["content"] == "Hi"


def test_a_streamed_call_says_its_cost_in_the_usage_that_was_asked_for(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(stream(3, prompt_tokens=1000, completion_tokens=500))
    for options, told in (
        ({"include_usage": True}, True),
        ({"include_usage": False}, False),
        (None, False),
    ):
        body = json.dumps({**HELLO, "stream": True, "stream_options": options}).encode()
        answer = ask(bridge, "POST", CHAT, [bearer(key), JSON], body)
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert "x-modelbridge-cost" not in answer.headers
        assert answer.body.endswith(b"data: [DONE]\n\n")
        frames = answer.body.removesuffix(b"data: [DONE]\n\n").split(b"\n\n")[:-1]
        chunks = [json.loads(frame.removeprefix(b"data: ")) for frame in frames]
        last = chunks[-1]
        if told:
            assert last["choices"] == []
            assert last["usage"]["cost"] == "0.00306"
        else:
            assert all(chunk["choices"] for chunk in chunks)
            assert not any(chunk.get("usage") for chunk in chunks)
        assert upstream.seen()[-1]["body"]["stream_options"]["include_usage"] is True


def test_a_cap_that_is_lower_than_the_models_is_named(bridge: TestBridge, alice: Person) -> None:
    bridge.model("gpt-big", prices={"input": "0", "output": "2"}, max_output=100_000)
    headers, _ = post(alice.key(limit="0.001"), CHAT, model="gpt-big")
    assert headers["x-modelbridge-output-cap"] == str(1_000_000 // (2 * 1530))


def test_cookies_are_ignored(bridge: TestBridge, key: Key) -> None:
    headers = [bearer(key), JSON, ("Cookie", "mb=anything; session=1")]
    answer = ask(bridge, "POST", CHAT, headers, json.dumps(HELLO).encode())
    assert answer.status == 200
    assert "set-cookie" not in answer.headers


# What a key may know


def test_a_key_knows_itself(bridge: TestBridge, alice: Person, upstream: HostileUpstream) -> None:
    expires = clock.now().replace(microsecond=0) + timedelta(days=1)
    key = alice.key(
        name="laptop", limit="5", window="month", expires_at=expires, models=["gpt-test"]
    )
    upstream.will(reply("Hi", prompt_tokens=1000, completion_tokens=500))
    post(key, CHAT)
    assert get(key, "/v1/key") == {
        "object": "key",
        "id": key.id,
        "name": "laptop",
        "mode": "live",
        "account": "user",
        "limit": "5.00",
        "window": "month",
        "spent": "0.00306",
        "held": "0.00",
        "remaining": "4.99694",
        "expires_at": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
        "models": ["gpt-test"],
        "rpm": None,
        "tpm": None,
        "concurrency": None,
        "addresses": None,
        "currency": "AUD",
    }


def test_a_plain_test_key_of_a_team_knows_itself(bridge: TestBridge, alice: Person) -> None:
    team = bridge.team("acme", alice)
    key = bridge.key(account_id=team, user_id=alice.id, test=True)
    found = get(key, "/v1/key")
    assert (found["mode"], found["account"]) == ("test", "team")
    for name in ("limit", "remaining", "expires_at", "models"):
        assert found[name] is None
    assert (found["spent"], found["held"], found["window"]) == ("0.00", "0.00", "none")


def test_what_is_held_is_told(bridge: TestBridge, key: Key, upstream: HostileUpstream) -> None:
    upstream.will(stream(3, gate_after=(2, "door")))
    with key.stream() as answer:
        next(answer.iter_lines())
        (hold,) = bridge.rows(Hold)
        held = Decimal(get(key, "/v1/key")["held"])
        assert held * 10**9 == hold.amount_nanos > 0
        upstream.open("door")
    bridge.settle_down()
    assert get(key, "/v1/key")["held"] == "0.00"


# The models


def test_live_keys_list_what_they_can_call(bridge: TestBridge, key: Key) -> None:
    bridge.upstream("anthropic", "http://127.0.0.1:9", "anthropic")
    listed = get(key, MODELS)
    assert listed.keys() == {"object", "data"}
    assert listed["object"] == "list"
    names = [model["id"] for model in listed["data"]]
    assert names == sorted(set(names))
    assert {"gpt-test", "claude-test", "claude-sonnet-4-6"} <= set(names)
    assert not {"sandbox-echo", "gemini-2.5-pro"} & set(names)
    for model in listed["data"]:
        assert model.keys() == {"id", "object", "created", "owned_by"}
        assert isinstance(model["created"], int)
        assert model["object"] == "model"
    (claude,) = [model for model in listed["data"] if model["id"] == "claude-sonnet-4-6"]
    assert claude["owned_by"] == "anthropic"
    assert get(key, f"{MODELS}/claude-sonnet-4-6") == claude


def test_test_keys_list_the_catalogue_and_the_scenarios(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(test=True)
    names = {model["id"] for model in get(key, MODELS)["data"]}
    assert {"gpt-test", "claude-sonnet-4-6", "gemini-2.5-pro", *SCENARIO_MODELS} <= names
    for name in ("gpt-test", "gemini-2.5-pro", "sandbox-slow"):
        assert get(key, f"{MODELS}/{name}")["id"] == name


def test_a_name_with_a_slash_is_one_name(bridge: TestBridge, key: Key) -> None:
    bridge.model("acme/tiny")
    for path in ("acme/tiny", "acme%2Ftiny"):
        assert get(key, f"{MODELS}/{path}")["id"] == "acme/tiny"


# The estimate


def test_an_estimate_is_the_hold_of_the_call(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    before = alice.account
    _, estimate = post(key, "/v1/estimate", max_tokens=10)
    assert estimate.keys() == {
        "object",
        "model",
        "quote",
        "input_tokens_bound",
        "output_tokens_cap",
        "currency",
    }
    assert (estimate["object"], estimate["model"]) == ("estimate", "gpt-test")
    assert (estimate["output_tokens_cap"], estimate["currency"]) == (10, "AUD")
    bridge.settle_down()
    assert upstream.seen() == []
    assert bridge.rows(Hold) == []
    assert alice.account == before
    # USD 1 and 2 a million tokens, AUD 1.53 a dollar
    bound = estimate["input_tokens_bound"]
    assert Decimal(estimate["quote"]) == Decimal(bound + 2 * 10) * Decimal("0.00000153")
    post(key, CHAT, max_tokens=10)
    (hold,) = bridge.rows(Hold)
    assert hold.amount_nanos == Decimal(estimate["quote"]) * 10**9
    assert hold.charged_nanos <= hold.amount_nanos


def test_an_estimate_needs_no_money_and_says_what_a_call_would_say(
    bridge: TestBridge, charlie: Person
) -> None:
    poor = charlie.key(models=["gpt-test"])
    post(poor, "/v1/estimate")
    for fields, status, code in (
        ({"model": "nope"}, 404, "model_not_found"),
        ({"model": "claude-test"}, 403, "model_not_allowed"),
        ({"n": 0}, 400, "invalid_request"),
    ):
        body = json.dumps(HELLO | fields).encode()
        answer = ask(bridge, "POST", "/v1/estimate", [bearer(poor), JSON], body)
        assert (answer.status, answer.error["code"]) == (status, code)
    assert ask(bridge, "POST", "/v1/estimate", [JSON], b"{}").status == 401


def test_health_needs_no_key(bridge: TestBridge) -> None:
    import requests

    for path in ("/healthz", "/readyz"):
        assert requests.get(f"{bridge.url}{path}", timeout=10).status_code == 200
    bridge.bridge.gateway.draining.set()
    assert requests.get(f"{bridge.url}/healthz", timeout=10).status_code == 200
    assert requests.get(f"{bridge.url}/readyz", timeout=10).status_code == 503
