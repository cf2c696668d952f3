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
from modelbridge.errors import BudgetInFlight, MaxTokensUnaffordable, SpendingLimitReached
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


@pytest.mark.parametrize("whose", ["key", "account"])
def test_a_day_that_is_opened_again_has_its_first_moment_and_not_the_next_days(
    world: World, whose: str
) -> None:
    midnight = sydney(2026, 10, 14)
    with time_machine.travel(midnight, tick=False) as now:
        key = world.key()
        assert (world.spent(key), world.held(key)) == (0, 0)  # before its first call
        world.limit(whose, key, 200, "day")
        world.spend(key, 100)
        world.limit(whose, key, 200, "month")
        world.limit(whose, key, 200, "day")
        with pytest.raises(MaxTokensUnaffordable):
            world.spend(key, 101)
        now.move_to(midnight + timedelta(days=1))
        world.spend(key, 30)
        world.limit(whose, key, 200, "month")
        world.limit(whose, key, 200, "day")  # the row of the day before is gone
        now.move_to(midnight + timedelta(hours=1))
        with pytest.raises(MaxTokensUnaffordable):
            world.spend(key, 101)
        world.spend(key, 100)


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
        with pytest.raises(BudgetInFlight, match="the account's spending limit"):
            world.admit(keys[1], 71)  # what runs still counts in the account's new day, too
        running.settle(world.usage(40), "reported")
        with pytest.raises(MaxTokensUnaffordable, match="at most 20 tokens"):
            world.spend(keys[0], 21)
        with pytest.raises(MaxTokensUnaffordable, match="at most 70 tokens"):
            world.spend(keys[1], 71)
        assert world.problems() == []
    with time_machine.travel(sydney(2026, 10, 14, 9), tick=False):  # midnight there
        world.spend(keys[0], 100)


def test_a_zone_that_does_not_exist_is_refused(world: World) -> None:
    with (
        world.database.transaction() as session,
        pytest.raises(ValueError, match="^time_zone: 'Sydney' is not a zone"),
    ):
        set_account_time_zone(session, world.account_id, "Sydney")
    assert world.account.time_zone == SYDNEY


@pytest.mark.parametrize("zone", [SYDNEY, "Europe/Berlin"])
def test_a_move_leaves_limits_without_a_window_as_they_are(world: World, zone: str) -> None:
    key = world.key()
    world.limit("key", key, 100, "none")
    world.limit("account", key, 100, "none")
    world.spend(key, 30)
    running = world.admit(key, 20)
    with world.database.transaction() as session:
        set_account_time_zone(session, world.account_id, zone)
    assert world.account.time_zone == zone
    assert (world.spent(key), world.held(key)) == (30 * world.TOKEN, 20 * world.TOKEN)
    assert world.account.spent_nanos == 30 * world.TOKEN
    running.settle(world.usage(20), "reported")
    with pytest.raises(MaxTokensUnaffordable, match="at most 50 tokens"):
        world.spend(key, 51)


def test_a_move_sorts_the_keys_of_that_account_and_of_no_other(world: World) -> None:
    from modelbridge.ledger import accounts, limits, postings

    with time_machine.travel(sydney(2026, 10, 14, 8), tick=False):
        with world.database.transaction() as session:
            other = accounts.open_account(session, "team").id
            postings.top_up(session, other, 1_000 * world.TOKEN)
        mine, theirs = world.key(), world.key(other)
        for key in (mine, theirs):
            world.limit("key", key, 100, "day")
            world.spend(key, 10)
        before = world.look("SELECT * FROM spending ORDER BY subject_id")
        with world.database.transaction() as session:
            set_account_time_zone(session, world.account_id, "Europe/Berlin")
        after = world.look("SELECT * FROM spending ORDER BY subject_id")
        starts = {subject: start for subject, start, *_ in after}
        assert starts[mine] == window_start("day", "Europe/Berlin", clock.now())
        assert starts[theirs] == window_start("day", SYDNEY, clock.now())
        assert [row for row in after if row[0] in (theirs, other)] == [
            row for row in before if row[0] in (theirs, other)
        ]
        with world.database.reading() as session:
            assert limits.key_spending(session, []) == {}


@pytest.mark.parametrize("whose", ["key", "account"])
def test_another_limit_in_the_same_window_changes_nothing_but_the_limit(
    world: World, whose: str
) -> None:
    with time_machine.travel(sydney(2026, 10, 14, 8), tick=False):
        key = world.key()
        world.limit(whose, key, 100, "day")
        world.spend(key, 60)
        running = world.admit(key, 20)
        before = world.look("SELECT * FROM spending ORDER BY subject_id, window_start")
        world.limit(whose, key, 90, "day")
        assert world.look("SELECT * FROM spending ORDER BY subject_id, window_start") == before
        with pytest.raises(MaxTokensUnaffordable, match="at most 30 tokens"):
            world.spend(key, 31)
        running.settle(world.usage(20), "reported")
        world.limit(whose, key, None, "day")
        world.spend(key, 100)


@pytest.mark.parametrize("whose", ["key", "account"])
def test_a_new_window_keeps_a_row_for_now_and_for_every_running_call(
    world: World, whose: str
) -> None:
    """What was spent in a past window comes along where a call of that window still runs."""
    with time_machine.travel(sydney(2026, 10, 12, 8), tick=False) as now:
        key = world.key()
        world.limit(whose, key, 100, "month")
        world.spend(key, 5)
        running = world.admit(key, 10)
        settled = world.admit(key, 7)
        now.move_to(sydney(2026, 10, 13, 8))
        world.spend(key, 3)
        settled.settle(world.usage(7), "reported")
        now.move_to(sydney(2026, 10, 14, 8))
        world.spend(key, 2)
        world.limit(whose, key, 100, "day")
        subject = key if whose == "key" else world.account_id
        look = (
            "SELECT window_start, spent_nanos, held_nanos FROM spending "
            "WHERE subject_id = ? ORDER BY window_start"
        )
        rows = world.sql(look, [subject])
        assert [tuple(row) for row in rows] == [
            (clock.to_micros(sydney(2026, 10, 12)), 12 * world.TOKEN, 10 * world.TOKEN),
            (clock.to_micros(sydney(2026, 10, 14)), 2 * world.TOKEN, 0),
        ]
        running.settle(world.usage(10), "reported")
        rows = world.sql(look, [subject])
        assert [tuple(row)[1:] for row in rows] == [(22 * world.TOKEN, 0), (2 * world.TOKEN, 0)]


def test_a_new_window_of_a_key_counts_its_own_calls_and_no_others(world: World) -> None:
    mine, other = world.key(), world.key()
    for key in (mine, other):
        world.limit("key", key, 100, "day")
    running = [world.admit(mine, 10), world.admit(other, 20)]
    world.spend(other, 5)
    before = world.sql("SELECT * FROM spending WHERE subject_id = ?", [other])
    world.limit("key", mine, 100, "week")
    assert (world.spent(mine), world.held(mine)) == (0, 10 * world.TOKEN)
    assert world.sql("SELECT * FROM spending WHERE subject_id = ?", [other]) == before
    for charge in running:
        charge.settle(world.usage(1), "reported")


def test_a_limit_may_be_nothing_and_half_of_all_that_fits(world: World) -> None:
    key = world.key()
    most = (2**63 - 1) // 2
    with world.database.transaction() as session:
        set_key_limit(session, key, most)
        set_account_limit(session, world.account_id, 0)
        with pytest.raises(ValueError, match="^limit: "):
            set_key_limit(session, key, most + 1)
    assert world.account.limit_nanos == 0
    with pytest.raises(SpendingLimitReached, match="personal account"):
        world.spend(key, 1)


def test_a_key_without_an_account_has_its_windows_in_utc(world: World) -> None:
    from modelbridge.ledger import limits
    from modelbridge.store.tables import ApiKey

    with time_machine.travel(sydney(2026, 10, 14, 8), tick=False):  # the 13th in UTC
        key = ApiKey(id="key_free", account_id=None, limit_window="day")
        start = window_start("day", "UTC", clock.now())
        world.sql(
            "INSERT INTO spending (subject_id, window_start, spent_nanos, held_nanos) "
            "VALUES ('key_free', ?, 3, 2), ('key_free', ?, 5, 5)",
            [start, start + 1],
        )
        with world.database.reading() as session:
            found = limits.key_spending(session, [key])
        assert found == {"key_free": limits.KeySpending(3, 2)}
        world.database.submit(lambda cursor: cursor.execute("DELETE FROM spending"))
