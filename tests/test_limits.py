"""A limit is a limit: at any concurrency, to the nano-dollar, and no call is refused in vain."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from hostile import HostileUpstream, reply, stream
from people import HELLO, Key, Person, TestBridge, wait_for

from modelbridge import clock, money

# gpt-exact: input is free, output costs USD 2 a million; a call of 100 tokens costs its quote.
QUOTE_NANOS = 100 * 2 * 1530


def exact_model(bridge: TestBridge, upstream: HostileUpstream) -> None:
    bridge.model("gpt-exact", prices={"input": "0", "output": "2"})
    upstream.will(reply(completion_tokens=100, delay=0.05))


def at_once(count: int, call: Any) -> Counter[tuple[int, str]]:
    """Make that many calls at the same moment; statuses and codes, counted."""
    barrier = threading.Barrier(count)

    def one(_: int) -> tuple[int, str]:
        barrier.wait()
        answer = call()
        code = "" if answer.status_code == 200 else answer.json()["error"]["code"]
        return answer.status_code, code

    with ThreadPoolExecutor(count) as pool:
        return Counter(pool.map(one, range(count)))


@pytest.mark.parametrize("k", [0, 1, 7, 20])
def test_a_limit_that_pays_for_k_calls_lets_exactly_k_of_100_through(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream, k: int
) -> None:
    exact_model(bridge, upstream)
    object.__setattr__(bridge.bridge.gateway.slots, "size", 100)
    key = alice.key(limit=money.format_amount(k * QUOTE_NANOS))
    statuses = at_once(50, lambda: key.chat("gpt-exact", max_tokens=100))
    statuses += at_once(50, lambda: key.chat("gpt-exact", max_tokens=100))
    assert statuses[(200, "")] == k
    assert statuses[(429, "spending_limit_exceeded")] == 100 - k
    assert len(upstream.seen()) == k
    assert key.spending.spent_nanos == k * QUOTE_NANOS


def test_a_balance_that_pays_for_seven_calls_lets_exactly_seven_through(
    bridge: TestBridge, charlie: Person, upstream: HostileUpstream
) -> None:
    exact_model(bridge, upstream)
    charlie.top_up(money.format_amount(7 * QUOTE_NANOS + 1))
    key = charlie.key()
    statuses = at_once(40, lambda: key.chat("gpt-exact", max_tokens=100))
    assert statuses[(200, "")] == 7
    assert statuses[(429, "insufficient_balance")] == 33
    assert charlie.account.available_nanos == 1


def test_a_limit_refusal_is_told_once_to_the_stock_sdk(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    import openai

    key = alice.key(limit="0")
    with key.openai() as client:
        ask = client.chat.completions.create
        with pytest.raises(openai.RateLimitError) as refusal:
            ask(model="gpt-test", messages=[{"role": "user", "content": "Hi"}])
    assert refusal.value.code == "spending_limit_exceeded"
    assert "this API key" in refusal.value.message
    wait_for(bridge.calls)
    assert len(bridge.calls()) == 1
    assert upstream.seen() == []


def test_a_call_waits_for_money_that_another_holds(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    exact_model(bridge, upstream)
    upstream.will(reply(completion_tokens=1, gate="door"), reply(completion_tokens=1))
    key = alice.key(limit=money.format_amount(QUOTE_NANOS + 100_000))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(key.chat, "gpt-exact", max_tokens=100)
        upstream.wait_for(1)
        second = pool.submit(key.chat, "gpt-exact", max_tokens=100)
        wait_for(lambda: bridge.bridge.gateway.money_freed._waiting)
        upstream.open("door")
        assert first.result().status_code == 200
        assert second.result().status_code == 200


def test_money_that_others_keep_holding_is_a_429_with_retry_after(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    exact_model(bridge, upstream)
    object.__setattr__(bridge.bridge.settings, "budget_wait_seconds", 0.2)
    upstream.will(reply(gate="door"))
    key = alice.key(limit=money.format_amount(QUOTE_NANOS))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(key.chat, "gpt-exact", max_tokens=100)
        upstream.wait_for(1)
        second = key.chat("gpt-exact", max_tokens=100)
        assert second.status_code == 429
        assert second.json()["error"]["code"] == "budget_in_flight"
        assert int(second.headers["retry-after"]) >= 1
        assert "x-should-retry" not in second.headers
        upstream.open("door")
        assert first.result().status_code == 200


def test_an_unaffordable_maximum_is_told_the_affordable_number(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    exact_model(bridge, upstream)
    key = alice.key(limit=money.format_amount(QUOTE_NANOS))
    answer = key.chat("gpt-exact", max_tokens=101)
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert error["code"] == "max_tokens_unaffordable"
    assert " 100 tokens" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert key.chat("gpt-exact", max_completion_tokens=100).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": HELLO, "max_tokens": 101}),
        ("chat/completions", {"messages": HELLO, "max_completion_tokens": 101}),
        ("responses", {"input": "Hello", "max_output_tokens": 101}),
        ("messages", {"messages": HELLO, "max_tokens": 101}),
    ],
)
def test_the_maximum_is_called_what_the_client_called_it(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream, path: str, body: dict[str, Any]
) -> None:
    exact_model(bridge, upstream)
    key = alice.key(limit=money.format_amount(QUOTE_NANOS))
    url, asked = f"{bridge.url}/v1/{path}", {"model": "gpt-exact", **body}
    answer = requests.post(url, json=asked, headers=key.headers, timeout=30)
    assert answer.status_code == 429
    error, (name,) = answer.json()["error"], [one for one in body if one.startswith("max")]
    assert f"Lower {name}, " in error["message"]
    assert error.get("param", name) == name


def test_without_a_maximum_the_upstream_gets_one_that_the_money_pays_for(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    bridge.model("gpt-big", prices={"input": "0", "output": "2"}, max_output=100_000)
    key = alice.key(limit=money.format_amount(5000 * 2 * 1530))
    answer = key.chat("gpt-big")
    # a quarter of the money buys 1,250 tokens: the cap is 4,096
    assert upstream.seen()[-1]["body"]["max_completion_tokens"] == 4096
    assert answer.headers["x-modelbridge-output-cap"] == "4096"
    poor = alice.key(limit=money.format_amount(50 * 2 * 1530))
    answer = poor.chat("gpt-big")
    assert upstream.seen()[-1]["body"]["max_completion_tokens"] == 50
    assert answer.headers["x-modelbridge-output-cap"] == "50"
    rich = alice.key()
    rich.chat("gpt-big")
    quarter = 10_000_000_000 - 2 * 5 * 2 * 1530
    cap = upstream.seen()[-1]["body"]["max_completion_tokens"]
    assert cap == min(100_000, quarter // 4 // (2 * 1530))


def test_a_cap_equal_to_the_models_own_maximum_is_not_named(bridge: TestBridge, key: Key) -> None:
    bridge.model("gpt-small", max_output=64)
    answer = key.chat("gpt-small")
    assert answer.status_code == 200
    assert "x-modelbridge-output-cap" not in answer.headers


def test_raising_a_limit_brings_the_key_back_at_once(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    from modelbridge.ledger.limits import set_key_limit

    exact_model(bridge, upstream)
    key = alice.key(limit=money.format_amount(QUOTE_NANOS))
    assert key.chat("gpt-exact", max_tokens=100).status_code == 200
    assert key.chat("gpt-exact", max_tokens=100).status_code == 429
    with bridge.database.transaction() as session:
        set_key_limit(session, key.id, 2 * QUOTE_NANOS)
    assert key.chat("gpt-exact", max_tokens=100).status_code == 200
    with bridge.database.transaction() as session:
        set_key_limit(session, key.id, 1)
    assert key.chat("gpt-exact", max_tokens=100).status_code == 429


def test_an_accounts_own_limit_blocks_although_there_is_money(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    from modelbridge.ledger.limits import set_account_limit

    exact_model(bridge, upstream)
    with bridge.database.transaction() as session:
        set_account_limit(session, alice.account_id, QUOTE_NANOS, "month")
    key = alice.key()
    assert key.chat("gpt-exact", max_tokens=100).status_code == 200
    answer = key.chat("gpt-exact", max_tokens=100)
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "spending_limit_exceeded"
    assert "personal account" in answer.json()["error"]["message"]
    assert "starts afresh" in answer.json()["error"]["message"]


def test_a_window_that_is_set_later_counts_what_was_spent_in_it(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    from modelbridge.ledger.limits import set_key_limit

    exact_model(bridge, upstream)
    key = alice.key()
    assert key.chat("gpt-exact", max_tokens=100).status_code == 200
    with bridge.database.transaction() as session:
        set_key_limit(session, key.id, QUOTE_NANOS, "day")
    assert key.spending.spent_nanos == QUOTE_NANOS
    assert key.chat("gpt-exact", max_tokens=100).status_code == 429


def test_a_price_or_rate_that_changes_mid_stream_changes_nothing(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    from modelbridge.catalog import fx

    upstream.will(stream(3, prompt_tokens=1000, completion_tokens=500, gate_after=(2, "door")))
    with key.stream() as answer:
        lines = answer.iter_lines()
        next(lines)
        bridge.model("gpt-test", prices={"input": "100", "output": "200"})
        with bridge.database.transaction() as session:
            fx.set_rate(session, 2_000_000_000)
        upstream.open("door")
        for _ in lines:
            pass
    bridge.settle_down()
    assert bridge.last_call().cost_nanos == 3_060_000
    upstream.will(reply(prompt_tokens=1000, completion_tokens=500))
    assert key.chat().headers["x-modelbridge-cost"] == "0.40"


def test_an_expired_key_is_refused_from_its_very_second(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(expires_at=clock.now() + timedelta(seconds=1.2))
    assert key.chat().status_code == 200
    wait_for(lambda: key.chat().status_code == 401)
    answer = key.chat()
    assert answer.json()["error"]["code"] == "api_key_expired"


def test_an_unpriced_model_is_not_callable_and_a_free_one_costs_nothing(
    bridge: TestBridge, charlie: Person, key: Key
) -> None:
    bridge.model("unpriced", prices=None, upstream_model="nobody-prices-this")
    answer = key.chat("unpriced")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "model_not_priced"
    bridge.model("free", prices=None, free=True)
    answer = charlie.key().chat("free")
    assert answer.status_code == 200
    assert answer.headers["x-modelbridge-cost"] == "0.00"


def test_an_idempotency_key_never_makes_a_second_call(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    once = {"Idempotency-Key": "order-17"}
    upstream.will(reply(gate="door"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(key.chat, headers=once)
        upstream.wait_for(1)
        again = key.chat(headers=once)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "idempotency_in_flight")
        upstream.open("door")
        assert first.result().status_code == 200
    done = key.chat(headers=once)
    assert (done.status_code, done.json()["error"]["code"]) == (409, "idempotency_done")
    assert first.result().headers["x-request-id"] in done.json()["error"]["message"]
    assert done.headers["x-should-retry"] == "false"
    other = key.chat(headers=once, max_tokens=7)
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert len(upstream.seen()) == 1


def test_a_call_that_ended_void_frees_its_idempotency_key(
    key: Key, upstream: HostileUpstream
) -> None:
    from hostile import status

    once = {"Idempotency-Key": "order-18"}
    upstream.will(status(503), reply())
    assert key.chat(headers=once).status_code == 502
    assert key.chat(headers=once).status_code == 200
