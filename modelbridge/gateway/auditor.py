"""The audit of the books in a process of its own, which takes nothing away from calls.

docs/decisions/0012-the-check-of-the-books.md says why. `python -m modelbridge.gateway.auditor PATH`
is that process: it writes its report to standard output, and ends when its standard input does.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Set
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from sqlalchemy.orm import Session

from modelbridge import clock, jsonio
from modelbridge.errors import Overloaded
from modelbridge.ledger.audit import BooksReport, check_books
from modelbridge.store.database import looking_at

NICE = 10  # a tenth of a core that others want, too; less, and the log of writes grows too long
WORK_SECONDS, REST_SECONDS = 0.25, 1.2
_ROOT = Path(__file__).parents[2]
_log = logging.getLogger("modelbridge.gateway")


class BrokenOff(Exception):
    """An audit came to no end, so nothing is known."""


class Auditor:
    """Has the books audited elsewhere, one audit at a time."""

    def __init__(self, cores: Set[int] = frozenset()) -> None:
        """`cores`: where audits may run; none: where this process does."""
        self._cores = cores
        self._turn = threading.Lock()
        self._door = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def audit(self, path: Path) -> BooksReport:
        """What the audit of the database in `path` finds.

        Raises BrokenOff, with the reason in the log, and Overloaded once the bridge stops.
        """
        with self._turn, self._begin(path) as child:
            assert child.stdout is not None  # noqa: S101  it is a pipe
            said = child.stdout.read()
        if child.returncode == 0:
            return BooksReport(**jsonio.loads(said.splitlines()[-1]))
        if self._stopped:
            raise _about_to_stop()
        how, why = child.returncode, said[-4000:].decode(errors="replace")
        _log.error("the check of the books failed, its process ended with %d: %s", how, why)
        raise BrokenOff("The check of the books broke off: the log says why.")

    def stop(self) -> None:
        """An audit that is under way is dead, and no other begins."""
        with self._door:
            self._stopped = True
            if self._child is not None:
                self._child.kill()

    def _begin(self, path: Path) -> "subprocess.Popen[bytes]":
        with self._door:
            if self._stopped:
                raise _about_to_stop()
            self._child = subprocess.Popen(  # noqa: S603  ourselves
                [sys.executable, "-m", __name__, str(path)],
                cwd=_ROOT,
                stdin=subprocess.PIPE,  # stays open for as long as we live
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            with suppress(AttributeError, OSError):  # not Linux, or not allowed
                os.setpriority(os.PRIO_PROCESS, self._child.pid, NICE)
                if self._cores:
                    os.sched_setaffinity(self._child.pid, self._cores)
            return self._child


def _about_to_stop() -> Overloaded:
    return Overloaded("the bridge is about to stop", retry_after=60)


def main() -> None:
    """The other process: told apart from ours by nothing but its command line."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the bridge, which ends us
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_bridge, daemon=True).start()
    with looking_at(Path(sys.argv[1])) as session:
        report = check_books(session, _Rests(session).rest)
    sys.stdout.buffer.write(jsonio.dumps(asdict(report)) + b"\n")


class _Rests:
    """Lets go, between two steps, of the state that is looked at.

    While somebody reads, the log of writes cannot begin anew, and commits to one that grows are
    dearer. The writer looks once a second whether it can.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._since = clock.monotonic()

    def rest(self) -> None:
        """Another state from now on; after so much work nobody reads at all for a while."""
        self._session.rollback()
        if clock.monotonic() - self._since > WORK_SECONDS:
            time.sleep(REST_SECONDS)
            self._since = clock.monotonic()


def _end_with_the_bridge() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
