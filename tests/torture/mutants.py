"""`make mutants`: one small mistake at a time in the money path, each to be noticed by a test.

From tests/: `python -m torture.mutants [MODULE …]`, such as `money ledger.holds`. The mistakes are
mutmut's, and three more (a call left out, a refusal left out, a condition turned round); they are
made in memory, in a forked process each, so that no file is touched and nothing is imported twice.
A mistake is tried on the tests that run the line it is in, the quickest first, without those that
need a second process. What survives is printed; docs/reliability.md says what it means.
"""

import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]
sys.path.append(str(ROOT / ".venv" / "tokenizers"))

from torture.forked import Trial  # noqa: E402
from torture.mistakes import mistakes_of  # noqa: E402

AUDIT = ("test_books.py", "test_books_in_sets.py")
LEDGER = ("test_windows.py", "test_books.py", "test_holds.py")
# Each module, and the tests that hold it.
MODULES: dict[str, tuple[str, ...]] = {
    "money": ("test_money.py",),
    "gateway.bounds": ("test_bounds.py",),
    "catalog.prices": ("test_prices.py",),
    "ledger.windows": ("test_windows.py",),
    "ledger.limits": ("test_windows.py", "test_books.py"),
    "ledger.postings": ("test_books.py",),
    "ledger.history": ("test_history.py",),
    "ledger.accounts": LEDGER,
    "ledger.holds": LEDGER,
    "ledger.sql": LEDGER,
    "ledger.audit": AUDIT,
    "ledger.audit_receipts": AUDIT,
    "ledger.audit_windows": AUDIT,
}


def main(words: list[str]) -> int:
    """Try the modules that are asked for, or all; 1 if fewer than 95 % of mistakes are noticed."""
    asked = [word for word in words if "=" not in word] or list(MODULES)
    if unknown := [name for name in asked if name not in MODULES]:
        sys.exit(f"{unknown[0]!r} is no module of these: {', '.join(MODULES)}")
    every = next((int(word.removeprefix("every=")) for word in words if "=" in word), 1)
    found = Counter[str]()
    with tempfile.TemporaryDirectory() as directory:
        for name in asked:
            found += _try(Path(directory), name, every)
    noticed = found["noticed"] / max(1, found.total())
    print(f"== {found['noticed']} of {found.total()} noticed: {noticed:.1%}")
    return int(noticed < 0.95)


def _try(directory: Path, name: str, every: int) -> Counter[str]:
    """Every mistake in one module, or one in so many; prints what survives."""
    path = ROOT / "modelbridge" / f"{name.replace('.', '/')}.py"
    started, found = time.monotonic(), Counter[str]()
    mistakes = list(mistakes_of(path.read_text()))
    random.Random(0).shuffle(mistakes)  # so that one in so many is a fair sample
    trial = Trial(directory, f"modelbridge.{name}", path, MODULES[name])
    with contextlib.suppress(KeyboardInterrupt):  # what was tried until then counts
        for mistake in mistakes[::every]:
            outcome = trial.of(mistake)
            found[outcome] += 1
            if outcome != "noticed":
                print(f"{outcome} {path.name}:{mistake.line}: {mistake.before} -> {mistake.after}")
    print(
        f"{name}: {found['noticed']} of {found.total()} noticed ({len(mistakes)} can be made), "
        f"in {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
