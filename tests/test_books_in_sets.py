"""The audit asks in sets and goes in steps, and finds what it would find row by row."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine
from ledger_world import AUD_PER_USD_NANOS, MODEL, world_in
from sqlalchemy.orm import Session
from test_books import TOKEN, tampering

from modelbridge.catalog import admin, fx
from modelbridge.ledger import accounts, audit_receipts, postings
from modelbridge.ledger.audit import check_books
from modelbridge.money import NANOS
from modelbridge.store.tables import BalanceTransaction, Spending


def test_a_month_in_sydney_ends_at_midnight_there_also_after_the_clocks_were_changed(
    tmp_path: Path,
) -> None:
    """October 2026 runs there from 14:00 to 13:00 UTC; Alice spends at each of its edges."""
    edges = [
        datetime(2026, 9, 30, 13, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 9, 30, 14, tzinfo=UTC),
        datetime(2026, 10, 31, 12, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 10, 31, 13, tzinfo=UTC),
    ]
    with world_in(tmp_path) as world:
        key = world.key()
        with time_machine.travel(edges[0], tick=False):
            world.limit("key", key, 1_000, "month")
        for tokens, edge in zip((10, 20, 40, 80), edges, strict=True):
            with time_machine.travel(edge, tick=False):
                world.spend(key, tokens)
                world.admit(key, 1)
        spent = [row.spent_nanos // TOKEN for row in world.rows(Spending, subject_id=key)]
        assert sorted(spent) == [10, 60, 80]
        assert world.problems() == []
        with tampering(world) as file:
            file.execute(
                "UPDATE spending SET spent_nanos = spent_nanos - 1 WHERE spent_nanos = ?",
                (60 * TOKEN,),
            )
        assert world.problems() == [
            f"{key}: spent {60 * TOKEN - 1} is not the sum of its usage {60 * TOKEN}"
        ]


def test_a_window_in_which_nothing_was_charged_spent_nothing(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        key = world.key()
        world.limit("key", key, 1_000, "day")
        world.admit(key, 30).void()
        assert world.problems() == []
        with tampering(world) as file:
            file.execute("UPDATE spending SET spent_nanos = 7, held_nanos = 8")
        assert world.problems() == [
            f"{subject}: {what}"
            for subject in (key, world.account_id)
            for what in (
                "spent 7 is not the sum of its usage 0",
                "held 8 is not the sum of its open holds 0",
            )
        ]


def test_money_that_is_held_where_nobody_ever_held_any_is_found(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        with tampering(world) as file:
            file.execute("UPDATE accounts SET held_nanos = 5 WHERE id = ?", (world.account_id,))
        assert world.problems() == [
            f"{world.account_id}: held 5 is not the sum of its open holds 0"
        ]


def test_a_call_that_cost_nothing_is_in_order(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        world.spend(world.key(), 0)
        assert [one.amount_nanos for one in world.rows(BalanceTransaction, kind="usage")] == [0]
        assert world.problems() == []


def test_each_refund_is_held_against_the_charge_that_it_gives_back(tmp_path: Path) -> None:
    """Alice and Bob were charged twice each, and each gets one of the charges back."""
    with world_in(tmp_path) as world:
        with world.database.transaction() as session:
            bob = accounts.open_account(session, "user").id
            postings.top_up(session, bob, NANOS)
        for account in (world.account_id, bob):
            key = world.key(account)
            for _ in range(2):
                world.spend(key, 10)
            charge = world.rows(BalanceTransaction, kind="usage", account_id=account)[0]
            with world.database.transaction() as session:
                refund = postings.refund(session, charge.id, 10 * TOKEN).id
        assert world.problems() == []
        with tampering(world) as file:
            move = "UPDATE balance_transactions SET account_id = ? WHERE id = ?"
            file.execute(move, (world.account_id, refund))
        told = [one for one in world.problems() if "given back" in one]
        assert told == [f"{refund}: was given back to another account"]


def test_what_was_spent_in_a_window_that_is_gone_is_nobodys_concern(tmp_path: Path) -> None:
    """A limit that changes keeps the rows of the present, and of what is still held."""
    with world_in(tmp_path) as world:
        key = world.key()
        with time_machine.travel(datetime(2026, 9, 3, tzinfo=UTC), tick=False):
            world.limit("key", key, 1_000, "month")
            world.spend(key, 10)
        with time_machine.travel(datetime(2026, 10, 3, tzinfo=UTC), tick=False):
            world.spend(key, 20)
            world.limit("key", key, 1_000, "week")
        assert [row.spent_nanos for row in world.rows(Spending, subject_id=key)] == [20 * TOKEN]
        assert world.problems() == []


def test_a_row_without_a_start_is_of_all_time_and_no_other_is_where_the_window_is_none(
    tmp_path: Path,
) -> None:
    with world_in(tmp_path) as world:
        monthly, unlimited = world.key(), world.key()
        world.limit("key", monthly, 1_000, "month")
        for key, tokens in ((monthly, 10), (unlimited, 20)):
            world.spend(key, tokens)
        move = "UPDATE spending SET window_start = ? WHERE subject_id = ?"
        with tampering(world) as file:
            file.execute(move, (0, monthly))
        assert world.problems() == []
        with tampering(world) as file:
            file.execute(move, (1, unlimited))
        assert world.problems() == [
            f"{unlimited}: spent {20 * TOKEN} is not the sum of its usage 0"
        ]


def test_calls_of_one_size_are_reckoned_each_at_its_own_rate_and_price(tmp_path: Path) -> None:
    """Alice asks the same three times: at first, at another rate, and then at another price."""
    with world_in(tmp_path) as world:
        key = world.key()
        calls = [world.spend(key, 10).call.id]
        with world.database.transaction() as session:
            fx.set_rate(session, 2 * AUD_PER_USD_NANOS)
        calls.append(world.spend(key, 10).call.id)
        with world.database.transaction() as session:
            admin.add_model(
                session,
                name=MODEL,
                targets=[("nowhere", MODEL)],
                prices={"input": "0", "output": "3"},
                free=False,
                context_window=None,
                max_output=1_000_000,
            )
        calls.append(world.spend(key, 10).call.id)
        assert [cost for (cost,) in world.look("SELECT cost_nanos FROM calls ORDER BY id")] == [
            10 * TOKEN, 20 * TOKEN, 30 * TOKEN,
        ]  # fmt: skip
        assert world.problems() == []
        rate = "UPDATE fx_versions SET aud_per_usd_nanos = ? WHERE aud_per_usd_nanos = ?"
        price = "UPDATE price_versions SET price = replace(price, ?, ?)"
        true, false = 2 * AUD_PER_USD_NANOS, 2 * AUD_PER_USD_NANOS - 10**6
        for change, values, wrong in (
            (rate, (false, true), calls[1:]),
            (rate, (true, false), []),
            (price, ("3000000000", "2900000000"), calls[2:]),
        ):
            with tampering(world) as file:
                file.execute(change, values)
            told = {one.partition(": ")[0] for one in world.problems()}
            assert told == set(wrong)


def test_an_audit_in_steps_goes_on_while_alice_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two steps she makes a call, and of another she does not know the end yet."""
    monkeypatch.setattr(audit_receipts, "AT_A_TIME", 2)
    with world_in(tmp_path) as world:
        rests: list[Session] = []
        key = world.key()
        world.limit("key", key, 10_000, "month")
        with world.database.reading() as session:

            def rest() -> None:
                session.rollback()
                rests.append(session)
                if len(rests) < 40:
                    world.spend(key, len(rests))
                    world.admit(key, 1)

            assert check_books(session, rest).problems == []
        assert len(rests) > 40
        with tampering(world) as file:
            file.execute("UPDATE calls SET cost_nanos = cost_nanos + 1 WHERE cost_nanos > 0")
            calls = file.execute("SELECT id FROM calls WHERE cost_nanos > 0").fetchall()
        told = [one for one in world.problems() if "its receipt says" in one]
        assert sorted(one.partition(": ")[0] for one in told) == sorted(one for (one,) in calls)
