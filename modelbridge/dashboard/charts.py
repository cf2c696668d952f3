"""Stacked bars over time, reckoned in whole numbers; templates/macros/charts.html draws them.

The units of the drawing are its own: the macro stretches it to whatever room there is.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from modelbridge.money import NANOS

MOST_SERIES = 6
OTHERS = "Others"
HEIGHT = 240
_STEP, _BAR = 20, 14
_DAYS_BEFORE_MONTHS = 93


@dataclass(frozen=True, slots=True)
class Bucket:
    """One place on the time axis. `key` is a day (2026-11-23) or a month (2026-11)."""

    key: str
    label: str


@dataclass(frozen=True, slots=True)
class Series:
    """One colour: its number from 1 on, and what it comes to over all bars, in nano-AUD."""

    number: int
    label: str
    total_nanos: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar, in units of the drawing; `amount_nanos` is what it stands for."""

    series: Series
    y: int
    height: int
    amount_nanos: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; the first segment is the lowest."""

    label: str
    x: int
    total_nanos: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that is drawn. `top_nanos` is the amount at the upper edge."""

    bars: tuple[Bar, ...]
    series: tuple[Series, ...]
    top_nanos: int
    total_nanos: int
    bar_width: int = _BAR
    step: int = _STEP
    height: int = HEIGHT

    @property
    def width(self) -> int:
        """Of the whole drawing."""
        return len(self.bars) * _STEP

    @property
    def ticks(self) -> tuple[Bar, ...]:
        """The bars whose labels stand below the axis: the first, the middle and the last."""
        last = len(self.bars) - 1
        return tuple(self.bars[place] for place in sorted({0, last // 2, last}))


def days(first: date, last: date) -> list[Bucket]:
    """A bucket for every day from `first` to `last`."""
    count = (last - first).days + 1
    each = (first + timedelta(days=number) for number in range(count))
    return [Bucket(day.isoformat(), f"{day.day} {day:%b}") for day in each]


def months(first: date, last: date) -> list[Bucket]:
    """A bucket for every month that has a day between `first` and `last`."""
    found, month = [], first.replace(day=1)
    while month <= last:
        found.append(Bucket(f"{month:%Y-%m}", f"{month:%b %Y}"))
        month = (month + timedelta(days=32)).replace(day=1)
    return found


def buckets(first: date, last: date) -> list[Bucket]:
    """Days, or months where days would be too many to tell apart."""
    is_long = (last - first).days >= _DAYS_BEFORE_MONTHS
    return months(first, last) if is_long else days(first, last)


def stacked(amounts: Mapping[tuple[str, str], int], over: Sequence[Bucket]) -> Chart:
    """The chart of amounts in nano-AUD by (day, what it was for), the dearest lowest.

    Days that fall into a month's bucket are added up; whatever is dearest has a series of its
    own, the rest share one.
    """
    key_length = len(over[0].key)
    totals: dict[str, int] = defaultdict(int)
    for (_, name), amount in amounts.items():
        totals[name] += amount
    ranked = sorted((name for name in totals if totals[name]), key=lambda n: (-totals[n], n))
    shown = ranked if len(ranked) <= MOST_SERIES + 1 else ranked[:MOST_SERIES]
    by_bucket: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (day, name), amount in amounts.items():
        by_bucket[day[:key_length]][name if name in shown else OTHERS] += amount
    names = shown if shown == ranked else [*shown, OTHERS]
    series = tuple(
        Series(number, name, sum(parts.get(name, 0) for parts in by_bucket.values()))
        for number, name in enumerate(names, start=1)
    )
    top = _nice(max((sum(parts.values()) for parts in by_bucket.values()), default=0))
    bars = tuple(
        _bar(bucket.label, place, by_bucket.get(bucket.key, {}), series, top)
        for place, bucket in enumerate(over)
    )
    return Chart(bars, series, top, sum(totals.values()))


def _bar(
    label: str, place: int, parts: Mapping[str, int], series: Sequence[Series], top: int
) -> Bar:
    segments, filled = [], 0
    for one in series:
        amount = parts.get(one.label, 0)
        if amount > 0:
            # Whatever costs anything is seen, were it by a hair.
            height = max(1, HEIGHT * amount // top)
            filled += height
            segments.append(Segment(one, HEIGHT - filled, height, amount))
    x = place * _STEP + (_STEP - _BAR) // 2
    return Bar(label, x, sum(parts.values()), tuple(segments))


def _nice(amount_nanos: int) -> int:
    """The least 1, 2 or 5 times a power of ten that is not below the amount; AUD 1 for nothing."""
    if amount_nanos <= 0:
        return NANOS
    power = int("1".ljust(len(str(amount_nanos)), "0"))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= amount_nanos)
