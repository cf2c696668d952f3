"""`make torture`: the long runs, one after the other; each says what it found.

From tests/: `python -m torture [PART=COUNT …]`, such as `kills=20 bound=1000`; `short` does a
little of everything; without arguments it is all of it, which takes hours. docs/reliability.md says
how much was run.
"""

import logging
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hostile import HostileUpstream
from simulator import main as simulate

from torture.backups import backups
from torture.bound import bound
from torture.clocks import clocks
from torture.full import full
from torture.fuzz_http import fuzz
from torture.hang_ups import hang_ups
from torture.kills import kills
from torture.limits import race
from torture.locked import locked
from torture.sockets import sockets
from torture.steady import steady
from torture.streams import streams

Part = Callable[[int, Path, HostileUpstream], Mapping[str, object]]


def _simulator(count: int, directory: Path, upstream: HostileUpstream) -> Mapping[str, object]:
    violations = simulate(0, count)
    assert violations == 0, f"{violations} violations"
    return {"violations": 0}


# How often each is done, in full and in short; `locked` and `steady` are seconds.
PARTS: dict[str, tuple[int, int, Part]] = {
    "bound": (100_000, 500, lambda count, *_: bound(count)),
    "backups": (50, 2, backups),
    "clocks": (200, 5, clocks),
    "full": (3, 1, full),
    "fuzz": (50_000, 400, fuzz),
    "hang-ups": (1_000, 20, hang_ups),
    "kills": (200, 3, kills),
    "locked": (30, 8, locked),
    "rounds": (100, 1, lambda count, *rest: race(count, (0, 1, 7, 100), *rest)),
    "steady": (1_200, 20, steady),
    "simulator": (100_000, 100, _simulator),
    "sockets": (3, 1, sockets),
    "streams": (200_000, 500, lambda count, *_: streams(count)),
}


def _asked(words: list[str]) -> dict[str, int]:
    """How often each part is done. Ends the program where a word says nothing."""
    named = {}
    for word in words:
        name, is_named, count = word.partition("=")
        if is_named and name in PARTS and count.isdecimal():
            named[name] = int(count)
        elif word != "short":
            parts = ", ".join(PARTS)
            sys.exit(f"{word!r} is neither short nor PART=COUNT; the parts are {parts}")
    counts = {name: short if "short" in words else long for name, (long, short, _) in PARTS.items()}
    return named or counts


def main(words: list[str]) -> int:
    """Run the parts that are asked for; 1 if any of them found something wrong."""
    logging.disable()
    failed = 0
    for name, count in _asked(words).items():
        print(f"== {name}: {count}", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as directory, HostileUpstream.start() as upstream:
            try:
                found = PARTS[name][2](count, Path(directory), upstream)
            except (AssertionError, TimeoutError) as error:
                failed += 1
                found = {"WRONG": error}
        for what, number in found.items():
            print(f"   {what}: {number}")
        print(f"   in {time.monotonic() - started:.0f} s", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
