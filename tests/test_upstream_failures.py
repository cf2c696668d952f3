"""What a client sees, and what it costs, when an upstream misbehaves on a real socket."""

import json
from typing import Any

import pytest
import requests
from hostile import (
    HostileUpstream,
    cut_after,
    gzipped,
    hang,
    malformed_sse,
    recorded,
    redirect,
    reply,
    reset_after_body,
    status,
    stream,
)
from people import HELLO, Key, Person, TestBridge, wait_for


def test_a_call_costs_what_the_upstream_reported(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply("Hi", prompt_tokens=1000, completion_tokens=500))
    answer = key.chat()
    assert answer.status_code == 200
    # (1,000 × USD 1 + 500 × USD 2) ÷ 1,000,000 × 1.53 AUD per USD
    assert answer.headers["x-modelbridge-cost"] == "0.00306"
    assert alice.account.balance_nanos == 10_000_000_000 - 3_060_000
    receipt = bridge.last_call()
    assert (receipt.input_tokens, receipt.output_tokens) == (1000, 500)
    assert (receipt.usage_source, receipt.cost_nanos) == ("reported", 3_060_000)
    assert receipt.price_version
    assert receipt.fx_version
    assert answer.headers["x-request-id"] == receipt.id


def test_a_refused_connection_costs_nothing(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    upstream.refuse()
    answer = key.chat()
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_error"
    assert "127.0.0.1" not in answer.text
    assert alice.account.held_nanos == 0
    assert alice.account.balance_nanos == 10_000_000_000


@pytest.mark.parametrize(
    ("given", "seen", "code", "retry"),
    [
        (400, 400, None, None),
        (404, 404, None, None),
        (413, 413, None, None),
        (422, 422, None, None),
        (401, 502, "upstream_auth_failed", "false"),
        (402, 502, "upstream_auth_failed", "false"),
        (403, 502, "upstream_auth_failed", "false"),
        (503, 502, "upstream_error", None),
    ],
)
def test_a_refusal_costs_nothing_and_keeps_its_meaning(
    alice: Person, key: Key, upstream: HostileUpstream, given: int, seen: int, code: str, retry: str
) -> None:
    upstream.will(status(given))
    answer = key.chat()
    assert answer.status_code == seen
    error = answer.json()["error"]
    if code:
        assert error["code"] == code
        assert "upstream says" not in error["message"]
    else:
        assert error["type"] == "invalid_request_error"
        assert f"upstream says {given}" in error["message"]
    assert answer.headers.get("x-should-retry") == retry
    assert alice.account.available_nanos == 10_000_000_000


def test_an_upstreams_429_keeps_its_retry_after(key: Key, upstream: HostileUpstream) -> None:
    upstream.will(status(429, headers={"Retry-After": "7"}))
    answer = key.chat()
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "upstream_rate_limited"
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("step", [status(500), status(502), status(504), reset_after_body()])
def test_a_failure_that_may_have_billed_is_not_retried_and_is_looked_at_later(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream, step: dict[str, object]
) -> None:
    upstream.will(step)
    with key.openai() as client, pytest.raises(Exception, match="50"):
        client.chat.completions.create(
            model="gpt-test", messages=[{"role": "user", "content": "Hi"}]
        )
    assert len(upstream.seen()) == 1
    wait_for(lambda: alice.account.held_nanos == 0)  # no sign of an answer: void, and listed
    assert alice.account.balance_nanos == 10_000_000_000


def test_an_upstream_that_takes_too_long_is_a_504(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    object.__setattr__(bridge.bridge.settings, "first_byte_seconds", 0.3)
    upstream.will(hang())
    answer = key.chat()
    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "upstream_timeout"
    assert answer.headers["x-should-retry"] == "false"
    wait_for(lambda: alice.account.held_nanos == 0)


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_a_cut_stream_ends_with_an_error_and_is_charged_by_the_evidence(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, framing: str
) -> None:
    upstream.will(cut_after(4, framing=framing))  # type: ignore[arg-type]
    with key.stream() as answer:
        body = answer.text
    assert '"error"' in body
    assert "[DONE]" not in body
    assert '"finish_reason":"stop"' not in body
    bridge.settle_down()
    receipt = bridge.last_call()
    assert receipt.usage_source == "estimated"
    assert receipt.output_tokens == 3  # "w0 w1 w2 ", nine bytes ÷ 4, rounded up
    assert receipt.finish == "failed"


@pytest.mark.parametrize(
    "step",
    [
        malformed_sse(),
        stream(
            5, error_after=2, error={"error": {"message": "overloaded", "type": "server_error"}}
        ),
    ],
)
def test_a_stream_that_goes_wrong_says_so_in_band(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, step: dict[str, object]
) -> None:
    upstream.will(step)
    with key.stream() as answer:
        assert answer.status_code == 200
        body = answer.text
    assert '"error"' in body
    assert "[DONE]" not in body
    bridge.settle_down()
    assert bridge.last_call().finish == "failed"


@pytest.mark.parametrize("streamed", [False, True])
def test_missing_usage_is_estimated_and_marked(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, streamed: bool
) -> None:
    upstream.will(reply("four" * 10, usage=None))
    answer = key.chat(stream=streamed)
    assert answer.status_code == 200
    bridge.settle_down()
    receipt = bridge.last_call()
    assert receipt.usage_source == "estimated"
    assert receipt.output_tokens == 10
    assert receipt.input_tokens > 0
    assert receipt.cost_nanos


@pytest.mark.parametrize(
    "absurd",
    [
        {"prompt_tokens": -5, "completion_tokens": 5},
        {"prompt_tokens": "ten", "completion_tokens": 5},
        {"prompt_tokens": 2**60, "completion_tokens": 5},
        {"prompt_tokens": 1.5, "completion_tokens": 5},
        {},
    ],
)
def test_absurd_usage_is_treated_as_missing(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, absurd: dict[str, object]
) -> None:
    upstream.will(reply(usage=absurd))
    assert key.chat().status_code == 200
    assert bridge.last_call().usage_source == "estimated"


def test_what_is_reported_above_the_hold_is_the_operators_shortfall(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    from modelbridge.store.tables import Hold, Shortfall

    upstream.will(reply(prompt_tokens=10, completion_tokens=1_000_000, obey_maximum=False))
    assert key.chat(max_tokens=20).status_code == 200
    (hold,) = bridge.rows(Hold)
    (shortfall,) = bridge.rows(Shortfall)
    assert hold.charged_nanos == hold.amount_nanos
    true_cost = -(-(10 * 1 + 1_000_000 * 2) * 1_530_000_000 // 10**6)
    assert shortfall.amount_nanos == true_cost - hold.amount_nanos
    assert alice.account.balance_nanos == 10_000_000_000 - hold.amount_nanos


def test_a_redirect_is_not_followed(key: Key, upstream: HostileUpstream) -> None:
    upstream.will(redirect(upstream.decoy_url))
    assert key.chat().status_code == 502
    assert len(upstream.seen()) == 1


def test_uninvited_compression_is_refused(key: Key, upstream: HostileUpstream) -> None:
    upstream.will(gzipped())
    assert key.chat().status_code == 502


def test_a_plain_answer_to_a_stream_is_an_error(key: Key, upstream: HostileUpstream) -> None:
    upstream.will(recorded(200, "application/json", b'{"error": {"message": "no"}}'))
    answer = key.chat(stream=True)
    assert answer.status_code == 502


def test_hop_by_hop_headers_of_the_upstream_stay_there(key: Key, upstream: HostileUpstream) -> None:
    upstream.will(reply(headers={"Connection": "close", "Set-Cookie": "a=b", "X-Strange": "1"}))
    answer = key.chat()
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert "x-strange" not in answer.headers


def test_the_next_target_is_tried_after_a_refusal_that_cost_nothing(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    from modelbridge.store.tables import Attempt

    bridge.upstream("dead", "http://127.0.0.1:9/v1")
    bridge.model("gpt-two", "dead", "hostile")
    answer = key.chat("gpt-two")
    assert answer.status_code == 200
    attempts = bridge.rows(Attempt)
    assert [attempt.outcome for attempt in attempts] == ["upstream_error", "answered"]
    upstream.will(status(503), reply("second"))
    bridge.upstream("spare", upstream.base_url)
    bridge.model("gpt-three", "hostile", "spare")
    assert key.chat("gpt-three").json()["choices"][0]["message"]["content"] == "second"


def test_the_next_target_is_not_tried_once_the_first_may_have_billed(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    bridge.upstream("spare", upstream.base_url)
    bridge.model("gpt-two", "hostile", "spare")
    upstream.will(reset_after_body(), reply("never"))
    assert key.chat("gpt-two").status_code == 502
    assert len(upstream.seen()) == 1
    wait_for(lambda: alice.account.held_nanos == 0)


FAILED_AT_A_PRICE = [
    {"choices": [], "error": {"message": "boom"}},
    {"choices": [{"index": 0, "delta": {}, "message": {}, "finish_reason": "error"}]},
]


@pytest.mark.parametrize("failed", FAILED_AT_A_PRICE)
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_failure_that_tells_what_it_cost_costs_that(
    bridge: TestBridge,
    key: Key,
    upstream: HostileUpstream,
    failed: dict[str, Any],
    streamed: bool,
    path: str,
) -> None:
    if path == "/v1/chat/completions" and not streamed and "error" not in failed:
        return  # an answer that says so itself is passed on as it is
    told = failed | {"usage": {"prompt_tokens": 100, "completion_tokens": 30}}
    body = json.dumps(told).encode()
    if streamed:
        begin = b'data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
        body = begin + b"data: " + body + b"\n\n"
    upstream.will(recorded(200, "text/event-stream" if streamed else "application/json", body))
    asked = {"model": "gpt-test", "messages": HELLO, "max_tokens": 50, "stream": streamed}
    answer = requests.post(f"{bridge.url}{path}", json=asked, headers=key.headers, timeout=30)
    assert '"error"' in answer.text
    if not streamed:
        assert (answer.status_code, answer.headers["x-should-retry"]) == (502, "false")
    receipt = bridge.last_call()
    assert (receipt.usage_source, receipt.finish) == ("reported", "failed")
    assert (receipt.input_tokens, receipt.output_tokens) == (100, 30)
    assert receipt.cost_nanos == (100 + 2 * 30) * 1530
