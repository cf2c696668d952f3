"""One life of the ledger: random steps on real books, and what must hold after each of them.

`simulator` plays them. A life has accounts and keys of its own (its `Place`), so several can follow
one another in one file. Wherever a unit is about to be committed another caller may come in
between, the database may refuse, or the process may die, before the commit or just after it.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

from books_look import BooksLook
from books_model import Model, Refused
from ledger_world import World

from modelbridge.errors import BridgeError, Overloaded
from modelbridge.gateway.charge import Charge
from modelbridge.identity import keys
from modelbridge.ledger import postings
from modelbridge.store.tables import ApiKey

STEPS = 30
BALANCE = 250  # tokens on each account at first
GRACE_SECONDS = 60


class Violation(AssertionError):
    """The books are not what they must be."""


class Died(BaseException):
    """The process was killed here; nothing of ours may catch it."""


@dataclass(frozen=True)
class Place:
    """Where a life takes place: Alice's account and her team's, with the account of each key."""

    accounts: tuple[str, str]
    keys: dict[str, str]


class Simulation:
    """One run."""

    def __init__(self, seed: int, world: World, place: Place, look: BooksLook, clock: Any) -> None:
        self.chance = random.Random(seed)
        self.world, self.look, self.clock = world, look, clock
        self.model = Model(world.TOKEN, GRACE_SECONDS)
        self.charges: dict[str, Charge] = {}
        self.counts: Counter[str] = Counter()
        self.log: list[str] = []
        self.keys = list(place.keys)
        mix = [one for one in CHANCES if one[0] in ALWAYS or self.chance.random() < 0.75]
        self._actions = [action for action, _ in mix]
        self._weights = list(accumulate(weight for _, weight in mix))
        self._references = [None, f"{seed} one", f"{seed} two"]
        self._nested = False
        self._fault: str | None = None
        self._before_commit: Callable[[], None] = lambda: None
        self._submit = world.database.submit
        world.database.submit = self._interrupted_submit  # type: ignore[method-assign]
        for account_id in place.accounts:
            self.model.open_account(account_id, BALANCE * world.TOKEN)
        for key, account_id in place.keys.items():
            self.model.open_key(key, account_id)

    def run(self) -> None:
        """All steps, and what must hold after each and at the end."""
        for _ in range(STEPS):
            self.step()
            self.compare()
        self.end()

    def step(self) -> None:
        """Something happens."""
        action = self.chance.choices(self._actions, cum_weights=self._weights)[0]
        self.log.append(action.__name__)
        self.counts[action.__name__] += 1
        if self.chance.random() < 0.12 and action in FAULTY:
            self._fault = self.chance.choice(["refused", "dies before", "dies after"])
        try:
            action(self)
        except Died:
            self.log[-1] += " (died)"
            self.counts["died"] += 1
            self.crash()
        finally:
            self._fault = None
            self._before_commit = lambda: None

    # What callers do

    def admit(self) -> None:
        """A call comes in, sometimes one that came before."""
        key, tokens = self.chance.choice(self.keys), self.chance.randint(1, 120)
        name = self.chance.choice(["a", "b", None, None, None])
        idempotency = (name, str(tokens % 2) * 64) if name else None
        expected: list[str | Refused] = []
        now: list[datetime] = []

        def decide() -> None:
            now.append(datetime.now(UTC))
            expected.append(self.model.would_admit(key, tokens, idempotency, now[0]))

        self._before_commit = decide
        try:
            charge = self.world.admit(key, tokens, idempotency)
        except Overloaded:
            self.expect(self._fault == "refused", "an overload out of nowhere")
            return
        except BridgeError as error:
            self.expect(bool(expected), f"refused without a look: {error!r}")
            refused = expected[0]
            self.expect(
                isinstance(refused, Refused) and refused.code == error.code,
                f"refused with {error.code}, expected {refused}",
            )
            self.counts[f"refused: {error.code}"] += 1
            return
        except Died:
            if self._fault == "dies after" and expected[0] == "admitted":
                self._admitted_unseen(key, tokens, idempotency, now[0])
            raise
        self.expect(expected == ["admitted"], f"admitted, expected {expected}")
        self.model.admit(charge.hold_id, key, tokens, idempotency, now[0])
        self.charges[charge.hold_id] = charge
        self.counts["admitted"] += 1

    def _admitted_unseen(
        self, key: str, tokens: int, idempotency: tuple[str, str] | None, now: datetime
    ) -> None:
        """The process died between the commit and its acknowledgement: the hold stands."""
        theirs = "SELECT id FROM holds WHERE account_id IN (?, ?)"
        found = {hold_id for (hold_id,) in self.look.rows(theirs, *self.model.accounts)}
        (hold_id,) = found - self.model.holds.keys()
        self.model.admit(hold_id, key, tokens, idempotency, now)

    def settle(self) -> None:
        """An upstream reports what a call came to, now and then twice, or more than was held."""
        charge = self.any_charge()
        if charge is None:
            return
        held = self.model.holds[charge.hold_id].tokens
        used = self.chance.choice([0, 1, held // 2, held, held, held + self.chance.randint(1, 50)])
        reported = self.chance.random() < 0.8
        self.resolve(
            charge,
            lambda: charge.settle(self.world.usage(used), "reported" if reported else "estimated"),
            lambda: self.model.settle(charge.hold_id, used, flag=not reported),
        )

    def void(self) -> None:
        """A call ended without a cost."""
        if charge := self.any_charge():
            self.resolve(charge, charge.void, lambda: self.model.void(charge.hold_id))

    def forget(self) -> None:
        """Nobody saw the end of a call."""
        charge = self.any_charge()
        if charge is None or (charge.resolved and self.model.holds[charge.hold_id].open):
            return  # what was refused is tried again: its owner is done with it
        charge.upstream_status = self.chance.choice([200, None])
        answered, output_bytes = charge.upstream_status == 200, self.chance.randint(0, 300)
        self.resolve(
            charge,
            lambda: charge.forget_outcome(None, None, output_bytes),
            lambda: self.model.forget(charge.hold_id, answered, output_bytes, datetime.now(UTC)),
        )
        self.charges.pop(charge.hold_id, None)  # whoever forgets a call is done with it

    def keep_evidence(self) -> None:
        """A stream goes on."""
        charge = self.any_charge()
        if charge is None:
            return
        output_bytes = self.chance.randint(0, 300)
        self.commits(
            lambda: charge.keep_evidence(None, output_bytes),
            lambda: self.model.keep_evidence(charge.hold_id, output_bytes),
        )

    def any_charge(self) -> Charge | None:
        """One that is in this process's memory, resolved or not."""
        if not self.charges:
            return None
        return self.charges[self.chance.choice(list(self.charges))]

    def resolve(
        self, charge: Charge, act: Callable[[], object], told: Callable[[], object]
    ) -> None:
        """Resolve a hold; a refused commit is tried again by the sweeper."""
        waiting = len(self.world.gateway.unsettled)
        if self.commits(act, told) == "refused":
            self.expect(
                len(self.world.gateway.unsettled) == waiting + 1, "a settlement was forgotten"
            )
            self.model.unsettled.append(told)
        if self.chance.random() < 0.7:
            self.charges.pop(charge.hold_id, None)

    def commits(self, act: Callable[[], object], told: Callable[[], object]) -> str:
        """Do it; the model is told if it was committed."""
        try:
            act()
        except Overloaded:
            self.expect(self._fault == "refused", "an overload out of nowhere")
            return "refused"
        except Died:
            if self._fault == "dies after":
                told()
            raise
        told()
        return "done"

    # What people and machines do

    def top_up(self) -> None:
        """Money comes in, some of it twice."""
        account = self.chance.choice(list(self.model.accounts))
        tokens, reference = self.chance.randint(1, 100), self.chance.choice(self._references)
        amount = tokens * self.world.TOKEN
        allowed = self.model.may_top_up(account, amount, reference)
        try:
            with self.world.database.transaction() as session:
                postings.top_up(session, account, amount, reference=reference)
        except ValueError:
            self.expect(not allowed, "a top-up was refused")
            return
        self.expect(allowed, "a reference paid twice")
        self.model.top_up(account, amount, reference)

    def adjust(self) -> None:
        """A correction, at most of what is available."""
        account = self.chance.choice(list(self.model.accounts))
        amount = self.chance.randint(-150, 20) * self.world.TOKEN or 1
        allowed = self.model.accounts[account].available + amount >= 0
        try:
            with self.world.database.transaction() as session:
                postings.adjust(session, account, amount)
        except ValueError:
            self.expect(not allowed, "an adjustment was refused")
            return
        self.expect(allowed, "an adjustment overdrew")
        self.model.accounts[account].balance += amount

    def refund(self) -> None:
        """Some of a charge is given back."""
        usages = self.look.rows(
            "SELECT id, account_id, -amount_nanos FROM balance_transactions WHERE kind = 'usage' "
            "AND account_id IN (?, ?) ORDER BY sequence",
            *self.model.accounts,
        )
        if not usages:
            return
        usage_id, account, charge = self.chance.choice(usages)
        amount = self.chance.randint(1, 60) * self.world.TOKEN
        allowed = self.model.refunded[usage_id] + amount <= charge
        try:
            with self.world.database.transaction() as session:
                postings.refund(session, usage_id, amount)
        except ValueError:
            self.expect(not allowed, "a refund was refused")
            return
        self.expect(allowed, "more was given back than was charged")
        self.model.refunded[usage_id] += amount
        self.model.accounts[account].balance += amount

    def change_limit(self) -> None:
        """A limit or its window is set."""
        key = self.chance.choice(self.keys)
        tokens = self.chance.choice([None, 0, 20, 100, 200, 400])
        window = self.chance.choice(["none", "day", "week", "month"])
        whose = self.chance.choice(["key", "account"])
        self.world.limit(whose, key, tokens, window)
        limit = None if tokens is None else tokens * self.world.TOKEN
        self.model.set_limit(whose, key, limit, window)

    def revoke(self) -> None:
        """A key ends, sometimes, and another takes its place."""
        if self.chance.random() > 0.3:
            return
        key = self.chance.choice(self.keys)
        with self.world.database.transaction() as session:
            keys.revoke(session, session.get_one(ApiKey, key))
        self.model.keys[key].revoked = True
        account = self.model.keys[key].account
        new = self.world.key(account)
        self.model.open_key(new, account)
        self.keys[self.keys.index(key)] = new
        self.keys.append(key)  # calls with it go on coming

    def crash(self) -> None:
        """The process dies; another looks after what it left."""
        self._fault, self._before_commit = None, lambda: None
        self.charges.clear()
        self.model.crash(datetime.now(UTC))
        self._nested = True  # the new process serves nobody yet
        try:
            self.world.crash()
        finally:
            self._nested = False
        self.counts["crashes"] += 1

    def sweep(self) -> None:
        """The sweeper's second."""
        self._nested = True
        try:
            self.world.sweep()
        finally:
            self._nested = False
        self.model.sweep(datetime.now(UTC))

    def move_clock(self) -> None:
        """Time passes, or is set to something else."""
        self.clock.shift(
            self.chance.choice(
                [
                    timedelta(seconds=self.chance.randint(1, 90)),
                    timedelta(minutes=self.chance.randint(1, 300)),
                    timedelta(days=self.chance.randint(1, 40)),
                    -timedelta(hours=1),
                    -timedelta(days=self.chance.randint(1, 40)),
                ]
            )
        )

    # Where a commit is about to happen

    def _interrupted_submit(self, unit: Callable[[Any], Any]) -> Any:
        if not self._nested and self.chance.random() < 0.25:
            self._interlude()
        self._before_commit()
        fault = None if self._nested else self._fault
        if fault == "refused":
            raise Overloaded("planted")
        if fault == "dies before":
            raise Died
        result = self._submit(unit)
        if fault == "dies after":
            raise Died
        return result

    def _interlude(self) -> None:
        """Another caller is quicker."""
        ours = self._before_commit, self._fault
        self._nested, self._before_commit, self._fault = True, lambda: None, None
        try:
            action = self.chance.choice(INTERLUDES)
            self.log.append(f"  ({action.__name__} in between)")
            action(self)
        finally:
            self._nested = False
            self._before_commit, self._fault = ours

    # What must hold

    def compare(self) -> None:
        """The books are what the model says."""
        for difference in self.look.differences(self.model, datetime.now(UTC)):
            raise self.violation(difference)

    def end(self) -> None:
        """Everything comes to an end."""
        self.crash()
        self.sweep()  # what was refused
        for later in (timedelta(days=1), timedelta(seconds=2 * GRACE_SECONDS)):
            self.clock.shift(later)
            self.sweep()
        self.compare()
        still = [hold for hold in self.model.holds.values() if hold.open]
        self.expect(not still, f"still open: {still}")

    def expect(self, holds: bool, what: str) -> None:
        """Raises Violation unless it holds."""
        if not holds:
            raise self.violation(what)

    def violation(self, what: str) -> Violation:
        """What is wrong, and how it came to it."""
        return Violation(f"{what}\nafter: {'; '.join(self.log)}")


CHANCES: list[tuple[Callable[[Simulation], None], int]] = [
    (Simulation.admit, 30),
    (Simulation.settle, 18),
    (Simulation.void, 6),
    (Simulation.forget, 5),
    (Simulation.keep_evidence, 4),
    (Simulation.top_up, 3),
    (Simulation.adjust, 2),
    (Simulation.refund, 2),
    (Simulation.change_limit, 6),
    (Simulation.revoke, 2),
    (Simulation.crash, 3),
    (Simulation.sweep, 7),
    (Simulation.move_clock, 8),
]
ACTIONS = [action for action, _ in CHANCES]
ALWAYS = [Simulation.admit, Simulation.settle]
FAULTY = [
    Simulation.admit,
    Simulation.settle,
    Simulation.void,
    Simulation.forget,
    Simulation.keep_evidence,
]
INTERLUDES = [Simulation.admit, Simulation.admit, Simulation.settle, Simulation.void]
