"""kill -9 under load at random instants: what the upstream counted is posted, or unknown."""

import random
import threading
import time
from collections import Counter
from pathlib import Path

import requests
from hostile import HostileUpstream, Step, reply, stream

from torture.real_bridge import RealBridge, cost_nanos, new_name, quiet

CALLERS = 12


def kills(count: int, directory: Path, upstream: HostileUpstream, seed: int = 0) -> Counter[str]:
    """Kill a bridge that many times; what was found, counted. Raises AssertionError."""
    chance = random.Random(seed)
    bridge = RealBridge(directory, upstream)
    found: Counter[str] = Counter()
    for _ in range(count):
        upstream.reset()
        upstream.will(*(_step(chance) for _ in range(400)))
        bridge.start()
        _load_until_killed(bridge, chance)
        seen = quiet(upstream)
        bridge.recover()
        found += _compare(bridge, seen)
        assert bridge.problems() == []
        found["kills"] += 1
    found["unknown, resolved afterwards"] = bridge.sweep()
    assert bridge.problems() == []
    states = Counter(fate.state for fate in bridge.fates().values())
    assert states.keys() <= {"posted", "void"}
    return found


def _step(chance: random.Random) -> Step:
    said, answered = chance.randint(1, 500), chance.randint(1, 60)
    if chance.random() < 0.4:
        delay = chance.choice([0.0, 0.02, 0.1])
        return reply(delay=delay, prompt_tokens=said, completion_tokens=answered)
    spacing = chance.choice([0.0, 0.005, 0.02])
    chunks = chance.randint(1, 20)
    return stream(chunks, spacing, prompt_tokens=said, completion_tokens=answered)


def _load_until_killed(bridge: RealBridge, chance: random.Random) -> None:
    over = threading.Event()
    callers = [
        threading.Thread(target=_call_on_and_on, args=(bridge, over, seed))
        for seed in chance.sample(range(10**9), CALLERS)
    ]
    for caller in callers:
        caller.start()
    time.sleep(chance.uniform(0.05, 1.2))
    bridge.kill()
    over.set()
    for caller in callers:
        caller.join()


def _call_on_and_on(bridge: RealBridge, over: threading.Event, seed: int) -> None:
    chance = random.Random(seed)
    with requests.Session() as session:
        while not over.is_set():
            name = new_name()
            try:
                session.post(
                    f"{bridge.url}/v1/chat/completions",
                    headers={
                        "Authorization": f"Bearer {bridge.key.secret}",
                        "Idempotency-Key": name,
                    },
                    json={
                        "model": "gpt-test",
                        "messages": [{"role": "user", "content": "x" * chance.randint(1, 2_000)}],
                        "max_tokens": 100,
                        "user": name,
                        "stream": chance.random() < 0.5,
                    },
                    timeout=30,
                )
            except requests.RequestException:
                continue


def _compare(bridge: RealBridge, seen: list[dict[str, object]]) -> Counter[str]:
    """The upstream's count against the books, of the calls since the last kill."""
    fates = bridge.fates()
    found: Counter[str] = Counter()
    names = set()
    for one in seen:
        body = one["body"]
        assert isinstance(body, dict)
        names.add(body["user"])
        fate = fates.get(body["user"])
        assert fate is not None, f"the upstream was called without a hold: {body['user']}"
        assert fate.state in ("posted", "unknown"), f"{body['user']}: {fate}"
        if fate.state == "posted":
            usage = one["usage"]
            assert isinstance(usage, dict)
            assert fate.charged_nanos == cost_nanos(usage), f"{body['user']}: {fate}, {usage}"
            assert not fate.flagged
        found[f"seen by the upstream and {fate.state}"] += 1
    bridge_posted = {
        name for name, fate in fates.items() if fate.state == "posted" and name not in _counted
    }
    assert bridge_posted <= names, f"posted without a call: {bridge_posted - names}"
    _counted.update(names)
    return found


_counted: set[str] = set()
