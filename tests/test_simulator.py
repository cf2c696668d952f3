"""Random lives of the ledger, each the same for its seed; and bugs that they are there to find."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from simulation import ACTIONS, Violation
from simulator import Simulator, a_simulator
from sqlalchemy import bindparam, select, update

from modelbridge import clock
from modelbridge.gateway import admission, charge, recovery
from modelbridge.gateway.admission import Quote
from modelbridge.gateway.call import Call
from modelbridge.gateway.charge import Charge
from modelbridge.gateway.services import Gateway
from modelbridge.ledger import holds, sql
from modelbridge.ledger.windows import window_start
from modelbridge.store.statements import Cursor, Statement
from modelbridge.store.tables import Account, Hold, Spending, table

RUNS, PARTS = 2_000, 8
Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with a_simulator() as simulator:
        yield simulator


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_life_of_the_ledger_breaks_a_rule_of_the_books(simulator: Simulator, part: int) -> None:
    counts = simulator.play(range(part, RUNS, PARTS))
    happened = counts.keys()
    assert {action.__name__ for action in ACTIONS} <= happened
    for refusal in (
        "api_key_revoked",
        "budget_in_flight",
        "idempotency_done",
        "idempotency_in_flight",
        "idempotency_mismatch",
        "max_tokens_unaffordable",
        "spending_limit_exceeded",
    ):
        assert f"refused: {refusal}" in happened
    assert counts["died"] > 100
    assert counts["admitted"] > 1_000


def test_the_same_seed_is_the_same_life(simulator: Simulator) -> None:
    for seed in range(20):
        assert simulator.run(seed) == simulator.run(seed)
    assert simulator.run(7) != simulator.run(8)


# Planted bugs


def settles_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold is posted without a look at its state."""
    resolve = update(table(Hold)).where(table(Hold).c.id == bindparam("hold_id"))
    resolve = resolve.values(
        state=bindparam("new_state"),
        charged_nanos=bindparam("charged"),
        resolved_at=bindparam("now"),
        flagged=bindparam("flag"),
    )
    monkeypatch.setattr(sql, "RESOLVE_HOLD", Statement(resolve))


def voids_what_is_posted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, but the usage that is written twice is not noticed by the database."""
    settles_twice(monkeypatch)
    monkeypatch.setattr(sql, "INSERT_USAGE", Statement(select(bindparam("id", "").label("x"))))
    monkeypatch.setattr(Statement, "_arguments", lambda self, values: _lenient(self, values))


def _lenient(statement: Statement, values: dict[str, Any]) -> list[Any]:
    return [values.get(name, statement._defaults.get(name)) for name in statement._names]


def does_not_clamp(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reported is charged, whatever was held."""
    for module in (holds, charge):
        monkeypatch.setattr(module, "min", _first_of_two, raising=False)


def _first_of_two(*values: Any, **more: Any) -> Any:
    return values[0] if len(values) == 2 else min(*values, **more)


def forgets_to_void(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that cost nothing keeps its money."""
    monkeypatch.setattr(holds, "void", lambda cursor, hold_id, flag=False: True)


def reads_then_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The money is looked at, then somebody else may come, then it is taken."""
    place = admission._place
    for name, entity, key in (
        ("RESERVE_ACCOUNT", Account, "account_id"),
        ("RESERVE_ACCOUNT_WINDOW", Spending, "account_id"),
        ("RESERVE_KEY", Spending, "key_id"),
    ):
        rows = table(entity)
        where = [(rows.c.id if entity is Account else rows.c.subject_id) == bindparam(key)]
        if entity is Spending:
            where.append(rows.c.window_start == bindparam("start"))
        taken = update(rows).where(*where)
        careless = Statement(taken.values(held_nanos=rows.c.held_nanos + bindparam("amount")))
        monkeypatch.setattr(sql, name, careless)
    monkeypatch.setattr(
        Statement,
        "_arguments",
        lambda self, values: [values.get(name, self._defaults.get(name)) for name in self._names],
    )

    def careless_place(gateway: Gateway, call: Call, quote: Quote) -> Charge:
        now = clock.now()
        cursor = gateway.database._connection.cursor()
        payer = holds.live_payer(cursor, call.caller.key_id, clock.to_micros(now))
        windows = holds._windows(call.caller.key_id, payer, now)
        seen = holds.funds(cursor, payer, windows)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(holds, "funds", lambda *_: seen)
            return place(gateway, call, quote)

    monkeypatch.setattr(admission, "_place", careless_place)


def expires_what_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold of this very process becomes unknown because the clock says so."""
    sweep = recovery.sweep

    def eager(gateway: Gateway) -> int:
        late = clock.now_micros() - 60_000_000
        gateway.database._connection.execute(
            "UPDATE holds SET state = 'unknown', unknown_since = ?, flagged = 1 "
            "WHERE state = 'held' AND admitted_at < ?",
            (late, late),
        )
        return sweep(gateway)

    monkeypatch.setattr(recovery, "sweep", eager)


def voids_what_crashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash nobody looks at the evidence."""
    monkeypatch.setattr(recovery, "_usage_from", lambda evidence: None)


def spends_in_the_present_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spending counts when it is settled, not when it was admitted."""
    free = holds._free

    def late(cursor: Cursor, hold: sql.ResolvedHold) -> int:
        payer = sql.Payer(*(sql.PAYER.row(cursor, key_id=hold.key_id) or ()))
        start = window_start(payer.key_window, payer.time_zone, clock.now())
        row = sql.SPENDING.row(cursor, subject_id=hold.key_id, start=start)
        return free(cursor, hold._replace(key_start=start) if row else hold)

    monkeypatch.setattr(holds, "_free", late)


@pytest.mark.parametrize(
    "plant",
    [
        settles_twice,
        voids_what_is_posted,
        does_not_clamp,
        forgets_to_void,
        reads_then_writes,
        expires_what_lives,
        voids_what_crashed,
        spends_in_the_present_window,
    ],
)
def test_a_planted_bug_is_found(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, plant: Plant
) -> None:
    plant(monkeypatch)
    assert any(violates(simulator, seed) for seed in range(100))


def violates(simulator: Simulator, seed: int) -> bool:
    try:
        simulator.run(seed)
    except Violation:
        return True
    return False
