"""A seeded simulator of the ledger: random calls, crashes, faults and clocks, against a model.

    with a_simulator() as simulator:
        simulator.run(seed)     # one run; raises Violation with the seed and what happened
        simulator.play(seeds)   # many, several to a file: ten times as fast

A run is a few dozen steps on real books (`ledger_world`): top-ups, admissions, settlements (above
the hold, too), voids, forgotten outcomes, repeated ids, refused commits, processes that die at any
commit, sweeps, limits and windows that change, keys that are revoked, clocks that jump. Wherever a
unit is about to be committed another caller may come in between. `books_model.Model` says after
every step what the books must be; `check_books` says at the end whether they add up.

The same seed is the same run: `PYTHONPATH=. python tests/simulator.py 1000` runs seeds 0 to 999 and
says how many steps, crashes and violations there were; `… 7 8` runs seed 7 alone.

What makes it fast: runs follow one another in one file, each with accounts and keys of its own, so
that one audit at the end looks at the books of all of them (a run is over only when nothing of it
is open, and nothing is ever deleted); and after every step the books are read past the pool.
"""

import gc
import logging
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import time_machine
from books_look import BooksLook
from books_model import ZONE
from ledger_world import World, world_in
from simulation import BALANCE, GRACE_SECONDS, Place, Simulation, Violation

from modelbridge.ledger import accounts, postings

STARTS = [
    datetime(2026, 10, 3, 22, tzinfo=ZONE),  # summer time begins this night
    datetime(2027, 4, 3, 22, tzinfo=ZONE),  # and ends this one
    datetime(2028, 2, 28, 23, tzinfo=ZONE),
    datetime(2026, 12, 31, 23, 30, tzinfo=ZONE),
    datetime(2027, 6, 14, 12, tzinfo=ZONE),
]
PLACES = 25  # lives that share a file


class Simulator:
    """A place for any number of runs, one after the other."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._memory = sqlite3.connect(":memory:")
        self._places = [self._settle(world) for _ in range(PLACES)]
        self._look = BooksLook(world.database.path)
        # A process that dies here is an exception: nothing waits for a disk.
        world.database._connection.execute("PRAGMA synchronous = OFF")
        world.remember(self._memory)

    @staticmethod
    def _settle(world: World) -> Place:
        """Alice's account with a key, and her team's with two."""
        with world.database.transaction() as session:
            alice, team = (accounts.open_account(session, kind) for kind in ("user", "team"))
            for account in (alice, team):
                postings.top_up(session, account.id, BALANCE * world.TOKEN)
        keys = {world.key(account.id): account.id for account in (alice, team, team)}
        return Place((alice.id, team.id), keys)

    def close(self) -> None:
        """Nothing is remembered."""
        self._look.close()
        self._memory.close()

    def run(self, seed: int) -> Counter[str]:
        """One run and the audit; what happened, counted. Raises Violation."""
        self._begin_again()
        counts = self._live(seed, self._places[0])
        self._audit([seed])
        return counts

    def play(self, seeds: Sequence[int]) -> Counter[str]:
        """All those runs, some in one file with an audit at its end. Raises the first Violation."""
        counts: Counter[str] = Counter()
        for first in range(0, len(seeds), PLACES):
            together = seeds[first : first + PLACES]
            self._begin_again()
            for seed, place in zip(together, self._places, strict=False):
                counts.update(self._live(seed, place))
            self._audit(together)
        return counts

    def _begin_again(self) -> None:
        """The file is new, and its log empty: nobody else would ever empty it."""
        self._world.begin_again(self._memory)
        self._world.database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _live(self, seed: int, place: Place) -> Counter[str]:
        world = self._world
        submit, keys = world.database.submit, dict(world._key_accounts)
        try:
            with time_machine.travel(STARTS[seed % len(STARTS)], tick=False) as clock:
                simulation = Simulation(seed, world, place, self._look, clock)
                simulation.run()
        except Exception as error:  # whatever nobody expected is one too
            what = str(error) if isinstance(error, Violation) else repr(error)
            raise Violation(f"seed {seed}: {what}") from error
        finally:
            world.database.submit = submit  # type: ignore[method-assign]
            world._key_accounts = keys
        return simulation.counts

    def _audit(self, seeds: Sequence[int]) -> None:
        if problems := self._world.problems():
            raise Violation(f"seeds {', '.join(map(str, seeds))}: the audit: {problems}")


@contextmanager
def a_simulator() -> Iterator[Simulator]:
    """A simulator whose file is in memory, if there is a place for files in it."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory,
        world_in(Path(directory), MODELBRIDGE_HOLD_GRACE_SECONDS=str(GRACE_SECONDS)) as world,
        closing(Simulator(world)) as simulator,
        _quick_garbage(),
    ):
        yield simulator


@contextmanager
def _quick_garbage() -> Iterator[None]:
    """What there is now will not become garbage; what comes is looked through less often."""
    often = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*often)
        gc.unfreeze()


def main(first: int, last: int) -> int:
    """Play those seeds and say what came of it; returns the number of violations.

    A file that something is wrong in is played again, each life by itself, to say in which.
    """
    counts: Counter[str] = Counter()
    violations = 0
    started = time.perf_counter()
    with a_simulator() as simulator:
        for start in range(first, last, PLACES):
            seeds = range(start, min(start + PLACES, last))
            try:
                counts.update(simulator.play(seeds))
            except Violation as violation:
                print(violation, flush=True)
                violations += max(1, sum(_violates(simulator, seed) for seed in seeds))
            if (seeds.stop - first) % 1_000 == 0:
                seconds = time.perf_counter() - started
                told = ", ".join(
                    f"{counts[name]:,} {name}" for name in ("admitted", "crashes", "died")
                )
                print(
                    f"{seeds.stop - first:,} in {seconds:,.0f} s: {violations} violations; {told}",
                    flush=True,
                )
    seconds = time.perf_counter() - started
    print(f"seeds {first} to {last - 1}: {violations} violations in {seconds:.0f} s")
    for name, count in sorted(counts.items()):
        print(f"{count:>10,} {name}")
    return violations


def _violates(simulator: Simulator, seed: int) -> bool:
    try:
        simulator.run(seed)
    except Violation as violation:
        print(violation, flush=True)
        return True
    return False


if __name__ == "__main__":
    logging.disable()
    numbers = [int(word) for word in sys.argv[1:]] or [2_000]
    sys.exit(main(*([0, *numbers] if len(numbers) == 1 else numbers)) > 0)
