"""What the books must be, kept by other means: plain sums over everything that ever happened.

Nothing of the product is used here. A window is reckoned from calendar dates, spending by adding
up calls, held money by adding up what is open.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Australia/Sydney")
LEAST_TOKENS = 16


@dataclass(frozen=True)
class Refused:
    """An admission that must be refused, with the code of the refusal."""

    code: str


@dataclass
class Hold:
    """A call. `evidence`: whether the upstream answered, and how many bytes came."""

    key: str
    account: str
    tokens: int
    admitted_at: datetime
    state: str = "held"
    charged_tokens: int | None = None
    shortfall_tokens: int = 0
    flagged: bool = False
    unknown_since: datetime | None = None
    evidence: tuple[bool, int] | None = None

    @property
    def open(self) -> bool:
        return self.state in ("held", "unknown")


@dataclass
class Account:
    balance: int
    holds: list[Hold]
    token: int
    limit: int | None = None
    window: str = "none"

    @property
    def held(self) -> int:
        return sum(hold.tokens * self.token for hold in self.holds if hold.open)

    @property
    def available(self) -> int:
        return self.balance - self.held


@dataclass
class Key:
    account: str
    limit: int | None = None
    window: str = "none"
    revoked: bool = False


@dataclass
class Model:
    """Everything that happened."""

    token: int
    grace_seconds: int
    accounts: dict[str, Account] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    references: dict[str, tuple[str, int]] = field(default_factory=dict)
    refunded: Counter[str] = field(default_factory=Counter)
    repeats: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    unsettled: list[Callable[[], Any]] = field(default_factory=list)

    def open_account(self, account: str, balance: int) -> None:
        self.accounts[account] = Account(balance, [], self.token)

    def open_key(self, key: str, account: str) -> None:
        self.keys[key] = Key(account)

    # Admission

    def would_admit(
        self, key: str, tokens: int, idempotency: tuple[str, str] | None, now: datetime
    ) -> str | Refused:
        """`admitted`, or the refusal."""
        if self.keys[key].revoked:
            return Refused("api_key_revoked")
        if refused := self._repetition(key, idempotency):
            return refused
        needed = tokens * self.token
        purses = list(self._purses(key, now))
        if needed <= min(left for _, left, _ in purses):
            return "admitted"
        name, _, freed = min(purses, key=lambda purse: purse[2])
        if needed <= freed:
            return Refused("budget_in_flight")
        if freed // self.token >= min(LEAST_TOKENS, tokens):
            return Refused("max_tokens_unaffordable")
        return Refused("insufficient_balance" if name == "balance" else "spending_limit_exceeded")

    def _purses(self, key: str, now: datetime) -> Any:
        """(name, left, left if nothing were held) of everything that a call must fit into."""
        mine = self.keys[key]
        account = self.accounts[mine.account]
        yield "balance", account.available, account.balance
        for name, owner, of in (("key", mine, key), ("account", account, mine.account)):
            if owner.limit is not None:
                spent, held = self.spending(of, owner.window, now)
                yield name, owner.limit - spent - held, owner.limit - spent

    def _repetition(self, key: str, idempotency: tuple[str, str] | None) -> Refused | None:
        earlier = self.repeats.get((key, idempotency[0])) if idempotency else None
        if idempotency is None or earlier is None:
            return None
        hold_id, body = earlier
        state = self.holds[hold_id].state
        if state == "void" and not self.holds[hold_id].flagged:
            return None
        if body != idempotency[1]:
            return Refused("idempotency_mismatch")
        is_over = state in ("posted", "void")
        return Refused("idempotency_done" if is_over else "idempotency_in_flight")

    def admit(
        self,
        hold_id: str,
        key: str,
        tokens: int,
        idempotency: tuple[str, str] | None,
        now: datetime,
    ) -> None:
        account = self.keys[key].account
        hold = self.holds[hold_id] = Hold(key, account, tokens, now)
        self.accounts[account].holds.append(hold)
        if idempotency:
            self.repeats[key, idempotency[0]] = (hold_id, idempotency[1])

    # Resolution: once

    def settle(self, hold_id: str, used: int, *, flag: bool = False) -> None:
        hold = self.holds[hold_id]
        if hold.open:
            hold.state, hold.charged_tokens = "posted", min(used, hold.tokens)
            hold.shortfall_tokens = max(0, used - hold.tokens)
            hold.flagged = hold.flagged or flag
            self.accounts[hold.account].balance -= hold.charged_tokens * self.token

    def void(self, hold_id: str, *, flag: bool = False) -> None:
        hold = self.holds[hold_id]
        if hold.open:
            hold.state, hold.flagged = "void", hold.flagged or flag

    def forget(self, hold_id: str, answered: bool, output_bytes: int, now: datetime) -> None:
        hold = self.holds[hold_id]
        if hold.state == "held":
            hold.state, hold.flagged, hold.unknown_since = "unknown", True, now
            hold.evidence = (answered, output_bytes)

    def keep_evidence(self, hold_id: str, output_bytes: int) -> None:
        hold = self.holds[hold_id]
        if hold.state == "held":
            hold.evidence = (True, output_bytes)

    def crash(self, now: datetime) -> None:
        """Whoever was under way is unknown."""
        self.unsettled.clear()
        for hold in self.holds.values():
            if hold.state == "held":
                hold.state, hold.flagged, hold.unknown_since = "unknown", True, now

    def sweep(self, now: datetime) -> None:
        """What was refused is done, and what is unknown for long enough is resolved."""
        for again in self.unsettled:
            again()
        self.unsettled.clear()
        for hold_id, hold in self.holds.items():
            since = hold.unknown_since
            if hold.state == "unknown" and since is not None:
                over = since <= now - timedelta(seconds=self.grace_seconds) or since > now
                if over and hold.evidence and hold.evidence[0]:
                    self.settle(hold_id, (hold.evidence[1] + 3) // 4, flag=True)
                elif over:
                    self.void(hold_id, flag=True)

    # Money that people move

    def may_top_up(self, account: str, amount: int, reference: str | None) -> bool:
        earlier = self.references.get(reference) if reference else None
        return earlier in (None, (account, amount))

    def top_up(self, account: str, amount: int, reference: str | None) -> None:
        if reference is not None and reference in self.references:
            return
        self.accounts[account].balance += amount
        if reference is not None:
            self.references[reference] = (account, amount)

    def set_limit(self, whose: str, key: str, limit: int | None, window: str) -> None:
        owner = self.keys[key] if whose == "key" else self.accounts[self.keys[key].account]
        owner.limit, owner.window = limit, window

    # What the books must say

    def books(self) -> dict[str, Any]:
        return {
            "accounts": {name: (one.balance, one.held) for name, one in self.accounts.items()},
            "holds": {
                name: (
                    one.state,
                    None if one.charged_tokens is None else one.charged_tokens * self.token,
                    one.flagged,
                )
                for name, one in self.holds.items()
            },
            "shortfalls": {
                name: one.shortfall_tokens * self.token
                for name, one in self.holds.items()
                if one.shortfall_tokens
            },
        }

    def windows(self) -> list[tuple[str, str]]:
        """Every key and account with the kind of its limit's window."""
        keys = [(name, key.window) for name, key in self.keys.items()]
        return keys + [(name, account.window) for name, account in self.accounts.items()]

    def spending(self, owner: str, window: str, now: datetime) -> tuple[int, int]:
        """(spent, held) of a key or an account in the window that holds `now`."""
        this = _window(window, now)
        mine = [
            hold
            for hold in self.holds.values()
            if owner in (hold.key, hold.account) and _window(window, hold.admitted_at) == this
        ]
        spent = sum(hold.charged_tokens or 0 for hold in mine)
        held = sum(hold.tokens for hold in mine if hold.open)
        return spent * self.token, held * self.token


@lru_cache(maxsize=4_096)
def _window(window: str, at: datetime) -> tuple[int, ...]:
    """What moments of one window have in common."""
    day = at.astimezone(UTC).astimezone(ZONE)
    match window:
        case "day":
            return day.year, day.month, day.day
        case "week":
            return day.isocalendar()[:2]
        case "month":
            return day.year, day.month
    return ()
