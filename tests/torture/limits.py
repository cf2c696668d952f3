"""500 calls at once on a limit that pays for k: exactly k are answered, and the upstream saw k."""

import http.client
import json
import threading
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from hostile import HostileUpstream, reply
from people import Key

from modelbridge import money
from modelbridge.ledger.limits import set_key_limit
from torture.real_bridge import RealBridge

TOKENS = 100
QUOTE_NANOS = TOKENS * 2 * 1530
CALLS = 500


def race(
    rounds: int, ks: tuple[int, ...], directory: Path, upstream: HostileUpstream
) -> Counter[str]:
    """That many rounds for each k; answers, counted. Raises AssertionError."""
    bridge = RealBridge(directory, upstream, MODELBRIDGE_THREADS="640")
    bridge.start()
    answers: Counter[str] = Counter()
    try:
        for _ in range(rounds):
            for k in ks:
                upstream.reset()
                upstream.will(reply(completion_tokens=TOKENS, delay=0.02))
                with bridge.books() as books:
                    key = books.key(
                        account_id=bridge.alice.account_id,
                        user_id=bridge.alice.id,
                        limit=money.format_amount(k * QUOTE_NANOS),
                    )
                got = at_once(bridge.url, key.secret)
                assert got["200"] == k, got
                assert sum(got.values()) == CALLS
                assert got.keys() <= {"200", "spending_limit_exceeded", "budget_in_flight"}, got
                assert len(upstream.seen()) == k
                with bridge.books() as books, books.database.transaction() as session:
                    spent = Key(books, key.id, key.secret).spending
                    assert (spent.spent_nanos, spent.held_nanos) == (k * QUOTE_NANOS, 0)
                    set_key_limit(session, key.id, 0)
                answers += got
    finally:
        bridge.stop()
    assert bridge.problems() == []
    return answers


def at_once(url: str, secret: str) -> Counter[str]:
    """500 callers, connected, who send at the same moment: "200", or an error's code, counted."""
    body = json.dumps(
        {
            "model": "gpt-exact",
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": TOKENS,
        }
    )
    address = urlsplit(url)
    begun = threading.Barrier(CALLS)
    got: list[str] = []

    def call() -> None:
        line = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
        line.connect()
        begun.wait()
        headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
        line.request("POST", "/v1/chat/completions", body, headers)
        answer = line.getresponse()
        told = json.loads(answer.read())
        line.close()
        got.append("200" if answer.status == 200 else str(told["error"]["code"]))

    callers = [threading.Thread(target=call) for _ in range(CALLS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return Counter(got)
