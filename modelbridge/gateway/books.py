"""The audit of the books by the running bridge: on demand, and by itself every few hours."""

import logging
import threading
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.errors import Overloaded
from modelbridge.gateway.auditor import Auditor, BrokenOff
from modelbridge.ledger.audit import check_books
from modelbridge.store.database import Database
from modelbridge.store.tables import BooksCheck

LOOK_SECONDS = 60.0
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


class BooksClock:
    """A thread that has the books checked `hours` after the last check; 0 hours: never."""

    def __init__(self, database: Database, hours: float, auditor: Auditor) -> None:
        self._database = database
        self._every = timedelta(hours=hours)
        self._auditor = auditor
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="books", daemon=True)

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

    def _run(self) -> None:
        """Looks once a minute whether it is time; not before the first minute is over."""
        while not self._stop.wait(min(LOOK_SECONDS, self._every.total_seconds())):
            try:
                if self._is_due():
                    check_now(self._database, self._auditor)
            except (BrokenOff, Overloaded) as error:
                if not self._stop.is_set():
                    _log.warning("the books are checked again soon: %s", error)
            except Exception:
                _log.exception("the check of the books stumbled; it is tried again")

    def _is_due(self) -> bool:
        with self._database.reading() as session:
            last = latest(session)
        return not last or last[0].at + self._every <= clock.now()
