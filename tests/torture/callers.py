"""Callers that never rest, what they are told, and the books against what the upstream counted."""

import random
import threading
import time
from collections import Counter
from typing import Any, Self

import requests
from people import wait_for

from torture.real_bridge import RealBridge, cost_nanos, new_name

CALLERS = 12


class Callers:
    """A dozen callers, streamed and plain, from entering to leaving; each call has its name."""

    def __init__(self, bridge: RealBridge, chance: random.Random | None = None) -> None:
        self._bridge = bridge
        self._over = threading.Event()
        self._told: Counter[str] = Counter()
        self._lock = threading.Lock()
        seeds = (chance or random.Random(0)).sample(range(10**9), CALLERS)
        self._threads = [threading.Thread(target=self._call_on, args=(seed,)) for seed in seeds]
        self.slowest_seconds = 0.0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def told(self) -> Counter[str]:
        """What they were told since this was last asked: a status, or how the answer ended."""
        with self._lock:
            told, self._told = self._told, Counter()
            return told

    def told_when(self, when: str) -> Counter[str]:
        """`told`, each under the words for that time."""
        return Counter({f"{when}: {what}": count for what, count in self.told().items()})

    def refused(self) -> bool:
        """Whether one of them was told anything but success since `told` was last asked."""
        with self._lock:
            return any(what != "200" for what in self._told)

    def wait_for_answers(self, count: int, seconds: float = 60) -> None:
        """That many more calls have succeeded. Raises TimeoutError."""
        self.wait_for_told("200", count, seconds)

    def wait_for_told(self, what: str, count: int, seconds: float = 60) -> None:
        """That many more calls were told that. Raises TimeoutError."""
        until = self._told[what] + count
        wait_for(lambda: self._told[what] >= until, seconds)

    def _call_on(self, seed: int) -> None:
        chance = random.Random(seed)
        with requests.Session() as session:
            while not self._over.is_set():
                started = time.monotonic()
                told = self._call(session, chance)
                with self._lock:
                    self._told[told] += 1
                    self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - started)

    def _call(self, session: requests.Session, chance: random.Random) -> str:
        name = new_name()
        headers = {"Authorization": f"Bearer {self._bridge.key.secret}", "Idempotency-Key": name}
        body = {
            "model": "gpt-test",
            "messages": [{"role": "user", "content": "x" * chance.randint(1, 2_000)}],
            "max_tokens": 100,
            "user": name,
            "stream": chance.random() < 0.5,
        }
        url = f"{self._bridge.url}/v1/chat/completions"
        try:
            answer = session.post(url, headers=headers, json=body, timeout=60)
        except requests.RequestException:
            return "broken off"
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.json()['error']['code']}"
        whole = not body["stream"] or b"[DONE]" in answer.content
        return "200" if whole else "200, an error at the end"


def compare(
    bridge: RealBridge, seen: list[dict[str, Any]], counted: set[str] | None = None
) -> Counter[str]:
    """The upstream's count against the books. `counted`: calls that it counted earlier.

    What it was asked is posted, at its own count, or unknown, and no other call is posted. Raises
    AssertionError.
    """
    fates, found, names = bridge.fates(), Counter[str](), set[str]()
    for one in seen:
        name = one["body"]["user"]
        names.add(name)
        fate = fates.get(name)
        assert fate is not None, f"the upstream was called without a hold: {name}"
        assert fate.state in ("posted", "unknown"), f"{name}: {fate}"
        if fate.state == "posted":
            assert fate.charged_nanos == cost_nanos(one["usage"]), f"{name}: {fate}, {one['usage']}"
            assert not fate.flagged, f"{name}: {fate}"
        found[f"seen by the upstream and {fate.state}"] += 1
    known = names | (counted or set())
    posted = {name for name, fate in fates.items() if fate.state == "posted"}
    assert posted <= known, f"posted without a call: {posted - known}"
    if counted is not None:
        counted |= names
    return found
