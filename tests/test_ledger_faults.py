"""Every statement of a call's life is made to fail in turn: the books balance, and it heals."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from faulty import (
    FaultyConnection,
    be_impatient,
    full_disk,
    locked_by_another_process,
    make_faulty,
    make_reading_faulty,
)
from hostile import HostileUpstream, reply, status, stream
from ledger_world import World, world_in
from people import Key, Person, TestBridge, wait_for

from modelbridge import money
from modelbridge.errors import IdempotencyInFlight, Overloaded, UpstreamError
from modelbridge.gateway import recovery
from modelbridge.gateway.charge import Charge
from modelbridge.ledger import sql
from modelbridge.store.tables import Attempt, Call, DailyUsage, Hold, Shortfall

START = 10 * money.NANOS
REPORTED = 3 * World.TOKEN


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path, MODELBRIDGE_HOLD_GRACE_SECONDS="0") as world:
        yield world


@contextmanager
def owned(charge: Charge) -> Iterator[Charge]:
    """As the pipeline owns it."""
    with ExitStack() as undo:
        undo.push(charge.abandon)
        yield charge


def settled(world: World, key: str) -> None:
    with owned(world.admit(key, 10)) as charge:
        charge.settle(world.usage(3), "reported")


def estimated(world: World, key: str) -> None:
    with owned(world.admit(key, 10)) as charge:
        with suppress(Overloaded):  # nobody waits for it
            charge.keep_evidence(None, 12)
        charge.settle(charge.estimate(world.usage(3), 12), "estimated")


def above_the_hold(world: World, key: str) -> None:
    with owned(world.admit(key, 3)) as charge:
        charge.settle(world.usage(5), "reported")


def voided(world: World, key: str) -> None:
    with owned(world.admit(key, 10)) as charge:
        charge.void()


def forgotten(world: World, key: str) -> None:
    with owned(world.admit(key, 10)) as charge:
        charge.upstream_status = 200
        charge.forget_outcome(None, world.usage(3), 0)


def cut(world: World, key: str) -> None:
    with suppress(UpstreamError), owned(world.admit(key, 10)) as charge:
        charge.upstream_status = 200
        raise UpstreamError("cut", may_have_billed=True)


def repeated(world: World, key: str) -> None:
    with owned(world.admit(key, 10, idempotency=("once", "0" * 64))) as charge:
        with suppress(IdempotencyInFlight):
            world.admit(key, 10, idempotency=("once", "0" * 64))
        charge.settle(world.usage(3), "reported")


LIVES: dict[str, Callable[[World, str], None]] = {
    "settled": settled,
    "estimated": estimated,
    "above the hold": above_the_hold,
    "voided": voided,
    "forgotten": forgotten,
    "cut": cut,
    "repeated": repeated,
}


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("name", LIVES)
def test_whichever_statement_of_a_calls_life_fails_the_books_balance_and_all_of_it_heals(
    world: World, name: str, still: bool
) -> None:
    key = world.key()
    with closing(sqlite3.connect(":memory:")) as memory:
        world.remember(memory)
        faulty = make_faulty(world.database)
        LIVES[name](world, key)
        statements = faulty.statements
        assert statements > 10
        for nth in range(1, statements + 1):
            world.begin_again(memory)
            faulty.fail_at(nth, still=still)
            with suppress(Overloaded):
                LIVES[name](world, key)
            faulty.fail_at(None)
            world.sweep()
            world.sweep()
            assert world.problems() == [], nth
            assert world.account.held_nanos == 0, nth
            posted = [hold for hold in world.rows(Hold) if hold.state == "posted"]
            cost = len(posted) * (0 if name == "cut" else REPORTED)
            assert world.account.balance_nanos == START - cost, nth
            settled(world, key)  # and the next call goes through


def test_a_settlement_that_the_database_refused_is_tried_again_until_it_stands(
    world: World,
) -> None:
    key = world.key()
    charge = world.admit(key, 10)
    faulty = make_faulty(world.database)
    faulty.fail_at(1, still=True)
    with pytest.raises(Overloaded) as failure:
        charge.settle(world.usage(3), "reported")
    assert failure.value.retry is False  # the money was spent upstream
    for _ in range(3):
        recovery.retry_unsettled(world.gateway)
    assert world.account.held_nanos == 10 * world.TOKEN
    faulty.fail_at(None)
    recovery.retry_unsettled(world.gateway)
    assert (world.account.held_nanos, world.account.balance_nanos) == (0, START - REPORTED)
    assert world.problems() == []


def test_one_settlement_that_can_never_stand_does_not_keep_the_others_waiting(
    world: World,
) -> None:
    key = world.key()
    charges = [world.admit(key, 10) for _ in range(3)]

    def poison() -> None:
        raise Overloaded("never")

    world.gateway.unsettled.append(poison)
    faulty = make_faulty(world.database)
    faulty.fail_at(1, still=True)
    for charge in charges:
        with pytest.raises(Overloaded):
            charge.settle(world.usage(3), "reported")
    faulty.fail_at(None)
    for _ in range(3):
        recovery.retry_unsettled(world.gateway)
    assert world.account.balance_nanos == START - 3 * REPORTED
    assert world.gateway.unsettled == [poison]
    world.gateway.unsettled.clear()
    assert world.problems() == []


def test_a_number_of_tokens_beyond_all_measure_is_a_shortfall_and_no_more(world: World) -> None:
    key = world.key()
    with world.database.transaction() as session:
        from modelbridge.catalog import admin

        admin.add_model(
            session,
            name="gpt-exact",
            targets=[("nowhere", "gpt-exact")],
            prices={"input": "0", "output": "1000"},
            free=False,
            context_window=None,
            max_output=1_000,
        )
    charge = world.admit(key, 1)
    charge.settle(world.usage(2**53), "reported")
    assert world.account.held_nanos == 0
    (short,) = world.rows(Shortfall)
    assert short.amount_nanos == money.MAX_NANOS
    (day,) = world.rows(DailyUsage)  # a sum of such days must not overflow
    assert day.output_tokens == 2**40
    assert world.problems() == []


def test_a_fault_of_our_own_in_the_settlement_leaves_the_call_unknown_not_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    charge = world.admit(world.key(), 10)
    charge.upstream_status = 200
    monkeypatch.setattr(sql, "INSERT_USAGE", None)
    error: AttributeError | None = None
    try:
        charge.settle(world.usage(3), "reported")
    except AttributeError as raised:
        error = raised
    assert error is not None
    monkeypatch.undo()
    charge.abandon(type(error), error, None)
    assert [hold.state for hold in world.rows(Hold)] == ["unknown"]
    world.sweep()
    assert world.account.held_nanos == 0
    assert world.problems() == []


def test_a_next_attempt_that_cannot_be_written_is_not_made(world: World) -> None:
    with world.database.transaction() as session:
        from modelbridge.catalog import admin

        admin.add_model(
            session,
            name="gpt-exact",
            targets=[("nowhere", "first"), ("nowhere", "second")],
            prices={"input": "0", "output": "2"},
            free=False,
            context_window=None,
            max_output=1_000,
        )
    charge = world.admit(world.key(), 10)
    faulty = make_faulty(world.database)
    faulty.fail_at(1, still=True)
    with pytest.raises(Overloaded) as failure:
        charge.next_attempt("refused")
    faulty.fail_at(None)
    charge.abandon(Overloaded, failure.value, None)
    (attempt,) = world.rows(Attempt)
    assert (attempt.number, attempt.upstream_model) == (1, "first")
    assert attempt.ended_at is not None
    (call,) = world.rows(Call)
    assert call.upstream_model == "first"
    assert world.problems() == []


# Over HTTP, while the database is away


@pytest.fixture
def broken(bridge: TestBridge) -> FaultyConnection:
    return make_faulty(bridge.database)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_whichever_statement_fails_over_http_reads_too_the_upstreams_count_is_what_is_charged(
    bridge: TestBridge,
    alice: Person,
    key: Key,
    upstream: HostileUpstream,
    broken: FaultyConnection,
    streamed: bool,
    still: bool,
) -> None:
    make_reading_faulty(bridge.database, broken)
    upstream.will(stream(3, prompt_tokens=100, completion_tokens=50))

    def call(number: int) -> int:
        name = {"Idempotency-Key": f"call-{number}"}
        answer = (key.stream if streamed else key.chat)(headers=name)
        assert answer.content
        return answer.status_code

    for number in range(3):
        assert call(number) == 200  # what is looked up once only has been
    bridge.settle_down()
    before = broken.statements
    assert call(3) == 200
    bridge.settle_down()
    statements = broken.statements - before
    assert statements > 15
    for nth in range(1, statements + 1):
        broken.fail_at(nth, still=still)
        assert call(3 + nth) in (200, 503), nth
        broken.fail_at(None)
        wait_for(lambda: alice.account.held_nanos == 0)
        cost = len(upstream.seen()) * (100 + 2 * 50) * 1530
        assert alice.account.balance_nanos == START - cost, nth
    assert call(0) == 409


def test_a_ledger_that_cannot_be_written_is_a_503_and_the_upstream_hears_nothing(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, broken: FaultyConnection
) -> None:
    broken.fail_at(1, still=True)
    answer = key.chat()
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "overloaded"
    assert answer.headers["retry-after"]
    assert upstream.seen() == []
    broken.fail_at(None)
    assert key.chat().status_code == 200


@pytest.mark.parametrize("streamed", [False, True])
def test_a_ledger_that_goes_away_during_a_call_charges_it_when_it_is_back(
    bridge: TestBridge,
    alice: Person,
    key: Key,
    upstream: HostileUpstream,
    broken: FaultyConnection,
    streamed: bool,
) -> None:
    upstream.will(stream(3, prompt_tokens=100, completion_tokens=50, gate="door"))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(key.stream if streamed else key.chat)
        upstream.wait_for(1)
        broken.fail_at(1, still=True)
        upstream.open("door")
        answer = call.result()
        if streamed:
            assert b"overloaded" in answer.content
            assert b"[DONE]" not in answer.content
        else:
            assert answer.status_code == 503
            assert answer.headers["x-should-retry"] == "false"
    broken.fail_at(None)
    wait_for(lambda: alice.account.held_nanos == 0)
    assert alice.account.balance_nanos == START - (100 + 2 * 50) * 1530
    assert len(bridge.calls()) == 1


def test_a_lock_that_ends_just_after_a_settlement_was_refused_loses_nothing(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    """The row of the refused call must not stand in the way of its receipt."""
    upstream.will(reply(prompt_tokens=100, completion_tokens=50, gate="door"))
    be_impatient(bridge.database, 300)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(key.chat)
        upstream.wait_for(1)
        with locked_by_another_process(bridge.database.path):
            upstream.open("door")
            assert call.result().status_code == 503
        wait_for(lambda: alice.account.held_nanos == 0)
    assert alice.account.balance_nanos == START - (100 + 2 * 50) * 1530


def test_a_full_disk_is_a_503_and_service_goes_on_when_there_is_room(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    with full_disk(bridge.database):
        statuses = {key.chat().status_code for _ in range(60)}
    assert 503 in statuses
    assert statuses <= {200, 503}
    wait_for(lambda: key.chat().status_code == 200)
    bridge.settle_down()


def test_a_database_that_another_process_locks_is_a_503_and_needs_no_restart(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    be_impatient(bridge.database)
    with locked_by_another_process(bridge.database.path):
        for _ in range(3):
            assert key.chat().status_code == 503
        assert key.get("/v1/models").status_code == 200
    assert upstream.seen() == []
    started = time.monotonic()
    assert key.chat().status_code == 200
    assert time.monotonic() - started < 2


def test_a_void_that_the_database_refused_frees_the_money_when_it_is_back(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream, broken: FaultyConnection
) -> None:
    upstream.will(status(503, headers={}) | {"gate": "door"})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(key.chat)
        upstream.wait_for(1)
        broken.fail_at(1, still=True)
        upstream.open("door")
        assert call.result().status_code == 503
    broken.fail_at(None)
    wait_for(lambda: alice.account.held_nanos == 0)
    assert alice.account.balance_nanos == START
