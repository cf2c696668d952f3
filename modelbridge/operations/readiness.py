"""Whether the bridge takes calls, and if not, why: what /readyz and the doctor say."""

import os
import threading
from dataclasses import dataclass

from modelbridge import clock
from modelbridge.errors import Overloaded
from modelbridge.gateway import books
from modelbridge.gateway.services import Gateway

WRITE_SECONDS = 1.0
FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason not to send calls here. `code`: draining, disk_low, ledger or books."""

    code: str
    message: str


class Readiness:
    """Looks at most once a second, so that whoever asks often costs nothing; any thread may ask."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lock = threading.Lock()
        self._looked_at = -FRESH_SECONDS
        self._found: list[Reason] = []

    def reasons(self) -> list[Reason]:
        """Why no calls should be sent here; none: it is ready."""
        gateway = self._gateway
        if gateway.leaving.is_set() or gateway.draining.is_set():
            return [Reason("draining", "The bridge is about to stop; calls under way may end.")]
        with self._lock:
            if clock.monotonic() - self._looked_at >= FRESH_SECONDS:
                self._found = self._look()
                self._looked_at = clock.monotonic()
            return self._found

    def _look(self) -> list[Reason]:
        looks = (self._disk(), self._ledger(), self._books())
        return [reason for reason in looks if reason is not None]

    def _disk(self) -> Reason | None:
        settings = self._gateway.settings
        free_bytes = free_bytes_at(settings.database_path.parent)
        if free_bytes >= settings.min_free_bytes:
            return None
        return Reason(
            "disk_low",
            f"{free_bytes // 2**20} MiB are free where the database is, less than the "
            f"{settings.min_free_bytes // 2**20} MiB of MODELBRIDGE_MIN_FREE_BYTES. Make room.",
        )

    def _ledger(self) -> Reason | None:
        try:
            self._gateway.database.try_write(WRITE_SECONDS)
        except TimeoutError:
            return Reason(
                "ledger",
                f"The database took no write within {WRITE_SECONDS:.0f} s: another process may "
                "have locked it, or the disk is very slow.",
            )
        except Overloaded as error:
            return Reason("ledger", f"The database cannot be written: {error.message}")
        return None

    def _books(self) -> Reason | None:
        with self._gateway.database.reading() as session:
            last = books.latest(session)
        if not last or last[0].ok:
            return None
        return Reason(
            "books",
            "The last check of the books found that they don't add up. Look at Administration, "
            "State, or run `flask books check`; once they do, check them again in either place.",
        )


def free_bytes_at(path: os.PathLike[str]) -> int:
    """What an ordinary process may still write there."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
