"""The clock jumps under a running bridge: over midnights, forth and back, in mid-call."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import patch
from zoneinfo import ZoneInfo

from hostile import HostileUpstream, stream
from people import Key, Person, TestBridge, serving, wait_for

from modelbridge import clock

NANOS_PER_TOKEN = 1530
TOKENS = 100 + 2 * 4
SYDNEY = ZoneInfo("Australia/Sydney")
EVES = [  # a moment before a day, a week, a month, a year, and a change of daylight saving
    datetime(2026, 11, 24, 23, 59, 59, tzinfo=SYDNEY),
    datetime(2026, 11, 29, 23, 59, 59, tzinfo=SYDNEY),
    datetime(2026, 11, 30, 23, 59, 59, tzinfo=SYDNEY),
    datetime(2026, 12, 31, 23, 59, 59, tzinfo=SYDNEY),
    datetime(2027, 4, 4, 2, 59, 59, tzinfo=SYDNEY),
]
JUMPS = [timedelta(seconds=2), timedelta(hours=1), timedelta(days=1), timedelta(days=40)]
WINDOWS = ("none", "day", "week", "month")


class Clock:
    """What the bridge takes for the time. Deadlines do not look at it."""

    def __init__(self) -> None:
        self.now = EVES[0].astimezone(UTC)

    @contextmanager
    def set_under_everything(self) -> Iterator[None]:
        """While it lasts, the bridge's time stands still until it jumps."""
        with (
            patch.object(clock, "now", lambda: self.now),
            patch.object(clock, "now_micros", lambda: clock.to_micros(self.now)),
        ):
            yield


def clocks(jumps: int, directory: Path, upstream: HostileUpstream, seed: int = 0) -> Counter[str]:
    """Jump that often while calls with limits of every window are under way.

    Raises AssertionError where the books are not what the upstream counted, or a call fails.
    """
    chance, time = random.Random(seed), Clock()
    upstream.reset()
    upstream.will(stream(4, 0.01, prompt_tokens=100))
    with time.set_under_everything(), serving(directory) as bridge:
        bridge.upstream("hostile", upstream.base_url)
        bridge.model("gpt-test")
        alice = bridge.person("alice", "100000")
        keys = [alice.key(limit="50000", window=window) for window in WINDOWS]
        answers = _answers(bridge, keys, lambda: _jump(time, chance), jumps)
        assert answers.keys() == {"200"}, answers
        _compare(bridge, alice, answers["200"], upstream)
    return Counter({"jumps": jumps, "calls answered and charged exactly": answers["200"]})


def _jump(time: Clock, chance: random.Random) -> None:
    """To the eve of something, or off from where we are, either way."""
    if chance.random() < 0.3:
        time.now = chance.choice(EVES).astimezone(UTC)
    else:
        time.now += chance.choice(JUMPS) * chance.choice([1, -1])


def _answers(
    bridge: TestBridge, keys: list[Key], jump: Callable[[], None], jumps: int
) -> Counter[str]:
    over, answers = threading.Event(), Counter[str]()

    def call_on(key: Key) -> Counter[str]:
        got: Counter[str] = Counter()
        while not over.is_set():
            streamed = got.total() % 2 == 0
            answer = key.stream() if streamed else key.chat()
            whole = not streamed or b"[DONE]" in answer.content
            got[str(answer.status_code) if whole else "an error at the end"] += 1
        return got

    with ThreadPoolExecutor(2 * len(keys)) as pool:
        calls = [pool.submit(call_on, key) for key in keys * 2]
        try:
            for _ in range(jumps):
                begun = _holds(bridge)
                wait_for(lambda n=begun: _holds(bridge) > n + 2, 30)  # type: ignore[misc]
                jump()
        finally:
            over.set()
        for one in calls:
            answers += one.result()
    return answers


def _holds(bridge: TestBridge) -> int:
    with bridge.database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM holds")
        return int(cursor.fetchone()[0])


def _compare(bridge: TestBridge, alice: Person, answered: int, upstream: HostileUpstream) -> None:
    wait_for(lambda: alice.account.held_nanos == 0)
    bridge.check_books()
    assert len(upstream.seen()) == answered
    spent = 100_000 * 10**9 - alice.account.balance_nanos
    assert spent == answered * TOKENS * NANOS_PER_TOKEN
