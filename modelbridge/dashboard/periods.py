"""Stretches of days that usage is shown for: a few usual ones, or from one day to another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from modelbridge import clock

CUSTOM = "custom"
DEFAULT = "30d"
EARLIEST = date(2020, 1, 1)
LATEST = date(2100, 1, 1)


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days of one time zone, the first and the last among them."""

    first: date
    last: date
    time_zone: str

    @property
    def start(self) -> datetime:
        """The first moment, in UTC."""
        return midnight(self.first, self.time_zone)

    @property
    def end(self) -> datetime:
        """The first moment after it, in UTC."""
        return midnight(self.last + timedelta(days=1), self.time_zone)


def midnight(day: date, time_zone: str) -> datetime:
    """When that day begins there, in UTC."""
    return datetime.combine(day, time.min, ZoneInfo(time_zone)).astimezone(UTC)


def today(time_zone: str) -> date:
    """The present day there."""
    return day_of(clock.now(), time_zone)


def month_of(day: date, time_zone: str) -> Period:
    """The whole month of that day."""
    first = day.replace(day=1)
    return Period(first, _month_end(first), time_zone)


def _month_end(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def _last_month(now: date) -> tuple[date, date]:
    last = now.replace(day=1) - timedelta(days=1)
    return last.replace(day=1), last


def _twelve_months(now: date) -> tuple[date, date]:
    begun = now.replace(day=1) - timedelta(days=330)
    return begun.replace(day=1), now


_REACHES: Mapping[str, tuple[str, Callable[[date], tuple[date, date]]]] = {
    "today": ("Today", lambda now: (now, now)),
    "7d": ("Last 7 days", lambda now: (now - timedelta(days=6), now)),
    "30d": ("Last 30 days", lambda now: (now - timedelta(days=29), now)),
    "month": ("This month", lambda now: (now.replace(day=1), now)),
    "last_month": ("Last month", _last_month),
    "12m": ("Last 12 months", _twelve_months),
}
CHOICES = tuple((name, label) for name, (label, _) in _REACHES.items())


def named(name: str, time_zone: str) -> Period:
    """One of the usual ones. Raises KeyError for any other name."""
    first, last = _REACHES[name][1](today(time_zone))
    return Period(first, last, time_zone)


def day_of(moment: datetime, time_zone: str) -> date:
    """The day of a moment there."""
    return moment.astimezone(ZoneInfo(time_zone)).date()
