"""Holds: money reserved for one call, committed before the first byte goes upstream.

Every function here is a unit of the writer: it runs on a cursor inside one transaction, changes
all or nothing, and never commits. Checks and changes are one statement; what is read beforehand
only sizes the hold and words the refusal.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from modelbridge import clock, ids, jsonio
from modelbridge.errors import (
    ApiKeyRevoked,
    BudgetInFlight,
    IdempotencyDone,
    IdempotencyInFlight,
    IdempotencyMismatch,
    refuse_dead_key,
)
from modelbridge.ledger import sql
from modelbridge.ledger.windows import window_end, window_start
from modelbridge.money import MAX_NANOS, format_amount
from modelbridge.store.statements import Cursor, Statement


@dataclass(frozen=True, slots=True)
class Purse:
    """One source of money that a call must fit into. Amounts in nano-AUD.

    `name`: `key_limit`, `account_limit` or `balance`. `left` counts what others hold as gone,
    `left_if_freed` does not. `resets_at`: when the limit's window ends, if it has one.
    """

    name: str
    left: int
    left_if_freed: int
    limit: int | None = None
    resets_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Funds:
    """What a call may spend: the narrowest purse, now and if nothing else were held."""

    purses: tuple[Purse, ...]
    account_kind: str

    @property
    def unheld(self) -> int:
        """Most that a hold can be now."""
        return min(purse.left for purse in self.purses)

    @property
    def if_freed(self) -> int:
        """Most that a hold could be if all other holds were void."""
        return min(purse.left_if_freed for purse in self.purses)

    @property
    def narrowest(self) -> Purse:
        """The purse that binds even if nothing else is held."""
        return min(self.purses, key=lambda purse: purse.left_if_freed)


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """What a hold is for. `size` gets the funds and returns nano-AUD, or raises the refusal.

    `idempotency`: the client's Idempotency-Key and the SHA-256 of its body, if it sent one.
    """

    hold_id: str
    call_id: str
    key_id: str
    owner: str
    endpoint: str
    model: str
    stream: bool
    fx_version: int
    size: Callable[[Funds], int]
    evidence: str | None = None
    idempotency: tuple[str, str] | None = None


def place(cursor: Cursor, request: HoldRequest) -> int:
    """The hold stands and its money is reserved; returns its amount in nano-AUD.

    Raises ApiKeyRevoked, ApiKeyExpired, BudgetInFlight, the Idempotency errors, and whatever
    `request.size` raises.
    """
    now = clock.now()
    now_micros = clock.to_micros(now)
    payer = live_payer(cursor, request.key_id, now_micros)
    if request.idempotency:
        _refuse_repetition(cursor, request.key_id, *request.idempotency)
    key_window, account_window = windows = _windows(request.key_id, payer, now)
    amount = request.size(funds(cursor, payer, windows))
    if not 0 <= amount <= MAX_NANOS:
        raise ValueError(f"a hold of {amount} nano-AUD is out of range")
    _reserve(cursor, key_window, account_window, amount, now_micros)
    sql.INSERT_HOLD.run(
        cursor,
        id=request.hold_id,
        call_id=request.call_id,
        account_id=payer.account_id,
        key_id=request.key_id,
        user_id=payer.user_id,
        endpoint=request.endpoint,
        model=request.model,
        stream=request.stream,
        owner=request.owner,
        amount_nanos=amount,
        key_window_start=key_window.start,
        account_window_start=account_window.start,
        fx_version=request.fx_version,
        admitted_at=now_micros,
        evidence=request.evidence,
    )
    if request.idempotency:
        _remember(cursor, request, *request.idempotency, now_micros)
    return amount


def live_payer(cursor: Cursor, key_id: str, now_micros: int) -> sql.Payer:
    """The key and who pays for it. Raises ApiKeyRevoked or ApiKeyExpired for a dead one."""
    row = sql.PAYER.row(cursor, key_id=key_id)
    if row is None:
        raise ApiKeyRevoked("This API key has been revoked.")
    payer = sql.Payer(*row)
    refuse_dead_key(
        payer.revoked_at, payer.expires_at, payer.disabled_at, bool(payer.left_team), now_micros
    )
    return payer


def funds(cursor: Cursor, payer: sql.Payer, windows: Iterable["_Window"]) -> Funds:
    """What a call may spend now. A limit's window has its row afterwards."""
    purses = [Purse("balance", payer.balance - payer.held, payer.balance)]
    for window in windows:
        if window.limit is not None:
            purses.append(window.purse(cursor, window.limit))
    return Funds(tuple(purses), payer.account_kind)


@dataclass(frozen=True, slots=True)
class _Window:
    """The window at `now` of a key's or an account's spending, limited or not."""

    name: str
    subject_id: str
    limit: int | None
    kind: str
    time_zone: str
    now: datetime
    start: int
    usage: Statement

    def purse(self, cursor: Cursor, limit: int) -> Purse:
        """What the limit leaves."""
        row = sql.SPENDING.row(cursor, subject_id=self.subject_id, start=self.start)
        spent, held = row or (self.open(cursor), 0)
        resets_at = window_end(self.kind, self.time_zone, self.now)
        return Purse(self.name, limit - spent - held, limit - spent, limit, resets_at)

    def open(self, cursor: Cursor) -> int:
        """The window has its row; returns what was spent in it, in nano-AUD.

        That is nothing, unless the clock was set back, or the window changed, between two calls
        in it.
        """
        end = window_end(self.kind, self.time_zone, self.now)
        until = clock.to_micros(end) if end else MAX_NANOS
        where = {"subject_id": self.subject_id, "start": self.start}
        (spent,) = self.usage.row(cursor, end=until, **where) or (0,)
        sql.OPEN_WINDOW.run(cursor, spent=spent, **where)
        return int(spent)

    def reserve(self, cursor: Cursor, statement: Statement, **values: int | str) -> None:
        """The amount is held in it. Raises BudgetInFlight."""
        values["start"] = self.start
        if statement.run(cursor, **values):
            return
        if sql.SPENDING.row(cursor, subject_id=self.subject_id, start=self.start) is None:
            self.open(cursor)
            if statement.run(cursor, **values):
                return
        raise _taken()


def _windows(key_id: str, payer: sql.Payer, now: datetime) -> tuple[_Window, _Window]:
    """The key's and the account's."""
    zone, kinds = payer.time_zone, (payer.key_window, payer.account_window)
    key_start, account_start = (window_start(kind, zone, now) for kind in kinds)
    return (
        _Window(
            "key_limit", key_id, payer.key_limit, kinds[0], zone, now, key_start, sql.USAGE_OF_KEY
        ),
        _Window(
            "account_limit",
            payer.account_id,
            payer.account_limit,
            kinds[1],
            zone,
            now,
            account_start,
            sql.USAGE_OF_ACCOUNT,
        ),
    )


def settle(cursor: Cursor, hold_id: str, cost_nanos: int, *, flag: bool = False) -> int | None:
    """The hold is posted and the rest is free; returns the charge in nano-AUD.

    Never charges above the hold: the rest is the operator's shortfall. None: the hold had been
    resolved before, and nothing changed.
    """
    now_micros = clock.now_micros()
    most = min(cost_nanos, MAX_NANOS)
    resolved = _resolve(cursor, hold_id, "posted", most, now_micros, flag)
    if resolved is None:
        return None
    hold, balance = resolved
    charged = hold.charged or 0
    sql.INSERT_USAGE.run(
        cursor,
        id=ids.new_id("txn"),
        account_id=hold.account_id,
        amount_nanos=-charged,
        balance_after_nanos=balance,
        created_at=now_micros,
        hold_id=hold_id,
        key_id=hold.key_id,
        admitted_at=hold.admitted_at,
    )
    if cost_nanos > charged:
        sql.INSERT_SHORTFALL.run(
            cursor,
            id=ids.new_id("short"),
            hold_id=hold_id,
            amount_nanos=min(cost_nanos - charged, MAX_NANOS),
            created_at=now_micros,
        )
    return charged


def void(cursor: Cursor, hold_id: str, *, flag: bool = False) -> bool:
    """The hold is void and its money free. False: it had been resolved before."""
    return _resolve(cursor, hold_id, "void", None, clock.now_micros(), flag) is not None


def forget_outcome(cursor: Cursor, hold_id: str, evidence: dict[str, object]) -> bool:
    """The hold is unknown: still held, flagged, to be resolved from the evidence later."""
    return bool(
        sql.FORGET_OUTCOME.run(
            cursor,
            hold_id=hold_id,
            new_evidence=jsonio.dumps(evidence).decode(),
            now=clock.now_micros(),
        )
    )


def keep_evidence(cursor: Cursor, hold_id: str, evidence: dict[str, object]) -> None:
    """What is known of the call so far is on the disk, for the case that this process dies."""
    sql.KEEP_EVIDENCE.run(cursor, hold_id=hold_id, new_evidence=jsonio.dumps(evidence).decode())


def forget_dead(cursor: Cursor, boot_id: str) -> int:
    """Every hold of a process that is no more is unknown; returns how many."""
    return sql.FORGET_DEAD.run(cursor, boot_id=boot_id, now=clock.now_micros())


def _reserve(
    cursor: Cursor, key_window: _Window, account_window: _Window, amount: int, now_micros: int
) -> None:
    """Three conditional updates; each must change its row or nothing stands."""
    account_id, key_id = account_window.subject_id, key_window.subject_id
    if not sql.RESERVE_ACCOUNT.run(cursor, account_id=account_id, amount=amount):
        raise _taken()
    key_window.reserve(cursor, sql.RESERVE_KEY, key_id=key_id, amount=amount, now=now_micros)
    account_window.reserve(cursor, sql.RESERVE_ACCOUNT_WINDOW, account_id=account_id, amount=amount)


def _taken() -> BudgetInFlight:
    return BudgetInFlight("Other calls took the money first. Try again.", retry_after=1)


def _resolve(
    cursor: Cursor, hold_id: str, state: str, cost: int | None, now_micros: int, flag: bool
) -> tuple[sql.ResolvedHold, int] | None:
    """The hold as it is now, and the account's balance in nano-AUD; None: resolved before."""
    row = sql.RESOLVE_HOLD.row(
        cursor, hold_id=hold_id, new_state=state, cost=cost, now=now_micros, flag=flag
    )
    if row is None:
        if sql.HAS_HOLD.row(cursor, hold_id=hold_id) is None:
            raise LookupError(f"no hold {hold_id}")
        return None
    hold = sql.ResolvedHold(*row)
    return hold, _free(cursor, hold)


def _free(cursor: Cursor, hold: sql.ResolvedHold) -> int:
    """What the hold held is free, less its charge; returns the account's balance in nano-AUD."""
    taken = hold.charged or 0
    (balance,) = sql.CHARGE_ACCOUNT.row(
        cursor, account_id=hold.account_id, amount=hold.amount, charged=taken
    ) or (0,)
    for subject_id, start in (
        (hold.key_id, hold.key_start),
        (hold.account_id, hold.account_start),
    ):
        sql.CHARGE_WINDOW.run(
            cursor, subject_id=subject_id, start=start, amount=hold.amount, charged=taken
        )
    return int(balance)


def _refuse_repetition(cursor: Cursor, key_id: str, name: str, body_sha256: str) -> None:
    row = sql.EARLIER_CALL.row(cursor, key_id=key_id, name=name)
    if row is None:
        return
    earlier_sha256, _, state, call_id, charged, flagged = row
    if state == "void" and not flagged:
        return
    if earlier_sha256 != body_sha256:
        raise IdempotencyMismatch(
            "This Idempotency-Key came with another body before. Use a new one for a new call."
        )
    if state == "posted":
        raise IdempotencyDone(
            f"The call with this Idempotency-Key is done: receipt {call_id}, "
            f"cost AUD {format_amount(charged)}. Replies are not stored."
        )
    if state == "void":
        raise IdempotencyDone(
            f"The call with this Idempotency-Key was lost on the way: receipt {call_id}, cost "
            "AUD 0. The provider may have answered it all the same. Use a new key to make it again."
        )
    raise IdempotencyInFlight(
        f"The call with this Idempotency-Key ({call_id}) is not resolved yet."
    )


def _remember(
    cursor: Cursor, request: HoldRequest, name: str, body_sha256: str, now_micros: int
) -> None:
    reused = sql.REUSE_CALL.run(
        cursor,
        of_key=request.key_id,
        name=name,
        new_sha256=body_sha256,
        new_hold=request.hold_id,
        now=now_micros,
    )
    if not reused:
        sql.REMEMBER_CALL.run(
            cursor,
            key_id=request.key_id,
            value=name,
            body_sha256=body_sha256,
            hold_id=request.hold_id,
            created_at=now_micros,
        )
