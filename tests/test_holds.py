"""Holds, one unit of the writer at a time: what each changes, what it refuses, what it leaves."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import time_machine
from ledger_world import World, world_in

from modelbridge import clock
from modelbridge.errors import (
    ApiKeyExpired,
    ApiKeyRevoked,
    BridgeError,
    BudgetInFlight,
    IdempotencyDone,
    IdempotencyInFlight,
    IdempotencyMismatch,
)
from modelbridge.identity import users
from modelbridge.ledger import accounts, holds, postings
from modelbridge.ledger.holds import Funds, HoldRequest, Purse
from modelbridge.ledger.windows import window_end, window_start
from modelbridge.money import MAX_NANOS
from modelbridge.store.statements import Cursor
from modelbridge.store.tables import BalanceTransaction, Hold, Shortfall

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOW = clock.to_micros(NOON)
SYDNEY = "Australia/Sydney"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """At noon, with the account's own row in its books."""
    with world_in(tmp_path) as world, time_machine.travel(NOON, tick=False):
        yield world


def request(
    key: str, size: int | Callable[[Funds], int], number: int = 1, **more: Any
) -> HoldRequest:
    return HoldRequest(
        hold_id=f"hold_{number}",
        call_id=f"req_{number}",
        key_id=key,
        owner="boot_1",
        endpoint="chat.completions",
        model="gpt-exact",
        stream=True,
        fx_version=1,
        size=size if callable(size) else lambda funds: size,
        **more,
    )


def place(world: World, key: str, size: int, number: int = 1, **more: Any) -> int:
    return world.database.submit(partial(holds.place, request=request(key, size, number, **more)))


def hold(world: World, number: int = 1) -> Hold:
    (row,) = world.rows(Hold, id=f"hold_{number}")
    assert isinstance(row, Hold)
    return row


def books(world: World) -> list[list[tuple[Any, ...]]]:
    """Everything that a hold can change."""
    tables = ("accounts", "spending", "holds", "balance_transactions", "idempotency_keys")
    wanted = (f"SELECT * FROM {table} ORDER BY 1, 2" for table in tables)  # noqa: S608
    return [[tuple(row) for row in world.look(statement)] for statement in wanted]


def funds(world: World, key: str) -> Funds:
    def unit(cursor: Cursor) -> Funds:
        payer = holds.live_payer(cursor, key, clock.now_micros())
        return holds.funds(cursor, payer, holds._windows(key, payer, clock.now()))

    return world.database.submit(unit)


# A hold that stands


def test_a_hold_remembers_what_it_is_for_and_whose_windows_it_counts_in(world: World) -> None:
    key = world.key()
    world.limit("key", key, 100, "day")
    world.limit("account", key, 100, "month")
    assert place(world, key, 123) == 123
    row = hold(world)
    assert (row.id, row.call_id, row.account_id) == ("hold_1", "req_1", world.account_id)
    assert (row.key_id, row.user_id, row.owner) == (key, None, "boot_1")
    assert (row.endpoint, row.model, row.stream) == ("chat.completions", "gpt-exact", True)
    assert (row.state, row.amount_nanos, row.charged_nanos) == ("held", 123, None)
    assert (row.fx_version, row.admitted_at, row.resolved_at) == (1, NOON, None)
    assert (row.flagged, row.evidence, row.unknown_since) == (False, None, None)
    assert row.key_window_start == window_start("day", SYDNEY, NOON)
    assert row.account_window_start == window_start("month", SYDNEY, NOON)
    assert world.held(key) == world.account.held_nanos == 123
    assert [tuple(one)[2:] for one in world.look("SELECT * FROM spending")] == [(0, 123)] * 2


def test_evidence_may_come_with_the_hold(world: World) -> None:
    place(world, world.key(), 1, evidence='{"answered": false}')
    assert hold(world).evidence == {"answered": False}


def test_what_a_call_may_spend_is_told_purse_by_purse(world: World) -> None:
    token, balance = world.TOKEN, world.account.balance_nanos
    key = world.key()
    assert funds(world, key) == Funds((Purse("balance", balance, balance),), "user")
    world.spend(key, 5)
    place(world, key, 2 * token)
    balance -= 5 * token
    world.limit("key", key, 20, "day")
    world.limit("account", key, 30, "none")
    found = funds(world, key)
    assert found == Funds(
        (
            Purse("balance", balance - 2 * token, balance),
            Purse("key_limit", 13 * token, 15 * token, 20 * token, window_end("day", SYDNEY, NOON)),
            Purse("account_limit", 23 * token, 25 * token, 30 * token, None),
        ),
        "user",
    )
    assert (found.unheld, found.if_freed) == (13 * token, 15 * token)
    assert found.narrowest.name == "key_limit"


def test_the_purse_that_binds_is_the_one_with_the_least_when_nothing_is_held(world: World) -> None:
    found = Funds((Purse("balance", 5, 100), Purse("key_limit", 50, 60)), "user")
    assert (found.unheld, found.if_freed, found.narrowest.name) == (5, 60, "key_limit")


# Somebody was quicker: between the look at the money and the hold, this happens

QUICKER = {
    "nothing": ("SELECT 1", True),
    "the balance is just enough": (
        "UPDATE accounts SET balance_nanos = 100 WHERE id = 'acct%'",
        True,
    ),
    "the balance is spent": ("UPDATE accounts SET balance_nanos = 99 WHERE id = 'acct%'", False),
    "just enough is unheld": (
        "UPDATE accounts SET held_nanos = balance_nanos - 100 WHERE id = 'acct%'",
        True,
    ),
    "the balance is held": (
        "UPDATE accounts SET held_nanos = balance_nanos - 99 WHERE id = 'acct%'",
        False,
    ),
    "the key's limit is just enough": (
        "UPDATE api_keys SET limit_nanos = 100 WHERE id = 'key%'",
        True,
    ),
    "the key's limit is lowered": ("UPDATE api_keys SET limit_nanos = 99 WHERE id = 'key%'", False),
    "the account's limit is just enough": (
        "UPDATE accounts SET limit_nanos = 100 WHERE id = 'acct%'",
        True,
    ),
    "the account's limit is lowered": (
        "UPDATE accounts SET limit_nanos = 99 WHERE id = 'acct%'",
        False,
    ),
    "the key's limit is just not spent": (
        "UPDATE api_keys SET limit_nanos = 130 WHERE id = 'key%'; "
        "UPDATE spending SET spent_nanos = 20, held_nanos = 10 WHERE subject_id LIKE 'key%'",
        True,
    ),
    "the key's limit is just spent": (
        "UPDATE api_keys SET limit_nanos = 129 WHERE id = 'key%'; "
        "UPDATE spending SET spent_nanos = 20, held_nanos = 10 WHERE subject_id LIKE 'key%'",
        False,
    ),
    "the account's limit is just not spent": (
        "UPDATE accounts SET limit_nanos = 130 WHERE id = 'acct%'; "
        "UPDATE spending SET spent_nanos = 20, held_nanos = 10 WHERE subject_id LIKE 'acct%'",
        True,
    ),
    "the account's limit is just spent": (
        "UPDATE accounts SET limit_nanos = 129 WHERE id = 'acct%'; "
        "UPDATE spending SET spent_nanos = 20, held_nanos = 10 WHERE subject_id LIKE 'acct%'",
        False,
    ),
    "the key is revoked": ("UPDATE api_keys SET revoked_at = 1 WHERE id = 'key%'", False),
    "the key expires now": ("UPDATE api_keys SET expires_at = {NOW} WHERE id = 'key%'", False),
    "the key expires next": ("UPDATE api_keys SET expires_at = {NOW} + 1 WHERE id = 'key%'", True),
    "the key's window is gone": ("DELETE FROM spending WHERE subject_id LIKE 'key%'", True),
    "the account's window is gone": ("DELETE FROM spending WHERE subject_id LIKE 'acct%'", True),
    "the key's window is gone and its limit lowered": (
        "UPDATE api_keys SET limit_nanos = 99 WHERE id = 'key%'; "
        "DELETE FROM spending WHERE subject_id LIKE 'key%'",
        False,
    ),
}


@pytest.mark.parametrize("what", QUICKER)
def test_whatever_changes_after_the_look_at_the_money_is_looked_at_again(
    world: World, what: str
) -> None:
    statements, stands = QUICKER[what]
    key, other = world.key(), world.key()
    with world.database.transaction() as session:  # neighbours have no limit
        accounts.open_account(session, "user")
    place(world, other, 0, number=9)  # another key's row, which must stay as it is
    place(world, key, 0, number=8)
    before = books(world)

    def unit(cursor: Cursor) -> int:
        def size(_: Funds) -> int:
            for statement in statements.split("; "):
                told = statement.replace("key%", key).replace("acct%", world.account_id)
                cursor.execute(told.replace("{NOW}", str(NOW)))
            return 100

        return holds.place(cursor, request(key, size))

    if stands:
        assert world.database.submit(unit) == 100
        assert hold(world).amount_nanos == 100
        assert world.held(other) == 0
        ((mine,),) = world.sql("SELECT held_nanos FROM spending WHERE subject_id = ?", [key])
        assert mine == (
            110 if "held_nanos = 10 WHERE subject_id LIKE 'key%'" in statements else 100
        )
    else:
        with pytest.raises(BudgetInFlight) as refused:
            world.database.submit(unit)
        assert refused.value.retry_after == 1
        assert books(world) == before


@pytest.mark.parametrize("amount", [0, 1])
def test_a_hold_may_be_of_nothing_and_of_all_there_is(world: World, amount: int) -> None:
    everything = world.account.balance_nanos
    key = world.key()
    assert place(world, key, amount * everything) == amount * everything
    assert world.account.available_nanos == (1 - amount) * everything


@pytest.mark.parametrize("amount", [-1, MAX_NANOS + 1])
def test_a_hold_of_what_no_integer_of_the_database_says_is_a_mistake_of_ours(
    world: World, amount: int
) -> None:
    with pytest.raises(ValueError, match="out of range"):
        place(world, world.key(), amount)


def test_the_largest_hold_that_can_be_said_is_only_too_dear(world: World) -> None:
    with pytest.raises(BudgetInFlight):
        place(world, world.key(), MAX_NANOS)


# Who pays


@pytest.mark.parametrize(
    ("statement", "refusal", "words"),
    [
        ("UPDATE api_keys SET revoked_at = 1", ApiKeyRevoked, "revoked"),
        ("UPDATE api_keys SET expires_at = {NOW}", ApiKeyExpired, "expired on 2026-11-23"),
        ("UPDATE users SET disabled_at = 1", ApiKeyRevoked, "disabled"),
        ("DELETE FROM memberships", ApiKeyRevoked, "no longer in its team"),
    ],
)
def test_a_dead_key_holds_nothing_and_says_why(
    world: World, statement: str, refusal: type[BridgeError], words: str
) -> None:
    key = team_key(world)
    assert place(world, key, 1) == 1
    world.sql(statement.replace("{NOW}", str(NOW)))
    before = books(world)
    with pytest.raises(refusal, match=words):
        place(world, key, 1, number=2)
    assert books(world) == before


def test_who_left_a_team_is_not_in_it_for_its_other_members_nor_for_another_team(
    world: World,
) -> None:
    """Alice is in another team, and Bob in this one."""
    key = team_key(world)
    with world.database.transaction() as session:
        account = accounts.open_account(session, "user")
        bob = users.create_user(session, email="bob@example.com", name="Bob", account_id=account.id)
        bob_id, other = bob.id, accounts.open_account(session, "team").id
    world.sql(
        "INSERT INTO teams (id, name, name_key, account_id, created_at) VALUES "
        "('team_2', 'Sales', 'sales', ?, 1)",
        [other],
    )
    world.sql("UPDATE memberships SET team_id = 'team_2'")
    with pytest.raises(ApiKeyRevoked, match="no longer in its team"):
        place(world, key, 1)
    world.sql("UPDATE memberships SET team_id = 'team_1', user_id = ?", [bob_id])
    with pytest.raises(ApiKeyRevoked, match="no longer in its team"):
        place(world, key, 1)
    world.sql("UPDATE memberships SET user_id = ?", [world.user_id])
    assert place(world, key, 1) == 1


def team_key(world: World) -> str:
    """A key of Alice's that her team pays for."""
    with world.database.transaction() as session:
        account = accounts.open_account(session, "team").id
        postings.top_up(session, account, 1_000)
    key = world.key(account)
    world.sql("UPDATE api_keys SET user_id = ? WHERE id = ?", [world.user_id, key])
    world.sql(
        "INSERT INTO teams (id, name, name_key, account_id, created_at) VALUES "
        "('team_1', 'Search', 'search', ?, 1)",
        [account],
    )
    world.sql(
        "INSERT INTO memberships (team_id, user_id, role, created_at) VALUES "
        "('team_1', ?, 'member', 1)",
        [world.user_id],
    )
    return key


def test_a_teams_key_is_paid_by_the_team_for_the_person_who_has_it(world: World) -> None:
    key = team_key(world)
    mine, hers = world.key(), world.account
    payer = world.database.submit(lambda cursor: holds.live_payer(cursor, key, NOW))
    assert (payer.account_kind, payer.balance, payer.held) == ("team", 1_000, 0)
    assert (payer.user_id, payer.left_team, payer.time_zone) == (world.user_id, 0, SYDNEY)
    place(world, key, 600)
    assert hold(world).user_id == world.user_id
    assert hold(world).account_id == payer.account_id != world.account_id
    assert world.account == hers
    assert funds(world, key).unheld == 400
    own = world.database.submit(lambda cursor: holds.live_payer(cursor, mine, NOW))
    assert (own.account_kind, own.user_id, own.left_team) == ("user", None, 0)


def test_a_key_of_nobodys_in_a_team_needs_no_member(world: World) -> None:
    key = team_key(world)
    world.sql("UPDATE api_keys SET user_id = NULL")
    world.sql("DELETE FROM memberships")
    assert place(world, key, 1) == 1


# The end of a hold


def test_a_settled_hold_is_posted_and_frees_the_rest(world: World) -> None:
    key = world.key()
    world.limit("key", key, 1_000, "day")
    before = world.account
    place(world, key, 100)
    with time_machine.travel(NOON + timedelta(minutes=1), tick=False):
        assert world.database.submit(lambda cursor: holds.settle(cursor, "hold_1", 40)) == 40
    row = hold(world)
    assert (row.state, row.charged_nanos, row.flagged) == ("posted", 40, False)
    assert (row.admitted_at, row.resolved_at) == (NOON, NOON + timedelta(minutes=1))
    (usage,) = world.rows(BalanceTransaction, kind="usage")
    assert (usage.account_id, usage.key_id, usage.hold_id) == (world.account_id, key, "hold_1")
    assert (usage.amount_nanos, usage.balance_after_nanos) == (-40, before.balance_nanos - 40)
    assert (usage.admitted_at, usage.created_at) == (NOON, NOON + timedelta(minutes=1))
    assert (usage.note, usage.reference, usage.refunds_id) == ("", None, None)
    assert usage.id.startswith("txn_")
    assert (world.spent(key), world.held(key)) == (40, 0)
    assert (world.account.balance_nanos, world.account.held_nanos) == (before.balance_nanos - 40, 0)
    assert world.rows(Shortfall) == []


@pytest.mark.parametrize("cost", [100, 101, 2**80])
def test_what_costs_more_than_was_held_is_the_operators(world: World, cost: int) -> None:
    place(world, world.key(), 100)
    assert world.database.submit(lambda cursor: holds.settle(cursor, "hold_1", cost)) == 100
    shortfalls = world.rows(Shortfall)
    assert len(shortfalls) == (cost > 100)
    for row in shortfalls:
        assert (row.hold_id, row.created_at) == ("hold_1", NOON)
        assert row.amount_nanos == min(cost - 100, 2**63 - 1)
        assert row.id.startswith("short_")


@pytest.mark.parametrize("first", ["settle", "void"])
def test_a_hold_is_resolved_once_and_what_comes_later_changes_nothing(
    world: World, first: str
) -> None:
    place(world, world.key(), 100)

    def settle(cursor: Cursor) -> object:
        return holds.settle(cursor, "hold_1", 30, flag=True)

    def void(cursor: Cursor) -> object:
        return holds.void(cursor, "hold_1", flag=True)

    assert world.database.submit(settle if first == "settle" else void)
    before = books(world)
    assert world.database.submit(settle) is None
    assert world.database.submit(void) is False
    evidence: dict[str, object] = {"answered": True}
    forget = partial(holds.forget_outcome, hold_id="hold_1", evidence=evidence)
    assert world.database.submit(forget) is False
    world.database.submit(partial(holds.keep_evidence, hold_id="hold_1", evidence=evidence))
    assert world.database.submit(partial(holds.forget_dead, boot_id="boot_2")) == 0
    assert books(world) == before


@pytest.mark.parametrize("flag", [True, False])
def test_a_void_hold_gives_everything_back_and_posts_nothing(world: World, flag: bool) -> None:
    key, before = world.key(), world.account
    place(world, key, 100)
    assert world.database.submit(lambda cursor: holds.void(cursor, "hold_1", flag=flag)) is True
    row = hold(world)
    assert (row.state, row.charged_nanos, row.flagged) == ("void", None, flag)
    assert row.resolved_at == NOON
    assert world.account == before
    assert (world.spent(key), world.held(key)) == (0, 0)
    assert world.rows(BalanceTransaction, kind="usage") == []


def test_only_the_hold_that_is_meant_is_resolved(world: World) -> None:
    key, other = world.key(), world.key()
    place(world, key, 100, 1)
    place(world, key, 200, 2)
    place(world, other, 400, 3)
    world.database.submit(lambda cursor: holds.settle(cursor, "hold_1", 10))
    world.database.submit(partial(holds.keep_evidence, hold_id="hold_2", evidence={"a": 1}))
    assert [hold(world, number).state for number in (1, 2, 3)] == ["posted", "held", "held"]
    assert [hold(world, number).evidence for number in (1, 2, 3)] == [None, {"a": 1}, None]
    forget = partial(holds.forget_outcome, hold_id="hold_2", evidence={"a": 2})
    world.database.submit(forget)
    assert [hold(world, number).state for number in (1, 2, 3)] == ["posted", "unknown", "held"]
    assert (world.held(key), world.held(other), world.account.held_nanos) == (200, 400, 600)
    assert (world.spent(key), world.spent(other)) == (10, 0)


def test_an_unknown_hold_keeps_its_money_its_moment_and_its_flag_until_it_is_resolved(
    world: World,
) -> None:
    key = world.key()
    place(world, key, 100)
    world.database.submit(partial(holds.keep_evidence, hold_id="hold_1", evidence={"bytes": 1}))
    assert hold(world).evidence == {"bytes": 1}
    assert hold(world).state == "held"
    forget = partial(holds.forget_outcome, hold_id="hold_1", evidence={"bytes": 2})
    assert world.database.submit(forget) is True
    row = hold(world)
    assert (row.state, row.flagged, row.unknown_since) == ("unknown", True, NOON)
    assert (row.evidence, row.resolved_at, row.charged_nanos) == ({"bytes": 2}, None, None)
    assert world.held(key) == world.account.held_nanos == 100
    # a second time, and evidence that comes too late, change nothing
    assert world.database.submit(forget) is False
    world.database.submit(partial(holds.keep_evidence, hold_id="hold_1", evidence={"bytes": 9}))
    assert hold(world).evidence == {"bytes": 2}
    assert world.database.submit(lambda cursor: holds.settle(cursor, "hold_1", 7)) == 7
    row = hold(world)
    assert (row.state, row.flagged, row.evidence) == ("posted", True, None)


def test_a_process_that_is_no_more_leaves_its_holds_unknown_and_no_one_elses(world: World) -> None:
    key = world.key()
    for number in (1, 2, 3):
        place(world, key, 10, number)
    world.sql("UPDATE holds SET owner = 'boot_2' WHERE id = 'hold_2'")
    world.database.submit(lambda cursor: holds.void(cursor, "hold_3"))
    assert world.database.submit(partial(holds.forget_dead, boot_id="boot_2")) == 1
    assert [hold(world, number).state for number in (1, 2, 3)] == ["unknown", "held", "void"]
    row = hold(world)
    assert (row.flagged, row.unknown_since, row.evidence) == (True, NOON, None)
    assert not hold(world, 2).flagged
    with time_machine.travel(NOON + timedelta(minutes=5), tick=False):
        assert world.database.submit(partial(holds.forget_dead, boot_id="boot_2")) == 0
    assert hold(world).unknown_since == NOON  # its grace does not begin anew with each start


# Idempotency keys

ONCE = ("order-17", "sha-1")


def test_a_call_that_is_under_way_or_unknown_is_not_made_again(world: World) -> None:
    key = world.key()
    place(world, key, 10, 1, idempotency=ONCE)
    before = books(world)
    for _ in range(2):
        with pytest.raises(IdempotencyInFlight, match="req_1"):
            place(world, key, 10, 2, idempotency=ONCE)
        assert books(world) == before
        world.database.submit(partial(holds.forget_outcome, hold_id="hold_1", evidence={}))
        before = books(world)


def test_a_call_that_is_done_names_its_receipt_and_cost(world: World) -> None:
    key = world.key()
    place(world, key, 10, 1, idempotency=ONCE)
    world.database.submit(lambda cursor: holds.settle(cursor, "hold_1", 4))
    with pytest.raises(IdempotencyDone, match=r"receipt req_1, cost AUD 0\.000000004\. "):
        place(world, key, 10, 2, idempotency=ONCE)


@pytest.mark.parametrize("state", ["held", "posted", "unknown"])
def test_another_body_under_the_same_idempotency_key_is_refused(world: World, state: str) -> None:
    key = world.key()
    place(world, key, 10, 1, idempotency=ONCE)
    if state == "posted":
        world.database.submit(lambda cursor: holds.settle(cursor, "hold_1", 4))
    elif state == "unknown":
        world.database.submit(partial(holds.forget_outcome, hold_id="hold_1", evidence={}))
    with pytest.raises(IdempotencyMismatch):
        place(world, key, 10, 2, idempotency=("order-17", "sha-2"))


def test_a_void_call_frees_its_idempotency_key_for_another_body(world: World) -> None:
    key, stranger = world.key(), world.key()
    place(world, stranger, 10, 7, idempotency=("order-17", "sha-7"))
    place(world, key, 10, 1, idempotency=("order-18", "sha-8"))
    place(world, key, 10, 2, idempotency=ONCE)
    world.database.submit(lambda cursor: holds.void(cursor, "hold_2"))
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        assert place(world, key, 10, 3, idempotency=("order-17", "sha-2")) == 10
    rows = world.look(
        "SELECT key_id, value, body_sha256, hold_id, created_at FROM idempotency_keys "
        "ORDER BY hold_id"
    )
    assert [tuple(row) for row in rows] == [
        (key, "order-18", "sha-8", "hold_1", NOW),
        (key, "order-17", "sha-2", "hold_3", NOW + 3_600_000_000),
        (stranger, "order-17", "sha-7", "hold_7", NOW),
    ]
    with pytest.raises(IdempotencyInFlight, match="req_3"):
        place(world, key, 10, 4, idempotency=("order-17", "sha-2"))


def test_a_call_that_nobody_saw_end_keeps_its_idempotency_key_though_it_is_void(
    world: World,
) -> None:
    key = world.key()
    place(world, key, 10, 1, idempotency=ONCE)
    world.database.submit(partial(holds.forget_outcome, hold_id="hold_1", evidence={}))
    world.database.submit(partial(holds.void, hold_id="hold_1", flag=True))
    with pytest.raises(IdempotencyDone, match=r"lost on the way: receipt req_1, cost AUD 0\. "):
        place(world, key, 10, 2, idempotency=ONCE)
    with pytest.raises(IdempotencyMismatch):
        place(world, key, 10, 2, idempotency=("order-17", "sha-2"))


def test_calls_without_an_idempotency_key_remember_none(world: World) -> None:
    key = world.key()
    place(world, key, 10, 1)
    place(world, key, 10, 2)
    assert world.look("SELECT * FROM idempotency_keys") == []
