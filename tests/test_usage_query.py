"""Usage of a year: what the pages show is what the calls say, whatever the filter."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from dashboard_world import World, world_in
from sqlalchemy import select
from sqlalchemy.orm import Session

from bench import seed_calls
from modelbridge import clock
from modelbridge.dashboard import periods, usage_query
from modelbridge.dashboard.periods import Period
from modelbridge.dashboard.usage_query import Total, Wanted
from modelbridge.gateway.journal import day_of
from modelbridge.ledger import history
from modelbridge.ledger.audit import check_books
from modelbridge.store.tables import BalanceTransaction, Call, Team

ZONE = seed_calls.ZONE


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A year of 5,000 calls."""
    with world_in(tmp_path_factory.mktemp("house")) as world:
        seed_calls.seed(world.bridge, 5_000)
        yield world


@pytest.fixture
def session(house: World) -> Iterator[Session]:
    with house.bridge.database.reading() as session:
        yield session


@pytest.fixture
def wanted(session: Session) -> Wanted:
    """Everything that one team ever called."""
    account_id = session.scalars(select(Team).where(Team.name == "Search")).one().account_id
    today = periods.today(ZONE)
    return Wanted(account_id, Period(today - timedelta(days=370), today, ZONE))


def calls_of(session: Session, wanted: Wanted) -> list[Call]:
    """The account's calls, newest first, read without any help."""
    found = session.scalars(select(Call).where(Call.account_id == wanted.account_id)).all()
    return sorted(found, key=usage_query.place_of, reverse=True)


def walk(session: Session, wanted: Wanted) -> list[Call]:
    """Every page, one after the other."""
    found: list[Call] = []
    before = None
    while True:
        page = usage_query.page_of_calls(session, wanted, before)
        found += page.calls
        assert len(page.calls) == usage_query.PAGE_ROWS or page.older is None
        if page.older is None:
            return found
        before = page.older


def test_the_seeded_books_add_up(session: Session) -> None:
    assert check_books(session).problems == []


@pytest.mark.parametrize("by", ["model", "key", "person"])
@pytest.mark.parametrize("monthly", [True, False])
def test_totals_are_the_sums_of_the_calls(
    session: Session, wanted: Wanted, by: str, monthly: bool
) -> None:
    fields = {"model": "model", "key": "key_id", "person": "user_id"}
    expected: dict[tuple[str, str], Total] = {}
    for call in calls_of(session, wanted):
        day = day_of(call.started_at, ZONE)
        place = (day[:7] if monthly else day, getattr(call, fields[by]))
        failed = call.error_code is not None and call.finish != "client_left"
        expected[place] = expected.get(place, Total()) + Total(
            1, int(failed), call.input_tokens + call.cache_read_tokens, call.output_tokens,
            call.cost_nanos or 0,
        )  # fmt: skip
    assert usage_query.totals(session, wanted, by, monthly=monthly) == expected


def test_days_add_up_to_the_same(session: Session, wanted: Wanted) -> None:
    days = usage_query.totals_by_day(session, wanted)
    by_model = usage_query.totals(session, wanted, "model")
    assert {day for day, _ in by_model} == set(days)
    assert sum(days.values(), Total()) == sum(by_model.values(), Total())


def test_pages_show_every_call_once_newest_first(session: Session, wanted: Wanted) -> None:
    assert walk(session, wanted) == calls_of(session, wanted)


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ({"model": "claude-opus-4-6"}, lambda call: call.model == "claude-opus-4-6"),
        ({"model": "nobody-ever-called-this"}, lambda call: False),
        ({"status": "ok"}, lambda call: call.error_code is None),
        ({"status": "left"}, lambda call: call.finish == "client_left"),
        ({"status": "errors"}, lambda call: call.finish == "failed"),
        ({"status": "upstream_error"}, lambda call: call.error_code == "upstream_error"),
        (
            {"model": "gpt-5.4", "status": "errors"},
            lambda call: call.model == "gpt-5.4" and call.finish == "failed",
        ),
        ({"user_id": ""}, lambda call: call.user_id is None),
    ],
)
def test_a_filter_finds_all_that_fit_and_nothing_else(
    session: Session, wanted: Wanted, filters: dict[str, Any], fits: Any
) -> None:
    expected = [call for call in calls_of(session, wanted) if fits(call)]
    assert walk(session, replace(wanted, **filters)) == expected


def test_a_key_and_a_person_can_be_picked(session: Session, wanted: Wanted) -> None:
    some = calls_of(session, wanted)[0]
    for field in ("key_id", "user_id"):
        picked = getattr(some, field)
        expected = [call for call in calls_of(session, wanted) if getattr(call, field) == picked]
        assert walk(session, replace(wanted, **{field: picked})) == expected


def test_a_period_has_whole_days_of_the_accounts_own_zone(session: Session, wanted: Wanted) -> None:
    day = periods.today(ZONE) - timedelta(days=40)
    period = Period(day, day + timedelta(days=3), ZONE)
    for model in (None, "gpt-5.4"):
        expected = [
            call
            for call in calls_of(session, wanted)
            if str(period.first) <= day_of(call.started_at, ZONE) <= str(period.last)
            and model in (None, call.model)
        ]
        assert walk(session, replace(wanted, period=period, model=model)) == expected


@pytest.mark.parametrize("before", ["", "x", "12", "-1-call_1", "9" * 30, "1700000000000000-zzz"])
def test_a_page_that_cannot_be_is_harmless(session: Session, wanted: Wanted, before: str) -> None:
    usage_query.page_of_calls(session, wanted, before)


def test_statements_follow_each_other_without_a_gap(session: Session, wanted: Wanted) -> None:
    assert wanted.account_id is not None
    month = periods.month_of(periods.today(ZONE) - timedelta(days=400), ZONE)
    last_closing, seen = 0, 0
    while month.start < clock.now():
        paper = history.statement(session, wanted.account_id, month.start, month.end)
        rows = history.chunk(
            session, wanted.account_id, paper.first_sequence, paper.end_sequence, 10_000
        )
        assert paper.opening_nanos == last_closing
        assert paper.opening_nanos + sum(row.amount_nanos for row in rows) == paper.closing_nanos
        assert paper.usage_nanos == sum(row.amount_nanos for row in rows if row.kind == "usage")
        assert all(month.start <= row.created_at < month.end for row in rows)
        last_closing, seen = paper.closing_nanos, seen + len(rows)
        month = periods.month_of(month.last + timedelta(days=1), ZONE)
    posted = select(BalanceTransaction).where(BalanceTransaction.account_id == wanted.account_id)
    assert seen == len(session.scalars(posted).all())


def test_transactions_page_through_to_the_first(session: Session, wanted: Wanted) -> None:
    assert wanted.account_id is not None
    found: list[BalanceTransaction] = []
    page = history.page(session, wanted.account_id)
    found += page.transactions
    while page.older:
        page = history.page(session, wanted.account_id, page.older)
        found += page.transactions
    running = [row.balance_after_nanos - row.amount_nanos for row in found]
    assert running[:-1] == [row.balance_after_nanos for row in found[1:]]
    assert running[-1] == 0
    only = history.page(session, wanted.account_id, payments_only=True).transactions
    assert list(only) == [row for row in found if row.kind != "usage"][: len(only)]
