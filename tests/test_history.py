"""The history of an account: pages that leave nothing out, and months that add up."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from ledger_world import World, world_in

from modelbridge.ledger import history, postings
from modelbridge.store.tables import BalanceTransaction

NOON = datetime(2100, 11, 23, 12, tzinfo=UTC)  # after whatever the template posted
EVER = datetime(2000, 1, 1, tzinfo=UTC)
TOKEN = World.TOKEN


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world
        assert world.problems() == []


def posted(world: World, count: int) -> list[int]:
    """That many top-ups of 1, 2, 3 … tokens; their sequences."""
    with world.database.transaction() as session:
        rows = [
            postings.top_up(session, world.account_id, place * TOKEN)
            for place in range(1, count + 1)
        ]
        return [row.sequence for row in rows]


def pages(world: World, *, payments_only: bool = False) -> list[list[int]]:
    """The sequences on every page, by following `older` to the end."""
    found, before = [], None
    while True:
        with world.database.reading() as session:
            page = history.page(session, world.account_id, before, payments_only=payments_only)
        found.append([row.sequence for row in page.transactions])
        if page.older is None:
            return found
        before = page.older


@pytest.mark.parametrize(("count", "sizes"), [(49, [50]), (50, [50, 1]), (104, [50, 50, 5])])
def test_pages_show_every_transaction_once_the_newest_first(
    world: World, count: int, sizes: list[int]
) -> None:
    everything = [1, *posted(world, count)]  # the first is what Alice began with
    found = pages(world)
    assert [len(page) for page in found] == sizes
    assert [sequence for page in found for sequence in page] == everything[::-1]


def test_a_page_of_payments_leaves_the_usage_out(world: World) -> None:
    key = world.key()
    world.spend(key, 5)
    (paid,) = posted(world, 1)
    world.spend(key, 5)
    assert pages(world, payments_only=True) == [[paid, 1]]
    assert len(pages(world)[0]) == 4


def test_the_history_is_of_one_account_and_nobody_elses(world: World) -> None:
    from modelbridge.ledger import accounts

    with world.database.transaction() as session:
        other = accounts.open_account(session, "team").id
        first = postings.top_up(session, other, TOKEN)
        first_id, sequence = first.id, first.sequence
    posted(world, 2)
    with world.database.reading() as session:
        assert [row.id for row in history.page(session, other).transactions] == [first_id]
        (only,) = history.chunk(session, other, 1, 100, 10)
        assert only.id == first_id
        found = history.first_posting(session, other)
        assert found is not None
        assert found.id == first_id
        hers = history.first_posting(session, world.account_id)
        assert hers is not None
        assert hers.sequence == 1
        mine = history.statement(session, other, EVER, NOON)
        assert (mine.opening_nanos, mine.closing_nanos) == (0, TOKEN)
        assert [row.sequence for row in mine.payments] == [sequence]


def test_an_account_without_transactions_has_an_empty_history(world: World) -> None:
    from modelbridge.ledger import accounts

    with world.database.transaction() as session:
        other = accounts.open_account(session, "team").id
    with world.database.reading() as session:
        assert history.first_posting(session, other) is None
        page = history.page(session, other)
        assert (list(page.transactions), page.older) == ([], None)
        found = history.statement(session, other, NOON, NOON + timedelta(days=1))
    assert (found.opening_nanos, found.closing_nanos, found.usage_nanos) == (0, 0, 0)
    assert list(found.payments) == []
    assert found.first_sequence == found.end_sequence == 1


def test_a_statement_has_what_was_posted_from_its_start_until_just_before_its_end(
    world: World,
) -> None:
    moment = timedelta(microseconds=1)
    start, end = NOON, NOON + timedelta(days=1)
    with time_machine.travel(start - moment, tick=False) as now:
        key = world.key()
        world.spend(key, 1)
        posted(world, 1)  # before
        opening = world.account.balance_nanos
        now.move_to(start)
        first, second = posted(world, 2)
        world.spend(key, 7)
        now.move_to(end - moment)
        world.spend(key, 4)
        with world.database.transaction() as session:
            usage = session.query(BalanceTransaction).filter_by(kind="usage").first()
            assert usage is not None
            last = postings.refund(session, usage.id, TOKEN).sequence
        closing = world.account.balance_nanos
        now.move_to(end)
        after = posted(world, 1)[0]
        world.spend(key, 2)
    with world.database.reading() as session:
        found = history.statement(session, world.account_id, start, end)
        rows = history.chunk(
            session, world.account_id, found.first_sequence, found.end_sequence, 100
        )
    assert (found.opening_nanos, found.closing_nanos) == (opening, closing)
    assert [row.sequence for row in found.payments] == [first, second, last]
    assert found.usage_nanos == -11 * TOKEN
    assert found.total_nanos("top_up") == 3 * TOKEN
    assert found.total_nanos("refund") == TOKEN
    assert found.total_nanos("adjustment") == 0
    assert (found.first_sequence, found.end_sequence) == (first, after)
    assert [row.sequence for row in rows] == list(range(first, after))
    assert closing == opening + found.usage_nanos + 4 * TOKEN


def test_statements_of_days_next_to_each_other_share_a_balance_and_no_line(world: World) -> None:
    days = [NOON + timedelta(days=number) for number in range(6)]
    with time_machine.travel(days[0], tick=False) as now:
        for number, day in enumerate(days[:-1]):
            now.move_to(day)
            posted(world, number % 3)  # some days have none
    with world.database.reading() as session:
        found = [
            history.statement(session, world.account_id, start, end)
            for start, end in zip(days, days[1:], strict=False)
        ]
    assert [len(one.payments) for one in found] == [0, 1, 2, 0, 1]
    for earlier, later in zip(found, found[1:], strict=False):
        assert earlier.closing_nanos == later.opening_nanos
        assert earlier.end_sequence == later.first_sequence
    assert found[-1].closing_nanos == world.account.balance_nanos


def test_a_long_statement_is_read_in_pieces_from_the_oldest_on(world: World) -> None:
    sequences = posted(world, 10)
    with world.database.reading() as session:

        def read(first: int, end: int, rows: int) -> list[int]:
            found = history.chunk(session, world.account_id, first, end, rows)
            return [row.sequence for row in found]

        assert read(sequences[0], sequences[-1], 4) == sequences[:4]
        assert read(sequences[4], sequences[6], 4) == sequences[4:6]
        assert read(sequences[9], sequences[9] + 1, 4) == sequences[9:]


def test_a_charge_and_what_was_given_back_of_it_are_found_from_each_other(world: World) -> None:
    key = world.key()
    spent, other = world.spend(key, 10), world.spend(key, 10)
    with world.database.reading() as session:
        charge = history.charge_of(session, spent.hold_id)
        assert charge is not None
        assert (charge.hold_id, charge.amount_nanos) == (spent.hold_id, -10 * TOKEN)
        assert list(history.refunds_of(session, charge)) == []
        assert history.charge_of(session, "hold_nobody") is None
    with world.database.transaction() as session:
        for tokens in (3, 1, 2):
            postings.refund(session, charge.id, tokens * TOKEN)
    with world.database.reading() as session:
        given = history.refunds_of(session, charge)
        another = history.charge_of(session, other.hold_id)
        assert another is not None
        assert list(history.refunds_of(session, another)) == []
    assert [row.amount_nanos for row in given] == [3 * TOKEN, TOKEN, 2 * TOKEN]
