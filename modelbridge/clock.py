"""The one source of time. Times are aware UTC; the database stores whole microseconds."""

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def now_micros() -> int:
    """The present moment in microseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000


def monotonic() -> float:
    """Seconds on a clock that never goes back: for deadlines and durations only."""
    return time.monotonic()


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware moment. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be stored")
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The aware UTC moment of that many microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=micros)
