"""Which upstreams are having a rest after they failed. In memory: a restart forgives all."""

import threading
from dataclasses import asdict, dataclass

from modelbridge import clock


@dataclass
class _Record:
    failures: int = 0
    why: str = ""
    rests_until: float = 0.0
    failed_at: str | None = None
    worked_at: str | None = None


class Health:
    """What recent calls told of each upstream. Any thread may ask or tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}

    def failed(self, upstream_id: str, seconds: float, why: str = "") -> None:
        """It failed, and is to be left alone for that long; a longer rest is not cut short.

        `why` is the code of the error that the client was told.
        """
        with self._lock:
            record = self._records.setdefault(upstream_id, _Record())
            record.failures += 1
            record.why = why
            record.failed_at = clock.now().isoformat()
            record.rests_until = max(record.rests_until, clock.monotonic() + seconds)

    def worked(self, upstream_id: str) -> None:
        """It answered: its failures in a row are over, and so is its rest."""
        with self._lock:
            record = self._records.setdefault(upstream_id, _Record())
            record.failures = 0
            record.rests_until = 0.0
            record.worked_at = clock.now().isoformat()

    def resting(self, upstream_id: str) -> bool:
        """Whether it is better not called just now, when another one can answer."""
        record = self._records.get(upstream_id)
        return record is not None and clock.monotonic() < record.rests_until

    def snapshot(self) -> dict[str, dict[str, object]]:
        """By upstream id: failures in a row, the newest one's code, seconds of rest left, and when
        it last did what.
        """
        now = clock.monotonic()
        with self._lock:
            found = {upstream_id: asdict(one) for upstream_id, one in self._records.items()}
        for one in found.values():
            one["rest_seconds"] = max(0.0, one.pop("rests_until") - now)
        return found
