"""The pace of a key, calls and tokens a minute and calls at once, and from where it works."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from hostile import HostileUpstream, reply
from people import Key, Person, TestBridge, wait_for
from running import RunningBridge

from modelbridge import clock
from modelbridge.errors import RateLimited
from modelbridge.gateway.call import Call
from modelbridge.gateway.rates import RateLimits, duration
from modelbridge.identity.callers import Caller
from modelbridge.identity.networks import contains, read_networks
from modelbridge.identity.rates import Rates, in_words
from modelbridge.money import Usage


def refusal(answer: object) -> tuple[int, str, str]:
    error = answer.json()["error"]  # type: ignore[attr-defined]
    return answer.status_code, error["type"], error["code"]  # type: ignore[attr-defined]


# Calls a minute


def test_the_third_call_of_a_minute_is_refused_when_two_are_allowed(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    key = alice.key(rates=Rates(calls=2))
    left = [key.chat().headers["x-ratelimit-remaining-requests"] for _ in range(2)]
    refused = key.chat()
    assert left == ["1", "0"]
    assert refusal(refused) == (429, "requests", "rate_limit_exceeded")
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.headers["x-ratelimit-reset-requests"].endswith(("s", "m0s"))
    assert 50 <= int(refused.headers["retry-after"]) <= 60
    assert "x-should-retry" not in refused.headers
    assert len(upstream.seen()) == 2
    assert alice.key().chat().status_code == 200


def test_at_any_concurrency_exactly_as_many_calls_pass_as_the_minute_has(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    key = alice.key(rates=Rates(calls=5))
    with ThreadPoolExecutor(30) as pool:
        statuses = Counter(pool.map(lambda _: key.chat().status_code, range(30)))
    assert statuses == {200: 5, 429: 25}
    assert len(upstream.seen()) == 5


def test_a_refused_call_has_its_row_in_the_journal_and_costs_nothing(
    bridge: TestBridge, alice: Person
) -> None:
    key = alice.key(rates=Rates(calls=1))
    key.chat()
    before = alice.account.balance_nanos
    request_id = key.chat().headers["x-request-id"]
    row = wait_for(lambda: next((c for c in bridge.calls() if c.id == request_id), None))
    assert (row.status, row.error_code) == (429, "rate_limit_exceeded")
    assert alice.account.balance_nanos == before


def test_a_key_without_a_pace_is_told_of_none(key: Key) -> None:
    assert not [name for name in key.chat().headers if name.lower().startswith("x-ratelimit")]


def test_a_spending_limit_is_another_refusal_than_a_pace(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(limit="0", rates=Rates(calls=1))
    assert refusal(key.chat())[2] == "spending_limit_exceeded"
    assert refusal(key.chat())[2] == "rate_limit_exceeded"


def test_test_keys_have_a_pace_too(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(test=True, rates=Rates(calls=1))
    assert key.chat("sandbox-echo").status_code == 200
    assert key.chat("sandbox-echo").status_code == 429


def test_reading_the_models_is_no_call(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(rates=Rates(calls=1))
    assert key.chat().status_code == 200
    assert key.get("/v1/models").status_code == 200
    said = key.get("/v1/key").json()
    assert (said["rpm"], said["tpm"], said["concurrency"], said["addresses"]) == (1,) + (None,) * 3


def call_of(**pace: int) -> Call:
    caller = Caller("key_1", None, None, True, None, "UTC", 1, Rates(**pace))
    return Call(caller=caller, front=None, endpoint="", body={})  # type: ignore[arg-type]


def test_a_minute_after_the_first_call_there_is_room_for_one_more() -> None:
    rates = RateLimits()
    with time_machine.travel(clock.now(), tick=False) as traveller:
        rates.enter(call_of(calls=2))
        traveller.shift(30)
        rates.enter(call_of(calls=2))
        refused = call_of(calls=2)
        with pytest.raises(RateLimited) as error:
            rates.enter(refused)
        assert error.value.retry_after == pytest.approx(30, abs=0.01)
        assert refused.notes["x-ratelimit-reset-requests"] == "30s"
        traveller.shift(30.5)
        rates.enter(call_of(calls=2))
        with pytest.raises(RateLimited):
            rates.enter(call_of(calls=2))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0ms"), (0.12, "120ms"), (1, "1s"), (17.2, "18s"), (60, "1m0s"), (361, "6m1s")],
)
def test_durations_read_as_openai_writes_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# Tokens a minute


def test_what_a_call_used_counts_against_the_next_one(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    upstream.will(reply(prompt_tokens=10, completion_tokens=2000))
    key = alice.key(rates=Rates(tokens=1000))
    first = key.chat()
    assert first.headers["x-ratelimit-limit-tokens"] == "1000"
    assert 900 < int(first.headers["x-ratelimit-remaining-tokens"]) < 1000
    second = key.chat()
    assert refusal(second) == (429, "tokens", "rate_limit_exceeded")
    assert second.headers["x-ratelimit-remaining-tokens"] == "0"
    assert 0 < int(second.headers["retry-after"]) <= 60
    assert len(upstream.seen()) == 1


def test_a_request_that_never_fits_is_not_to_be_tried_again(
    bridge: TestBridge, alice: Person
) -> None:
    key = alice.key(rates=Rates(tokens=100))
    refused = key.chat(messages=[{"role": "user", "content": "long " * 1000}])
    assert refusal(refused)[2] == "rate_limit_exceeded"
    assert refused.headers["x-should-retry"] == "false"
    assert "This request alone" in refused.json()["error"]["message"]


def test_the_tokens_of_the_sandbox_count_too(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(test=True, rates=Rates(tokens=60))
    for made in (key.chat, key.stream):
        made("sandbox-echo", messages=[{"role": "user", "content": "a word or two"}]).close()
    answers = [key.chat("sandbox-echo").status_code for _ in range(4)]
    assert 429 in answers


def test_a_new_minute_has_all_of_its_tokens() -> None:
    rates = RateLimits()
    with time_machine.travel(clock.now(), tick=False) as traveller:
        first = call_of(tokens=100)
        rates.count_used(first, Usage(input=150))
        rates.enter(first)
        assert first.notes["x-ratelimit-remaining-tokens"] == "0"
        traveller.shift(timedelta(seconds=61))
        second = call_of(tokens=100)
        rates.enter(second)
        assert second.notes["x-ratelimit-remaining-tokens"] == "100"


# Calls at once


def test_a_second_call_at_once_is_refused_until_the_first_has_ended(
    bridge: TestBridge, alice: Person
) -> None:
    key = alice.key(test=True, rates=Rates(concurrent=1))
    stream = key.stream("sandbox-slow")
    refused = key.chat("sandbox-echo")
    assert refusal(refused) == (429, "requests", "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    assert b"[DONE]" in stream.content
    wait_for(lambda: key.chat("sandbox-echo").status_code == 200)


def test_calls_that_fail_or_hang_up_give_their_place_back(
    bridge: TestBridge, alice: Person
) -> None:
    key = alice.key(test=True, rates=Rates(concurrent=2))
    for model in ("sandbox-error", "sandbox-overloaded", "no-such-model", "sandbox-echo"):
        key.chat(model)
        key.stream(model).close()
    key.chat(messages="wrong")
    wait_for(lambda: bridge.bridge.gateway.slots.in_use == 0)
    assert bridge.bridge.gateway.rates._at_once == {}


def test_the_count_of_calls_at_once_survives_a_storm() -> None:
    rates, most = RateLimits(), 0
    seen: list[int] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(200):
            call = call_of(concurrent=3)
            try:
                rates.enter(call)
            except RateLimited:
                continue
            seen.append(rates._at_once["key_1"])
            rates.leave(call)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    most = max(seen)
    assert 1 <= most <= 3
    assert rates._at_once == {}


# From where


def test_a_key_works_only_from_its_networks(bridge: TestBridge, alice: Person) -> None:
    here = alice.key(addresses=["127.0.0.0/8"])
    elsewhere = alice.key(addresses=["203.0.113.7", "2001:db8::/32"])
    assert here.chat().status_code == 200
    for answer in (elsewhere.chat(), elsewhere.get("/v1/models"), elsewhere.get("/v1/key")):
        assert refusal(answer) == (403, "permission_error", "address_not_allowed")
        assert "127.0.0.1" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("address", "is_in"),
    [
        ("203.0.113.7", True),
        ("::ffff:203.0.113.7", True),
        ("203.0.113.8", False),
        ("2001:db8::1", True),
        ("2001:db8::1%eth0", True),
        ("2001:db9::1", False),
        ("", False),
        ("unix:", False),
    ],
)
def test_addresses_are_compared_as_addresses(address: str, is_in: bool) -> None:
    assert contains('["203.0.113.7/32","2001:db8::/32"]', address) is is_in


def test_a_list_of_networks_is_told_in_its_shortest_form() -> None:
    assert read_networks([" 10.0.0.0/8 ", "10.0.0.0/8", "192.0.2.1", ""]) == [
        "10.0.0.0/8",
        "192.0.2.1/32",
    ]
    assert read_networks([]) is None
    with pytest.raises(ValueError, match="addresses: 10.0.0.1/8 has bits.*write 10.0.0.0/8"):
        read_networks(["10.0.0.1/8"])
    with pytest.raises(ValueError, match="'example.com' is not an address"):
        read_networks(["example.com"])
    with pytest.raises(ValueError, match="at most 100"):
        read_networks([f"10.0.{number}.0/24" for number in range(101)])


# As it is set


@pytest.mark.parametrize(("field", "value"), [("calls", 0), ("tokens", -1), ("concurrent", 10**9)])
def test_a_pace_that_cannot_be_is_refused_with_the_name_of_its_field(
    bridge: TestBridge, alice: Person, field: str, value: int
) -> None:
    with pytest.raises(ValueError, match=r"^(rpm|tpm|concurrency): must be a whole number from 1"):
        alice.key(rates=Rates(**{field: value}))


def test_a_pace_in_words() -> None:
    assert in_words(Rates(60, None, 2)) == "60 calls a minute, 2 calls at once"
    assert in_words(Rates()) == ""


def test_the_command_line_sets_it_all(running: RunningBridge) -> None:
    options = ("--test", "--rpm", "1", "--tpm", "9000", "--concurrency", "2")
    key = running.key("paced", *options, "--allow-ip", "127.0.0.1", "--allow-ip", "::1,10.0.0.0/8")
    said = running.openai(key).get("/key", cast_to=dict[str, object])
    assert (said["rpm"], said["tpm"], said["concurrency"]) == (1, 9000, 2)
    assert said["addresses"] == ["127.0.0.1/32", "::1/128", "10.0.0.0/8"]


def test_a_key_without_a_pace_is_not_counted_at_all() -> None:
    rates = RateLimits()
    call = call_of()
    object.__setattr__(call.caller, "rates", None)
    rates.enter(call)
    rates.take_tokens(call, {"model": "m", "messages": []})
    rates.count_used(call, Usage(input=10**6))
    rates.leave(call)
    assert call.notes == {}
    assert "_counters" not in rates.__dict__
