"""kill -9 under load at random instants: what the upstream counted is posted, or unknown."""

import random
import time
from collections import Counter
from pathlib import Path

from hostile import HostileUpstream, Step, reply, stream

from torture.callers import Callers, compare
from torture.real_bridge import RealBridge, quiet


def kills(count: int, directory: Path, upstream: HostileUpstream, seed: int = 0) -> Counter[str]:
    """Kill a bridge that many times; what was found, counted. Raises AssertionError."""
    chance = random.Random(seed)
    bridge = RealBridge(directory, upstream)
    found: Counter[str] = Counter()
    counted: set[str] = set()
    for _ in range(count):
        upstream.reset()
        upstream.will(*(_step(chance) for _ in range(400)))
        bridge.start()
        with Callers(bridge, chance):
            time.sleep(chance.uniform(0.05, 1.2))
            bridge.kill()
        seen = quiet(upstream)
        bridge.recover()
        found += compare(bridge, seen, counted)
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
