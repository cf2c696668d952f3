"""Windows of a limit: from local midnight to local midnight, also where clocks are changed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from ledger_world import World, world_in

from modelbridge import clock
from modelbridge.errors import MaxTokensUnaffordable, SpendingLimitReached
from modelbridge.ledger.limits import (
    set_account_limit,
    set_account_time_zone,
    set_key_limit,
)
from modelbridge.ledger.windows import window_end, window_start

SYDNEY = "Australia/Sydney"
ZONE = ZoneInfo(SYDNEY)


def sydney(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=ZONE)  # type: ignore[misc,arg-type]


def start(window: str, at: datetime, zone: str = SYDNEY) -> datetime:
    return clock.from_micros(window_start(window, zone, at.astimezone(UTC)))


def end(window: str, at: datetime, zone: str = SYDNEY) -> datetime:
    found = window_end(window, zone, at.astimezone(UTC))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("window", "first", "after", "hours"),
    [
        ("day", (2026, 10, 4), (2026, 10, 5), 23),  # summer time begins at 2:00
        ("day", (2027, 4, 4), (2027, 4, 5), 25),  # and ends at 3:00
        ("day", (2026, 10, 3), (2026, 10, 4), 24),
        ("week", (2026, 9, 28), (2026, 10, 5), 7 * 24 - 1),
        ("week", (2027, 3, 29), (2027, 4, 5), 7 * 24 + 1),
        ("month", (2026, 10, 1), (2026, 11, 1), 31 * 24 - 1),
        ("month", (2027, 4, 1), (2027, 5, 1), 30 * 24 + 1),
        ("day", (2028, 2, 29), (2028, 3, 1), 24),
        ("month", (2028, 2, 1), (2028, 3, 1), 29 * 24),
        ("month", (2027, 2, 1), (2027, 3, 1), 28 * 24),
        ("month", (2026, 12, 1), (2027, 1, 1), 31 * 24),
        ("week", (2026, 12, 28), (2027, 1, 4), 7 * 24),
    ],
)
def test_a_window_runs_from_local_midnight_to_local_midnight(
    window: str, first: tuple[int, ...], after: tuple[int, ...], hours: int
) -> None:
    opens, closes = sydney(*first), sydney(*after)
    moment = timedelta(microseconds=1)
    for at in (opens, opens + (closes - opens) / 2, closes - moment):
        assert start(window, at) == opens
        assert end(window, at) == closes
    assert start(window, closes) == closes
    assert end(window, (opens.astimezone(UTC) - moment)) == opens
    assert closes.astimezone(UTC) - opens.astimezone(UTC) == timedelta(hours=hours)


def test_the_hour_that_comes_twice_is_in_one_day() -> None:
    first = datetime(2027, 4, 4, 2, 30, tzinfo=ZONE, fold=0)
    second = datetime(2027, 4, 4, 2, 30, tzinfo=ZONE, fold=1)
    assert second.astimezone(UTC) - first.astimezone(UTC) == timedelta(hours=1)
    assert start("day", first) == start("day", second) == sydney(2027, 4, 4)


def test_a_midnight_that_does_not_exist_is_the_moment_after_the_gap() -> None:
    # In Santiago summer time began at midnight of 8 September 2024: the day begins at 1:00.
    zone = ZoneInfo("America/Santiago")
    noon = datetime(2024, 9, 8, 12, tzinfo=zone)
    opens = start("day", noon, "America/Santiago")
    assert opens == datetime(2024, 9, 8, 4, tzinfo=UTC)
    assert end("day", noon - timedelta(days=1), "America/Santiago") == opens


def test_no_window_has_no_beginning_and_no_end() -> None:
    assert window_start("none", SYDNEY, clock.now()) == 0
    assert window_end("none", SYDNEY, clock.now()) is None


@given(
    st.sampled_from(["day", "week", "month"]),
    st.sampled_from([SYDNEY, "UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia"]),
    st.integers(946_684_800_000_000, 4_102_444_800_000_000).map(clock.from_micros),
)
def test_windows_neither_overlap_nor_leave_a_gap(window: str, zone: str, at: datetime) -> None:
    opens, closes = start(window, at, zone), end(window, at, zone)
    assert opens <= at < closes
    assert start(window, closes, zone) == closes
    assert end(window, opens, zone) == closes
    assert start(window, closes - timedelta(microseconds=1), zone) == opens
    local = opens.astimezone(ZoneInfo(zone))
    if window == "month":
        assert local.day == 1
    if window == "week":
        assert local.weekday() == 0


# In the books


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world
        assert world.problems() == []


CHANGES = [date(2026, 10, 4), date(2027, 4, 4)]


@pytest.mark.parametrize("day", CHANGES)
@pytest.mark.parametrize("whose", ["key", "account"])
def test_a_daily_limit_starts_afresh_at_local_midnight_across_daylight_saving(
    world: World, day: date, whose: str
) -> None:
    opens = sydney(day.year, day.month, day.day)
    with time_machine.travel(opens - timedelta(hours=3), tick=False) as now:
        key = world.key()
        world.limit(whose, key, 100, "day")
        world.spend(key, 100)
        now.move_to(opens.astimezone(UTC) - timedelta(microseconds=1))
        with pytest.raises(SpendingLimitReached) as refused:
            world.spend(key, 1)
        assert f"afresh on {opens.astimezone(UTC):%Y-%m-%d at %H:%M UTC}" in refused.value.message
        now.move_to(opens)
        world.spend(key, 100)
        tomorrow = opens + timedelta(days=1)  # by the wall clock: 23 or 25 hours
        now.move_to(tomorrow.astimezone(UTC) - timedelta(microseconds=1))
        with pytest.raises(SpendingLimitReached):
            world.spend(key, 1)
        now.move_to(tomorrow)
        world.spend(key, 100)


@pytest.mark.parametrize("window", ["day", "week", "month"])
def test_what_is_spent_belongs_to_the_window_of_admission(world: World, window: str) -> None:
    midnight = sydney(2027, 3, 1)  # a Monday and the first of a month
    with time_machine.travel(midnight - timedelta(seconds=5), tick=False) as now:
        key = world.key()
        world.limit("key", key, 100, window)
        charge = world.admit(key, 60)
        now.move_to(midnight)
        other = world.admit(key, 100)  # the new window is empty
        charge.settle(world.usage(60), "reported")
        other.settle(world.usage(30), "reported")
        assert world.spent(key) == 30 * world.TOKEN
        now.move_to(midnight - timedelta(seconds=1))
        assert world.spent(key) == 60 * world.TOKEN


def test_an_unknown_call_is_charged_in_the_window_of_its_admission(world: World) -> None:
    midnight = sydney(2026, 10, 5)
    with time_machine.travel(midnight - timedelta(seconds=5), tick=False) as now:
        key = world.key()
        world.limit("key", key, 100, "day")
        charge = world.admit(key, 60)
        charge.keep_evidence(None, 4 * 10)
        world.crash()
        now.move_to(midnight + timedelta(days=3))
        world.sweep()
        assert world.spent(key) == 0
        now.move_to(midnight - timedelta(seconds=5))
        assert world.spent(key) == 10 * world.TOKEN


def test_a_window_that_changes_while_calls_run_takes_them_along(world: World) -> None:
    with time_machine.travel(sydney(2026, 10, 4, 1), tick=False) as now:
        key = world.key()
        world.limit("key", key, 100, "day")
        world.spend(key, 20)
        running = world.admit(key, 50)
        now.move_to(sydney(2026, 10, 5, 1))
        world.limit("key", key, 100, "week")
        # Monday's week has begun: Sunday's spending and Sunday's hold are not in it
        assert (world.spent(key), world.held(key)) == (0, 0)
        world.limit("key", key, 100, "month")
        assert (world.spent(key), world.held(key)) == (20 * world.TOKEN, 50 * world.TOKEN)
        running.settle(world.usage(50), "reported")
        assert (world.spent(key), world.held(key)) == (70 * world.TOKEN, 0)
        with pytest.raises(MaxTokensUnaffordable, match="at most 30 tokens"):
            world.spend(key, 31)
        world.limit("key", key, 100, "none")
        assert world.spent(key) == 70 * world.TOKEN


@pytest.mark.parametrize("whose", ["key", "account"])
@pytest.mark.parametrize("days", [-40, -1, 40])
def test_a_clock_that_jumps_and_a_window_that_changes_lose_no_spending(
    world: World, whose: str, days: int
) -> None:
    noon = sydney(2026, 10, 14, 12)
    with time_machine.travel(noon, tick=False) as now:
        key = world.key()
        world.limit(whose, key, 100, "day")
        world.spend(key, 100)
        now.move_to(noon + timedelta(days=days))
        world.limit(whose, key, 100, "week")
        world.limit(whose, key, 100, "day")
        world.spend(key, 100)
        now.move_to(noon)
        with pytest.raises(SpendingLimitReached):
            world.spend(key, 1)


def test_a_limit_lowered_below_what_was_spent_admits_nothing_and_claws_nothing_back(
    world: World,
) -> None:
    key = world.key()
    world.limit("key", key, 100, "none")
    running = world.admit(key, 40)
    world.spend(key, 60)
    world.limit("key", key, 10, "none")
    with pytest.raises(SpendingLimitReached):
        world.spend(key, 1)
    assert running.settle(world.usage(40), "reported") == 40 * world.TOKEN
    assert world.spent(key) == 100 * world.TOKEN


@pytest.mark.parametrize(
    ("limit", "window", "field"),
    [(1, "year", "window"), (-1, "none", "limit"), (2**63, "day", "limit")],
)
def test_a_limit_that_cannot_be_is_refused(
    world: World, limit: int, window: str, field: str
) -> None:
    key = world.key()
    with world.database.transaction() as session:
        with pytest.raises(ValueError, match=f"^{field}: "):
            set_key_limit(session, key, limit, window)
        with pytest.raises(ValueError, match=f"^{field}: "):
            set_account_limit(session, world.account_id, limit, window)


def test_an_account_that_moves_to_another_zone_takes_its_spending_along(world: World) -> None:
    with time_machine.travel(sydney(2026, 10, 14, 8), tick=False):  # the evening before in Berlin
        keys = [world.key() for _ in range(2)]
        world.limit("key", keys[0], 100, "day")
        world.limit("account", keys[0], 150, "day")
        world.spend(keys[0], 40)
        running = world.admit(keys[0], 40)
        with world.database.transaction() as session:
            set_account_time_zone(session, world.account_id, "Europe/Berlin")
        assert (world.spent(keys[0]), world.held(keys[0])) == (40 * world.TOKEN, 40 * world.TOKEN)
        running.settle(world.usage(40), "reported")
        with pytest.raises(MaxTokensUnaffordable, match="at most 20 tokens"):
            world.spend(keys[0], 21)
        with pytest.raises(MaxTokensUnaffordable, match="at most 70 tokens"):
            world.spend(keys[1], 71)
        assert world.problems() == []
    with time_machine.travel(sydney(2026, 10, 14, 9), tick=False):  # midnight there
        world.spend(keys[0], 100)
