"""Another process locks the database for half a minute while calls come in."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from faulty import locked_by_another_process
from hostile import HostileUpstream, reply, stream
from people import wait_for

from torture.callers import Callers, compare
from torture.real_bridge import RealBridge, quiet


def locked(seconds: int, directory: Path, upstream: HostileUpstream) -> Counter[str]:
    """Hold the lock for that long; what callers were told. Raises AssertionError."""
    path = directory / "modelbridge.db"

    def lock() -> None:
        with locked_by_another_process(path):
            time.sleep(seconds)

    return disturbed(lock, directory, upstream)


def disturbed(
    disturb: Callable[[], None], directory: Path, upstream: HostileUpstream
) -> Counter[str]:
    """What callers are told before, during and after; then the books against the upstream."""
    bridge = RealBridge(directory, upstream)
    upstream.reset()
    upstream.will(*[reply(delay=0.02), stream(5, 0.01)] * 500)
    bridge.start()
    found: Counter[str] = Counter()
    try:
        with Callers(bridge) as callers:
            for when, happens in (("before", None), ("during", disturb), ("after", None)):
                callers.told()
                if happens is None:
                    callers.wait_for_answers(50)
                else:
                    happens()
                found += callers.told_when(when)
            found["seconds that the slowest caller waited"] = round(callers.slowest_seconds)
        wait_for(lambda: bridge.open_nanos() == 0, 30)
        found += compare(bridge, quiet(upstream))
    finally:
        bridge.stop()
    assert bridge.problems() == []
    assert found["after: 200"] >= 50, found
    return found
