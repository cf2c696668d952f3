"""What nobody saw the end of: unknown, then settled by the evidence or void, and always flagged."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
import time_machine
from hostile import HostileUpstream, stream
from ledger_world import World, world_in
from people import Key, Person, TestBridge, wait_for

from modelbridge import clock
from modelbridge.errors import BridgeError, CutByRevocation, UpstreamError
from modelbridge.gateway import recovery
from modelbridge.gateway.charge import finish_of
from modelbridge.gateway.flights import ClientLeft
from modelbridge.gateway.relay import Passthrough
from modelbridge.ledger import holds
from modelbridge.money import Usage
from modelbridge.store.tables import Attempt, Call, DailyUsage, Hold

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world whose unknown holds wait for 60 seconds."""
    with world_in(tmp_path, MODELBRIDGE_HOLD_GRACE_SECONDS="60") as world:
        yield world
        assert world.problems() == []


def only(world: World) -> Hold:
    (hold,) = world.rows(Hold)
    assert isinstance(hold, Hold)
    return hold


def test_a_dead_process_leaves_unknown_holds_that_still_hold_their_money(world: World) -> None:
    world.admit(world.key(), 10)
    world.crash()
    hold = only(world)
    assert (hold.state, hold.flagged, hold.charged_nanos) == ("unknown", True, None)
    assert world.account.held_nanos == 10 * world.TOKEN


def test_after_its_grace_a_call_without_a_sign_of_an_answer_is_void(world: World) -> None:
    with time_machine.travel(NOON, tick=False) as now:
        world.admit(world.key(), 10)
        world.crash()
        now.shift(timedelta(seconds=59))
        assert world.sweep() == 0
        assert only(world).state == "unknown"
        now.shift(timedelta(seconds=1))
        assert world.sweep() == 1
    hold = only(world)
    assert (hold.state, hold.flagged, hold.charged_nanos) == ("void", True, None)
    assert world.account.held_nanos == 0
    (call,) = world.rows(Call)  # the dead process had written none
    assert (call.id, call.error_code, call.cost_nanos) == (hold.call_id, "process_died", None)
    assert call.usage_source == "none"


@pytest.mark.parametrize(
    ("usage", "output_bytes", "tokens"),
    [(None, 39, 10), (Usage(output=7), 4, 7), (Usage(output=7), 40, 10), (None, 0, 0)],
)
def test_after_its_grace_a_call_is_charged_by_what_was_reported_or_a_quarter_of_its_bytes(
    world: World, usage: Usage | None, output_bytes: int, tokens: int
) -> None:
    with time_machine.travel(NOON, tick=False) as now:
        charge = world.admit(world.key(), 100)
        charge.keep_evidence(usage, output_bytes)
        world.crash()
        now.shift(timedelta(seconds=60))
        world.sweep()
    hold = only(world)
    assert (hold.state, hold.flagged) == ("posted", True)
    assert hold.charged_nanos == tokens * world.TOKEN
    (call,) = world.rows(Call)
    assert (call.usage_source, call.cost_nanos) == ("estimated", tokens * world.TOKEN)
    assert call.output_tokens == tokens
    assert call.input_tokens == -(-charge.input_bytes // 4)
    (day,) = world.rows(DailyUsage)
    assert (day.calls, day.errors, day.cost_nanos) == (1, 1, tokens * world.TOKEN)


def test_evidence_above_the_hold_charges_the_hold(world: World) -> None:
    charge = world.admit(world.key(), 5)
    charge.keep_evidence(None, 4_000)
    world.crash()
    with time_machine.travel(clock.now() + timedelta(minutes=2)):
        world.sweep()
    assert only(world).charged_nanos == 5 * world.TOKEN


def test_a_live_processes_holds_are_never_taken_away_however_late_it_gets(world: World) -> None:
    with time_machine.travel(NOON, tick=False) as now:
        charge = world.admit(world.key(), 10)
        for days in (1, 400, -800):
            now.shift(timedelta(days=days))
            recovery.recover(world.gateway)
            assert world.sweep() == 0
        assert only(world).state == "held"
        charge.settle(world.usage(3), "reported")
    hold = only(world)
    assert (hold.state, hold.flagged, hold.charged_nanos) == ("posted", False, 3 * world.TOKEN)


def test_a_clock_that_was_set_back_does_not_keep_money_for_ever(world: World) -> None:
    with time_machine.travel(NOON, tick=False) as now:
        world.admit(world.key(), 10)
        world.crash()
        now.shift(-timedelta(days=40))
        assert world.sweep() == 1
    assert only(world).state == "void"


def test_a_forgotten_call_keeps_its_row_and_gets_its_cost_there_later(world: World) -> None:
    charge = world.admit(world.key(), 100)
    charge.upstream_status = 200
    error = UpstreamError("cut", may_have_billed=True)
    charge.forget_outcome(error, None, 80)
    (call,) = world.rows(Call)
    assert (call.status, call.error_code, call.cost_nanos) == (502, "upstream_error", None)
    with time_machine.travel(clock.now() + timedelta(minutes=2)):
        world.sweep()
    (call,) = world.rows(Call)
    assert (call.status, call.usage_source) == (502, "estimated")
    assert call.cost_nanos == 20 * world.TOKEN
    assert sum(day.calls for day in world.rows(DailyUsage)) == 1


@pytest.mark.parametrize(
    "broken",
    [
        "UPDATE holds SET evidence = 'nonsense' WHERE id = ?",
        """UPDATE holds SET evidence = '{"answered": true}' WHERE id = ?""",
        """UPDATE holds SET evidence = '{"answered": true, "input_bytes": 1, "output_bytes": 1,
           "usage": {"of a later version": 1}}' WHERE id = ?""",
        "UPDATE holds SET evidence = '[1]' WHERE id = ?",
    ],
)
def test_evidence_that_cannot_be_read_is_none_and_keeps_no_other_hold_waiting(
    world: World, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = (world.admit(world.key(), 100) for _ in range(2))
    second.keep_evidence(None, 40)
    world.crash()
    world.sql(broken, (first.hold_id,))
    with time_machine.travel(clock.now() + timedelta(minutes=2)):
        assert world.sweep() == 2
    assert {hold.id: hold.state for hold in world.rows(Hold)} == {
        first.hold_id: "void",
        second.hold_id: "posted",
    }
    assert first.hold_id in caplog.text
    assert world.account.held_nanos == 0


def test_a_hold_that_was_resolved_meanwhile_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tokens in (0, 40):
        charge = world.admit(world.key(), 100)
        if tokens:
            charge.keep_evidence(None, tokens * 4)
    world.crash()
    reckon = recovery._reckon

    def late(session: object, hold: Hold) -> object:
        verdict = reckon(session, hold)  # type: ignore[arg-type]
        world.database.submit(lambda cursor: holds.void(cursor, hold.id))
        return verdict

    monkeypatch.setattr(recovery, "_reckon", late)
    with time_machine.travel(clock.now() + timedelta(minutes=2)):
        assert world.sweep() == 2
    assert {hold.state for hold in world.rows(Hold)} == {"void"}
    assert world.rows(Call) == []  # whoever was first has written them


@pytest.mark.parametrize(
    ("error", "sent", "status", "state"),
    [
        (UpstreamError("refused", refused=True), True, 503, "void"),
        (UpstreamError("cut", may_have_billed=True), True, 200, "unknown"),
        (UpstreamError("silent", may_have_billed=True), True, None, "unknown"),
        (ClientLeft("gone"), True, 200, "posted"),
        (ClientLeft("gone"), False, None, "void"),
        (CutByRevocation("revoked"), True, None, "posted"),
        (CutByRevocation("revoked"), False, None, "void"),
        (BridgeError("no such thing"), False, None, "void"),
        (KeyError("ours"), True, 200, "unknown"),
        (KeyError("ours"), True, None, "unknown"),
        (KeyError("ours"), False, None, "void"),
    ],
)
def test_whoever_drops_a_charge_gives_back_what_cannot_be_owed(
    world: World, error: Exception, sent: bool, status: int | None, state: str
) -> None:
    charge = world.admit(world.key(), 10)
    charge.sent, charge.upstream_status = sent, status
    assert charge.abandon(type(error), error, None) is False
    assert only(world).state == state
    charge.abandon(type(error), error, None)
    charge.abandon(None, None, None)
    assert only(world).state == state
    (call,) = world.rows(Call)
    known = error if isinstance(error, BridgeError) else None
    assert call.finish == (finish_of(known) if state == "posted" else "failed")
    with time_machine.travel(clock.now() + timedelta(minutes=2)):
        world.sweep()
    assert world.account.held_nanos == 0


def test_every_attempt_has_its_row_and_its_end(world: World) -> None:
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
    charge.upstream_status = 503
    charge.next_attempt("refused")
    charge.upstream_status = 200
    charge.settle(world.usage(1), "reported")
    first, second = sorted(world.rows(Attempt), key=lambda attempt: attempt.number)
    assert (first.upstream_model, first.status, first.outcome) == ("first", 503, "refused")
    assert (second.upstream_model, second.status, second.outcome) == ("second", 200, "answered")
    (call,) = world.rows(Call)
    assert call.upstream_model == "second"


# In a bridge that runs


def test_a_fault_of_our_own_in_a_stream_costs_what_came_and_holds_nothing(
    bridge: TestBridge,
    alice: Person,
    key: Key,
    upstream: HostileUpstream,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    frame, seen = Passthrough.frame, [0]

    def stumble(self: Passthrough, one: object) -> bytes:
        seen[0] += 1
        if seen[0] > 4:
            raise KeyError("ours")
        return frame(self, one)  # type: ignore[arg-type]

    monkeypatch.setattr(Passthrough, "frame", stumble)
    upstream.will(stream(20, 0.01, prompt_tokens=100))
    with key.stream() as answer, pytest.raises(requests.exceptions.ChunkedEncodingError):
        answer.content  # noqa: B018  reading it is what fails
    wait_for(lambda: alice.account.held_nanos == 0)
    (call,) = bridge.calls()
    assert call.cost_nanos is not None
    assert call.cost_nanos > 0
    assert bridge.rows(Hold)[0].flagged


def test_a_sweep_that_stumbles_is_followed_by_another(
    bridge: TestBridge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sweep, times = recovery.sweep, [0]

    def stumble(gateway: object) -> int:
        times[0] += 1
        if times[0] == 1:
            raise KeyError("ours")
        return sweep(gateway)  # type: ignore[arg-type]

    with caplog.at_level(logging.ERROR):
        monkeypatch.setattr(recovery, "sweep", stumble)
        wait_for(lambda: times[0] >= 2)
    assert "the sweep stumbled" in caplog.text
