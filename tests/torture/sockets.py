"""Every socket call of a call's life fails, in every way: see tests/socket_faults.py."""

from collections import Counter
from pathlib import Path

from hostile import HostileUpstream
from socket_faults import LIVES, faulty_lives


def sockets(rounds: int, directory: Path, upstream: HostileUpstream) -> Counter[str]:
    """That many rounds of all of it; what came of the calls. Raises AssertionError."""
    found: Counter[str] = Counter()
    with faulty_lives(directory, upstream) as lives:
        for _ in range(rounds):
            for life in LIVES:
                found += lives.fail_all(life)
        found["faults"] = lives.sockets.struck
    return found
