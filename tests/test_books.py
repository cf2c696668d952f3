"""The audit finds whatever is wrong with the books; the books themselves refuse most of it."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import time_machine
from ledger_world import World, world_in

from modelbridge.errors import BudgetInFlight
from modelbridge.ledger import accounts, audit, postings
from modelbridge.ledger.audit import check_books
from modelbridge.money import MAX_NANOS, NANOS
from modelbridge.store.statements import Cursor
from modelbridge.store.tables import BalanceTransaction

TOKEN = World.TOKEN


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Alice's books after a little of everything."""
    with world_in(tmp_path, MODELBRIDGE_HOLD_GRACE_SECONDS="0") as world:
        key = world.key()
        world.limit("key", key, 10_000, "month")
        world.spend(key, 100)
        world.spend(key, 50)
        world.admit(key, 5).settle(world.usage(7), "reported")  # with a shortfall
        world.admit(key, 30).void()
        world.admit(key, 20)
        forgotten = world.admit(key, 10)
        forgotten.upstream_status = 200
        forgotten.forget_outcome(None, world.usage(3), 0)
        usage = world.rows(BalanceTransaction, kind="usage")[0]
        with world.database.transaction() as session:
            postings.refund(session, usage.id, 10 * TOKEN)
            postings.adjust(session, world.account_id, -5 * TOKEN, note="a correction")
        yield world


@contextmanager
def tampering(world: World) -> Iterator[sqlite3.Connection]:
    """Somebody with the file in their hands, and every rule of the database switched off."""
    connection = sqlite3.connect(world.database.path, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for name, kind in connection.execute("SELECT name, type FROM sqlite_master").fetchall():
        if kind == "trigger":
            connection.execute(f"DROP TRIGGER {name}")
    try:
        yield connection
    finally:
        connection.close()


def test_a_posting_is_at_most_a_hundred_million_and_keeps_its_note(world: World) -> None:
    most = postings.MOST_NANOS
    with world.database.transaction() as session:
        paid = postings.top_up(session, world.account_id, most, actor_id=world.user_id)
        taken = postings.adjust(session, world.account_id, -most, note="paid twice")
        given = postings.adjust(session, world.account_id, most)
        again = postings.adjust(session, world.account_id, -most)
    assert [(one.amount_nanos, one.note) for one in (paid, taken, given, again)] == [
        (most, ""), (-most, "paid twice"), (most, ""), (-most, ""),
    ]  # fmt: skip
    assert (paid.actor_id, taken.actor_id) == (world.user_id, None)
    for post in (postings.top_up, postings.adjust):
        with pytest.raises(ValueError, match="^amount: "), world.database.transaction() as session:
            post(session, world.account_id, most + 1)


def test_accounts_are_told_apart_by_their_ids(world: World) -> None:
    with world.database.transaction() as session:
        opened = accounts.open_account(session, "team", "Europe/Berlin")
    assert opened.id.startswith("acct_")
    assert opened.id != world.account_id
    assert (opened.kind, opened.time_zone) == ("team", "Europe/Berlin")


def test_books_in_order_have_no_problems_and_are_counted(world: World) -> None:
    with world.database.reading() as session:
        report = check_books(session)
    assert report.ok
    assert report.problems == []
    assert report.counts == {
        "accounts": 1,
        "balance_transactions": 6,
        "holds": 6,
        "open_holds": 2,
        "unknown_holds": 1,
        "shortfalls": 1,
    }


def test_neighbours_books_are_told_apart_by_account_by_key_and_by_month(tmp_path: Path) -> None:
    """Two people with two keys each and calls in two months; one with a nano-dollar; one without.

    Some of it is still held, of each in an amount of its own.
    """
    # The second moment is October's very first in Sydney.
    months = [datetime(2026, 9, 3, 12, tzinfo=UTC), datetime(2026, 9, 30, 14, tzinfo=UTC)]
    with world_in(tmp_path) as world:
        with world.database.transaction() as session:
            bob, charlie = (accounts.open_account(session, "user").id for _ in "bc")
            postings.top_up(session, bob, NANOS)
            postings.top_up(session, charlie, 1)
            accounts.open_account(session, "team")
        size = 10
        for account in (world.account_id, bob):
            for _ in range(2):
                with time_machine.travel(months[0], tick=False):
                    key = world.key(account)
                    world.limit("key", key, 10_000, "month")
                    world.limit("account", key, 20_000, "month")
                for month in months:
                    with time_machine.travel(month, tick=False):
                        size += 1
                        world.spend(key, size)
                        world.admit(key, 100 + size)
            with time_machine.travel(months[1], tick=False):
                world.admit(world.key(account), 7)  # nothing spent with this one yet
        with time_machine.travel(months[1], tick=False):
            assert world.problems() == []
            for whose in ("account", "key"):  # what was spent and held in it is told apart, too
                world.limit(whose, key, 30_000, "day")
                assert world.problems() == []
            with tampering(world) as file:  # each key has a window of its own in each month
                gone = "DELETE FROM spending WHERE rowid = (SELECT min(rowid) FROM spending WHERE "
                assert file.execute(f"{gone} subject_id LIKE 'key%' AND held_nanos > 0)").rowcount
            assert any("has no row for the window of" in problem for problem in world.problems())


# What the statements below may name in braces.
PLACES = {
    "HELD": "(SELECT id FROM holds WHERE state = 'held')",
    "POSTED": "(SELECT min(id) FROM holds WHERE state = 'posted')",
    "USAGE": "(SELECT min(id) FROM balance_transactions WHERE kind = 'usage')",
    "OTHER_ACCOUNT": (
        "INSERT INTO accounts SELECT 'acct_b', kind, 0, 0, NULL, 'none', time_zone, 1 FROM accounts"
    ),
}

BROKEN: dict[str, tuple[str, str]] = {
    "a balance": ("UPDATE accounts SET balance_nanos = balance_nanos + 1", "is not the sum of its"),
    "a running balance": (
        "UPDATE balance_transactions SET balance_after_nanos = balance_after_nanos + 1 "
        "WHERE sequence = 3",
        "running balance",
    ),
    "an amount": (
        "UPDATE balance_transactions SET amount_nanos = amount_nanos + 1 WHERE kind = 'top_up'",
        "is not the sum of its transactions",
    ),
    "a top-up that takes": (
        "UPDATE balance_transactions SET kind = 'top_up' WHERE kind = 'adjustment'",
        "a top_up of",
    ),
    "a top-up of nothing": (
        "UPDATE balance_transactions SET amount_nanos = 0 WHERE kind = 'top_up'",
        "a top_up of 0",
    ),
    "a refund that takes": (
        "UPDATE balance_transactions SET amount_nanos = -1 WHERE kind = 'refund'",
        "a refund of -1",
    ),
    "what is held": ("UPDATE accounts SET held_nanos = held_nanos + 1", "the sum of its open"),
    "more held than there is": (
        "UPDATE accounts SET held_nanos = balance_nanos + 1",
        "more is held than there is",
    ),
    "a hold": ("UPDATE holds SET amount_nanos = amount_nanos + 1 WHERE id = {HELD}", "open holds"),
    "what a key spent": (
        "UPDATE spending SET spent_nanos = spent_nanos - 1 WHERE subject_id LIKE 'key%'",
        "is not the sum of its usage",
    ),
    "what an account spent": (
        "UPDATE spending SET spent_nanos = spent_nanos + 1 WHERE subject_id LIKE 'acct%'",
        "is not the sum of its usage",
    ),
    "what a key holds": (
        "UPDATE spending SET held_nanos = held_nanos + 1 WHERE subject_id LIKE 'key%'",
        "is not the sum of its open holds",
    ),
    "a window that is gone": (
        "DELETE FROM spending WHERE subject_id LIKE 'key%'",
        "has no row for the window",
    ),
    "an account's window that is gone": (
        "DELETE FROM spending WHERE subject_id LIKE 'acct%'",
        "has no row for the window",
    ),
    "a usage that is missing": (
        "DELETE FROM balance_transactions WHERE id = {USAGE}",
        "but its usage is None",
    ),
    "a usage of a void hold": (
        "UPDATE holds SET state = 'void', charged_nanos = NULL WHERE id = {POSTED}",
        "void, charged None of",
    ),
    "a usage of another amount": (
        "UPDATE holds SET charged_nanos = charged_nanos - 1 WHERE id = {POSTED}",
        "but its usage is",
    ),
    "a usage of another key's": (
        "UPDATE balance_transactions SET key_id = NULL WHERE kind = 'usage'",
        "is not posted where its hold was placed",
    ),
    "a usage of another moment": (
        "UPDATE balance_transactions SET admitted_at = admitted_at - 1 WHERE kind = 'usage'",
        "is not posted where its hold was placed",
    ),
    "a usage of another account": (
        "{OTHER_ACCOUNT}; UPDATE holds SET account_id = 'acct_b' WHERE id = {POSTED}",
        "is not posted where its hold was placed",
    ),
    "a charge above its hold": (
        "UPDATE holds SET amount_nanos = charged_nanos - 1 WHERE id = {POSTED}",
        "but its usage is",
    ),
    "a posted hold without a charge": (
        "UPDATE holds SET charged_nanos = NULL WHERE id = {POSTED}",
        "posted, charged None of",
    ),
    "an open hold that was resolved": (
        "UPDATE holds SET resolved_at = 1 WHERE id = {HELD}",
        "held, charged None",
    ),
    "a resolved hold that never was": (
        "UPDATE holds SET resolved_at = NULL WHERE state = 'void'",
        "void, charged None",
    ),
    "a charge without an attempt": (
        "DELETE FROM attempts WHERE hold_id = {POSTED}",
        "without an attempt",
    ),
    "a hold without an attempt": (
        "DELETE FROM attempts WHERE hold_id = {HELD}",
        "without an attempt",
    ),
    "an attempt that is on record for another hold": (
        "UPDATE attempts SET hold_id = {HELD} WHERE hold_id = {POSTED}",
        "without an attempt",
    ),
    "an attempt that is on record for another call": (
        "UPDATE attempts SET call_id = 'req_other' WHERE hold_id = {POSTED}",
        "without an attempt",
    ),
    "a receipt's cost": (
        "UPDATE calls SET cost_nanos = cost_nanos + 1 WHERE hold_id = {POSTED}",
        "reckoned again it is",
    ),
    "a receipt's tokens": (
        "UPDATE calls SET output_tokens = output_tokens + 1 WHERE hold_id = {POSTED}",
        "reckoned again it is",
    ),
    "a price": (
        "UPDATE price_versions SET price = replace(price, '2000000000', '2000000001')",
        "reckoned again it is",
    ),
    "an exchange rate": (
        "UPDATE fx_versions SET aud_per_usd_nanos = aud_per_usd_nanos + 1",
        "reckoned again it is",
    ),
    "a receipt that names no price": (
        "UPDATE calls SET price_version = NULL WHERE hold_id = {POSTED}",
        "names no price",
    ),
    "a receipt of another exchange rate": (
        "INSERT INTO fx_versions SELECT version + 9, aud_per_usd_nanos, source, created_at "
        "FROM fx_versions ORDER BY version DESC LIMIT 1; "
        "UPDATE calls SET fx_version = fx_version + 9 WHERE hold_id = {POSTED}",
        "is not its hold's",
    ),
    "a receipt that is missing": (
        "DELETE FROM calls WHERE hold_id = {POSTED}",
        "without a receipt",
    ),
    "a cost without a charge": (
        "UPDATE calls SET cost_nanos = 1 WHERE usage_source = 'none'; "
        "UPDATE daily_usage SET cost_nanos = cost_nanos + 1",
        "but nothing was charged",
    ),
    "a cost without a hold": (
        "UPDATE calls SET hold_id = NULL WHERE hold_id = {POSTED}",
        "but nothing was charged",
    ),
    "a refund above its charge": (
        "UPDATE balance_transactions SET amount_nanos = 999999999 WHERE kind = 'refund'",
        "999999999 given back of a charge of",
    ),
    "a refund of nothing": (
        "UPDATE balance_transactions SET refunds_id = NULL WHERE kind = 'refund'",
        "a refund of",
    ),
    "a refund of a top-up": (
        "UPDATE balance_transactions SET refunds_id = (SELECT id FROM balance_transactions "
        "WHERE kind = 'top_up') WHERE kind = 'refund'",
        "given back",
    ),
    "a refund to somebody else": (
        "{OTHER_ACCOUNT}; UPDATE balance_transactions SET account_id = 'acct_b' "
        "WHERE kind = 'refund'",
        "given back to another account",
    ),
    "a shortfall": ("UPDATE shortfalls SET amount_nanos = amount_nanos + 1", "shortfall"),
    "a shortfall that is missing": ("DELETE FROM shortfalls", "shortfall"),
    "the totals of a day": (
        "UPDATE daily_usage SET cost_nanos = cost_nanos + 1",
        "its days add up to",
    ),
    "a day that is missing": ("DELETE FROM daily_usage", "its days add up to"),
    "a day without a call": (
        "{OTHER_ACCOUNT}; UPDATE daily_usage SET account_id = 'acct_b', cost_nanos = 7",
        "acct_b: its days add up to 7, its receipts to 0",
    ),
    "a day of a nano-dollar without a call": (
        "{OTHER_ACCOUNT}; UPDATE daily_usage SET account_id = 'acct_b', cost_nanos = 1",
        "acct_b: its days add up to 1",
    ),
    "a call of a nano-dollar without its day": (
        "{OTHER_ACCOUNT}; UPDATE calls SET account_id = 'acct_b', cost_nanos = 1 "
        "WHERE hold_id = {POSTED}",
        "acct_b: its days add up to 0, its receipts to 1",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_audit_finds(world: World, what: str) -> None:
    statements, found = BROKEN[what]
    with tampering(world) as file:
        for statement in statements.format_map(PLACES).split("; "):
            assert file.execute(statement).rowcount > 0, statement
    problems = world.problems()
    assert any(found in problem for problem in problems), problems
    named = re.compile(r"(acct|hold|key|req|txn)_\w+: ")
    assert all(named.match(problem) for problem in problems), problems


def test_a_report_stays_readable_however_much_is_wrong(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_PROBLEMS", 2)
    with tampering(world) as file:
        file.execute("UPDATE balance_transactions SET balance_after_nanos = -1")
    assert len(world.problems()) == 2


def test_two_usages_of_one_hold_cannot_be_written_and_would_be_found(world: World) -> None:
    again = (
        "INSERT INTO balance_transactions (id, account_id, kind, amount_nanos, "
        "balance_after_nanos, created_at, hold_id, key_id, admitted_at, note) SELECT 'txn_twice', "
        "account_id, kind, amount_nanos, balance_after_nanos, created_at, hold_id, key_id, "
        "admitted_at, note FROM balance_transactions WHERE id = {USAGE}"
    )
    with tampering(world) as file:
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            file.execute(again.format_map(PLACES))
        file.execute("ALTER TABLE balance_transactions RENAME TO strict_ones")
        file.execute("CREATE TABLE balance_transactions AS SELECT * FROM strict_ones")
        file.execute("DROP TABLE strict_ones")
        file.execute(again.format_map(PLACES))
    problems = world.problems()
    assert any(re.match(r"hold_\w+: was charged twice", one) for one in problems), problems


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE balance_transactions SET amount_nanos = 1",
        "UPDATE balance_transactions SET note = 'x'",
        "DELETE FROM balance_transactions",
        "UPDATE shortfalls SET amount_nanos = 0",
        "DELETE FROM shortfalls",
        "UPDATE price_versions SET price = '{}'",
        "DELETE FROM price_versions",
        "UPDATE fx_versions SET aud_per_usd_nanos = 1",
        "DELETE FROM fx_versions",
    ],
)
def test_what_was_posted_can_be_neither_changed_nor_removed(world: World, statement: str) -> None:
    with pytest.raises(Exception, match="cannot be written") as refused:
        world.sql(statement)
    assert isinstance(refused.value.__context__ or refused.value, Exception)
    connection = sqlite3.connect(world.database.path)
    with pytest.raises(sqlite3.IntegrityError, match="is append-only"):
        connection.execute(statement)
    connection.close()
    assert world.problems() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET held_nanos = balance_nanos + 1",
        "UPDATE accounts SET held_nanos = -1",
        "UPDATE accounts SET balance_nanos = 4000000000000000001",
        "UPDATE accounts SET limit_window = 'year'",
        "UPDATE spending SET spent_nanos = -1",
        "UPDATE spending SET held_nanos = -1",
        "UPDATE holds SET charged_nanos = amount_nanos + 1",
        "UPDATE holds SET charged_nanos = -1",
        "UPDATE holds SET state = 'lost'",
        "UPDATE holds SET amount_nanos = -1",
        "INSERT INTO balance_transactions (id, account_id, kind, amount_nanos, balance_after_nanos,"
        " created_at, note) SELECT 'x', id, 'usage', -1, 0, 0, '' FROM accounts",
        "INSERT INTO balance_transactions (id, account_id, kind, amount_nanos, balance_after_nanos,"
        " created_at, note) SELECT 'x', id, 'gift', 1, 0, 0, '' FROM accounts",
    ],
)
def test_the_database_itself_refuses_what_can_never_be(world: World, statement: str) -> None:
    connection = sqlite3.connect(world.database.path)
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        connection.execute(statement)
    connection.close()


# Postings that people make


def test_the_same_reference_twice_is_one_credit(world: World) -> None:
    before = world.account.balance_nanos
    for _ in range(3):
        with world.database.transaction() as session:
            posted = postings.top_up(session, world.account_id, NANOS, reference="INV-1", note="a")
    assert posted.amount_nanos == NANOS
    assert world.account.balance_nanos == before + NANOS
    for amount, kind in ((NANOS + 1, postings.top_up), (NANOS, postings.adjust)):
        with (
            world.database.transaction() as session,
            pytest.raises(ValueError, match="^reference: 'INV-1' was already used"),
        ):
            kind(session, world.account_id, amount, reference="INV-1")
    assert world.problems() == []


@pytest.mark.parametrize("amount", [0, -1, postings.MOST_NANOS + 1])
def test_a_top_up_is_above_nothing_and_below_reason(world: World, amount: int) -> None:
    with (
        world.database.transaction() as session,
        pytest.raises(ValueError, match="^amount: "),
    ):
        postings.top_up(session, world.account_id, amount)


def test_a_top_up_of_an_account_that_is_not_there_is_refused(world: World) -> None:
    with world.database.transaction() as session, pytest.raises(ValueError, match="^amount"):
        postings.top_up(session, "acct_nobody", 1)


def test_refunds_together_never_exceed_the_charge(world: World) -> None:
    usage = world.rows(BalanceTransaction, kind="usage")[0]  # of 100 tokens, 10 given back
    before = world.account.balance_nanos

    def give(amount: int, charge: str = usage.id) -> Any:
        with world.database.transaction() as session:
            return postings.refund(session, charge, amount)

    for amount in (0, -1, 90 * TOKEN + 1):
        with pytest.raises(ValueError, match=r"at most 0\.0002754 AUD of this charge"):
            give(amount)
    assert give(40 * TOKEN).note == ""
    give(50 * TOKEN)
    with pytest.raises(ValueError, match=r"at most 0\.00 AUD"):
        give(1)
    assert world.account.balance_nanos == before + 90 * TOKEN
    top_up = world.rows(BalanceTransaction, kind="top_up")[0]
    for charge in (top_up.id, "txn_nothing"):
        with pytest.raises(ValueError, match="no such charge"):
            give(1, charge)
    assert world.problems() == []


def test_an_adjustment_takes_what_is_available_and_not_what_is_held(world: World) -> None:
    account = world.account
    available = account.balance_nanos - account.held_nanos
    assert account.held_nanos == 30 * TOKEN

    def adjust(amount: int) -> None:
        with world.database.transaction() as session:
            postings.adjust(session, world.account_id, amount)

    for amount in (-available - 1, 0, postings.MOST_NANOS + 1, -postings.MOST_NANOS - 1):
        with pytest.raises(ValueError, match="^amount: "):
            adjust(amount)
    adjust(-available)
    assert world.account.available_nanos == 0
    adjust(5)
    assert world.account.available_nanos == 5
    assert world.problems() == []


def test_an_account_that_is_not_there_cannot_be_looked_at(world: World) -> None:
    from modelbridge.ledger.accounts import account_view

    with world.database.reading() as session, pytest.raises(LookupError, match="acct_nobody"):
        account_view(session, "acct_nobody")


@pytest.mark.parametrize("what", ["settle", "void"])
def test_a_hold_that_is_not_there_cannot_be_resolved(world: World, what: str) -> None:
    from modelbridge.ledger import holds

    def resolve(cursor: Cursor) -> None:
        if what == "settle":
            holds.settle(cursor, "hold_nobody", 1)
        else:
            holds.void(cursor, "hold_nobody")

    with pytest.raises(LookupError, match="hold_nobody"):
        world.database.submit(resolve)


def test_a_hold_beyond_the_range_of_the_database_is_refused(world: World) -> None:
    from modelbridge.ledger import holds

    key = world.key()
    for amount, refusal in (
        (-1, "out of range"),
        (MAX_NANOS + 1, "out of range"),
        (MAX_NANOS, "took the money first"),  # as much could be held, if anybody had it
    ):

        def size(funds: holds.Funds, amount: int = amount) -> int:
            return amount

        request = holds.HoldRequest("hold_x", "req_x", key, "boot_x", "chat", "m", False, 1, size)
        with pytest.raises((ValueError, BudgetInFlight), match=refusal):
            world.database.submit(partial(holds.place, request=request))
    assert world.problems() == []


def test_money_that_is_not_there_is_not_held_whatever_the_size_says(world: World) -> None:
    from modelbridge.ledger import holds

    key, before = world.key(), world.account
    request = holds.HoldRequest(
        "hold_x",
        "req_x",
        key,
        "boot_x",
        "chat",
        "m",
        stream=False,
        fx_version=1,
        size=lambda funds: funds.unheld + 1,
    )
    with pytest.raises(BudgetInFlight):
        world.database.submit(partial(holds.place, request=request))
    assert world.account == before
    assert world.problems() == []


def test_a_key_that_is_not_there_admits_nothing(world: World) -> None:
    from modelbridge.errors import ApiKeyRevoked
    from modelbridge.ledger import holds

    with pytest.raises(ApiKeyRevoked):
        world.database.submit(lambda cursor: holds.live_payer(cursor, "key_nobody", 0))
