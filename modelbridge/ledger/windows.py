"""Windows of a spending limit: none, or the day, week or month of the account's time zone."""

from datetime import datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from modelbridge import clock

WINDOWS = ("none", "day", "week", "month")


def window_start(window: str, time_zone: str, at: datetime) -> int:
    """Start of the window that holds `at`, in microseconds since 1970; 0 for `none`.

    A window starts at local midnight (of Monday, of the first) and lasts until the next one,
    also where daylight saving makes it an hour longer or shorter.
    """
    if window == "none":
        return 0
    day = at.astimezone(_zone(time_zone)).date()
    if window == "week":
        day -= timedelta(days=day.weekday())
    elif window == "month":
        day = day.replace(day=1)
    return clock.to_micros(datetime.combine(day, time.min, _zone(time_zone)))


def window_end(window: str, time_zone: str, at: datetime) -> datetime | None:
    """When the window that holds `at` ends and the next begins; None for `none`."""
    if window == "none":
        return None
    day = at.astimezone(_zone(time_zone)).date()
    if window == "day":
        day += timedelta(days=1)
    elif window == "week":
        day += timedelta(days=7 - day.weekday())
    else:
        day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return datetime.combine(day, time.min, _zone(time_zone)).astimezone(tz=clock.now().tzinfo)


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
