"""The audit of the books by the running bridge: on demand, and by itself every few hours."""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.errors import Overloaded
from modelbridge.gateway.auditor import Auditor, BrokenOff
from modelbridge.ledger.audit import check_books
from modelbridge.store.database import Database
from modelbridge.store.tables import BooksCheck

LOOK_SECONDS = 60.0
_EXPECTED = (BrokenOff, Overloaded)
_log = logging.getLogger("modelbridge.gateway")


def check_now(database: Database, auditor: Auditor) -> BooksCheck:
    """Have everything audited and keep the outcome. Raises what `audit` raises."""
    row = audit(database, auditor)
    keep(database, row)
    if not row.ok:
        _log.error("the books do NOT add up: %s", "; ".join(row.problems[:5]))
    return row


def audit(database: Database, auditor: Auditor | None = None) -> BooksCheck:
    """The outcome of an audit of everything, which is not kept yet.

    An auditor does it in a process of its own. Raises BrokenOff, or Overloaded.
    """
    begun = clock.monotonic()
    if auditor is not None:
        report = auditor.audit(database.path)
    else:
        with database.reading() as session:
            report = check_books(session)
    return BooksCheck(
        id=ids.new_id("chk"),
        at=clock.now(),
        ok=report.ok,
        problems=report.problems,
        counts=report.counts,
        duration_micros=round((clock.monotonic() - begun) * 1_000_000),
    )


def keep(database: Database, row: BooksCheck) -> None:
    """Readiness, metrics, alerts and the doctor go by that outcome from now on."""
    with database.transaction() as session:
        session.add(row)


def latest(session: Session, most: int = 1) -> list[BooksCheck]:
    """The last checks, newest first."""
    newest = select(BooksCheck).order_by(BooksCheck.at.desc(), BooksCheck.id.desc())
    return list(session.scalars(newest.limit(most)))


@dataclass(frozen=True, slots=True)
class CheckRun:
    """The check that was begun last. `trouble`: why it came to nothing."""

    begun_at: datetime
    under_way: bool
    trouble: str = ""


class BooksClock:
    """Has the books checked `hours` after the last check (0 hours: never), and whenever asked.

    One check at a time: whoever asks while one is under way waits for that.
    """

    def __init__(self, database: Database, hours: float, auditor: Auditor) -> None:
        self._database = database
        self._every = timedelta(hours=hours)
        self._auditor = auditor
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="books", daemon=True)
        self._desk = ThreadPoolExecutor(1, "books-check")
        self._door = threading.Lock()
        self._check: Future[BooksCheck] | None = None
        self._begun_at = clock.now()

    def start(self) -> None:
        """Begin."""
        if self._every:
            self._thread.start()

    def stop(self) -> None:
        """End; a check that is under way comes to nothing."""
        self._stop.set()
        self._auditor.stop()
        if self._thread.is_alive():
            self._thread.join()
        self._desk.shutdown()

    def ask(self, seconds: float) -> BooksCheck | None:
        """The outcome of a check, None if it is still under way after that time.

        Raises what `check_now` raises.
        """
        check = self._begin()
        if wait([check], seconds).done:
            return check.result()
        check.add_done_callback(lambda check: self._log_failure(check.exception()))
        return None

    def last_run(self) -> CheckRun | None:
        """The check that is under way, or was last; None before the first since the start."""
        with self._door:
            check, begun_at = self._check, self._begun_at
        if check is None:
            return None
        if not check.done():
            return CheckRun(begun_at, under_way=True)
        return CheckRun(begun_at, under_way=False, trouble=_in_words(check.exception()))

    def _begin(self) -> Future[BooksCheck]:
        with self._door:
            if self._check is None or self._check.done():
                self._check = self._desk.submit(check_now, self._database, self._auditor)
                self._begun_at = clock.now()
            return self._check

    def _run(self) -> None:
        """Looks once a minute whether it is time; not before the first minute is over."""
        while not self._stop.wait(min(LOOK_SECONDS, self._every.total_seconds())):
            try:
                if self._is_due():
                    self._begin().result()
            except Exception as error:
                self._log_failure(error)

    def _log_failure(self, error: BaseException | None) -> None:
        """Nobody waits to be told of it; the page of the state shows it."""
        if error is not None and not self._stop.is_set():
            expected = isinstance(error, _EXPECTED)
            level, trace = (logging.WARNING, None) if expected else (logging.ERROR, error)
            _log.log(level, "a check of the books came to nothing: %s", error, exc_info=trace)

    def _is_due(self) -> bool:
        with self._database.reading() as session:
            last = latest(session)
        return not last or last[0].at + self._every <= clock.now()


def _in_words(error: BaseException | None) -> str:
    if error is None or isinstance(error, _EXPECTED):
        return str(error or "")
    return "Something went wrong in the check itself: the log says what."
