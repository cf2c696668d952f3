"""The same thing from many sides at once: it happens once."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hostile import HostileUpstream, reply
from people import Key, Person, TestBridge

from modelbridge import money
from modelbridge.ledger import postings
from modelbridge.ledger.limits import set_key_limit
from modelbridge.store.tables import BalanceTransaction


def at_once(count: int, act: Callable[[], Any]) -> Counter[Any]:
    """What came of doing it that many times at the same moment."""
    begun = threading.Barrier(count)

    def one(_: int) -> Any:
        begun.wait()
        return act()

    with ThreadPoolExecutor(count) as pool:
        return Counter(pool.map(one, range(count)))


def test_one_idempotency_key_from_fifty_callers_is_one_call_upstream(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply(delay=0.1))
    bridge.bridge.gateway.slots.size = 64

    def call() -> str:
        answer = key.chat(headers={"Idempotency-Key": "once"})
        return "200" if answer.status_code == 200 else str(answer.json()["error"]["code"])

    came = at_once(50, call)
    assert came["200"] == 1
    assert came["idempotency_in_flight"] + came["idempotency_done"] == 49
    assert len(upstream.seen()) == 1


def test_one_reference_from_ten_sides_is_one_credit(bridge: TestBridge, charlie: Person) -> None:
    def top_up() -> str:
        with bridge.database.transaction() as session:
            made = postings.top_up(session, charlie.account_id, money.NANOS, reference="INV-1")
            return made.id

    assert len(at_once(10, top_up)) == 1
    assert charlie.account.balance_nanos == money.NANOS


def test_refunds_from_ten_sides_give_back_no_more_than_the_charge(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(reply(prompt_tokens=0, completion_tokens=500))
    assert key.chat().status_code == 200
    (usage,) = [row for row in bridge.rows(BalanceTransaction) if row.kind == "usage"]
    part = -usage.amount_nanos // 3

    def refund() -> str:
        try:
            with bridge.database.transaction() as session:
                postings.refund(session, usage.id, part)
        except ValueError:
            return "refused"
        return "given"

    assert at_once(10, refund) == {"given": 3, "refused": 7}
    assert alice.account.balance_nanos == 10 * money.NANOS


def test_a_limit_that_is_lowered_under_running_calls_stops_the_next_one_and_no_other(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream
) -> None:
    key = alice.key(limit="1")
    upstream.will(reply(gate="door"))
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(key.chat, max_tokens=10) for _ in range(5)]
        upstream.wait_for(5)
        with bridge.database.transaction() as session:
            set_key_limit(session, key.id, 0)
        assert key.chat().json()["error"]["code"] == "spending_limit_exceeded"
        upstream.open("door")
        assert [call.result().status_code for call in calls] == [200] * 5
    assert len(upstream.seen()) == 5
