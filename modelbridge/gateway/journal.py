"""The journal: one row per call, which is also its receipt."""

from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, insert, or_, update

from modelbridge import clock
from modelbridge.errors import BridgeError
from modelbridge.gateway.call import Call
from modelbridge.gateway.services import Gateway
from modelbridge.money import USAGE_CLASSES, Usage
from modelbridge.store.statements import Cursor, Statement
from modelbridge.store.tables import ApiKey, DailyUsage, Hold, table
from modelbridge.store.tables import Call as CallRow

_MINUTE = 60_000_000
_QUARTER_HOUR = 900_000_000
_MOST_TOKENS = 2**40  # of one call: what an upstream makes up must not overflow a day's sum
_COUNTS = tuple((f"{name}_tokens", name) for name in USAGE_CLASSES)
_calls = table(CallRow)
_INSERT = Statement(insert(_calls).values({c.name: bindparam(c.name) for c in _calls.c}))
_RESOLVE = Statement(
    update(_calls)
    .where(_calls.c.hold_id == bindparam("of_hold"))
    .values(
        {name: bindparam(f"new_{name}") for name in ("usage_source", "price_version", "cost_nanos")}
        | {f"{name}_tokens": bindparam(f"new_{name}") for name in USAGE_CLASSES}
    )
)
_keys = table(ApiKey)
_TOUCH_KEY = Statement(
    update(_keys)
    .where(
        _keys.c.id == bindparam("of_key"),
        or_(_keys.c.last_used_at.is_(None), _keys.c.last_used_at < bindparam("now")),
    )
    .values(last_used_at=bindparam("now"))
)
_days = table(DailyUsage)
_ADD_TO_DAY = Statement(
    update(_days)
    .where(
        _days.c.day == bindparam("of_day"),
        _days.c.account_id == bindparam("of_account"),
        _days.c.key_id == bindparam("of_key"),
        _days.c.user_id == bindparam("of_user"),
        _days.c.model == bindparam("of_model"),
        _days.c.mode == bindparam("of_mode"),
    )
    .values(
        calls=_days.c.calls + bindparam("more_calls"),
        errors=_days.c.errors + bindparam("more_errors"),
        input_tokens=_days.c.input_tokens + bindparam("more_input"),
        output_tokens=_days.c.output_tokens + bindparam("more_output"),
        cost_nanos=_days.c.cost_nanos + bindparam("more_cost"),
    )
)
_OPEN_DAY = Statement(
    insert(_days).values(
        day=bindparam("of_day"),
        account_id=bindparam("of_account"),
        key_id=bindparam("of_key"),
        user_id=bindparam("of_user"),
        model=bindparam("of_model"),
        mode=bindparam("of_mode"),
        calls=bindparam("more_calls"),
        errors=bindparam("more_errors"),
        input_tokens=bindparam("more_input"),
        output_tokens=bindparam("more_output"),
        cost_nanos=bindparam("more_cost"),
    )
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a call's cost was reckoned. `source`: reported, estimated or none.

    `cost_nanos` None: nothing was charged, or nobody knows yet.
    """

    usage: Usage = Usage()
    source: str = "none"
    hold_id: str | None = None
    held_nanos: int | None = None
    price_version: str | None = None
    fx_version: int | None = None
    cost_nanos: int | None = None
    upstream_id: str | None = None
    upstream_model: str | None = None


def usage_to_json(usage: Usage) -> dict[str, int]:
    """Token counts by class, as evidence is kept."""
    return asdict(usage)


def write(
    cursor: Cursor,
    call: Call,
    receipt: Receipt,
    *,
    finish: str,
    error: BridgeError | None = None,
) -> None:
    """Insert the call's row; a unit of the writer, in the transaction that resolves its hold.

    `finish`: answered, failed, refused, client_left or revoked.
    """
    _INSERT.run(
        cursor,
        id=call.id,
        key_id=call.caller.key_id,
        account_id=call.caller.account_id,
        user_id=call.caller.user_id,
        mode="test" if call.caller.is_test else "live",
        endpoint=call.endpoint,
        model=call.model,
        stream=call.stream,
        started_at=clock.to_micros(call.started_at),
        duration_micros=call.micros_so_far(),
        first_byte_micros=call.first_byte_micros,
        status=status_of(call, error),
        error_code=error.code if error else None,
        finish=finish,
        output_cap=call.output_cap,
        **_of(receipt),
    )
    call.journaled = True
    _touch_key(cursor, call)
    count(
        cursor,
        day=day_of(call.started_at, call.caller.time_zone),
        who=(call.caller.account_id, call.caller.key_id, call.caller.user_id),
        model=call.model,
        mode="test" if call.caller.is_test else "live",
        usage=receipt.usage,
        cost_nanos=receipt.cost_nanos or 0,
        calls=1,
        errors=int(error is not None and finish != "client_left"),
    )


def _touch_key(cursor: Cursor, call: Call) -> None:
    """The key was used at this call's start; within a minute of what is known, that will do."""
    started_micros, known = clock.to_micros(call.started_at), call.caller.last_used_micros
    if known is None or started_micros - known > _MINUTE:
        _TOUCH_KEY.run(cursor, of_key=call.caller.key_id, now=started_micros)


def status_of(call: Call, error: BridgeError | None) -> int:
    """The HTTP status that the client was told."""
    head_sent = call.stream and call.first_byte_micros is not None
    return 200 if error is None or head_sent else error.status


def resolve(cursor: Cursor, hold: Hold, receipt: Receipt, time_zone: str) -> None:
    """What an unknown hold came to stands in its call's row.

    A call whose process died has none yet: it gets one from what the hold tells.
    """
    counts = {name: getattr(receipt.usage, name) for name in USAGE_CLASSES}
    known = _RESOLVE.run(
        cursor,
        of_hold=hold.id,
        new_usage_source=receipt.source,
        new_price_version=receipt.price_version,
        new_cost_nanos=receipt.cost_nanos,
        **{f"new_{name}": number for name, number in counts.items()},
    )
    if not known:
        _write_lost(cursor, hold, receipt)
    count(
        cursor,
        day=day_of(hold.admitted_at, time_zone),
        who=(hold.account_id, hold.key_id, hold.user_id),
        model=hold.model,
        mode="live",
        usage=receipt.usage,
        cost_nanos=receipt.cost_nanos or 0,
        calls=0 if known else 1,
        errors=0 if known else 1,
    )


def _write_lost(cursor: Cursor, hold: Hold, receipt: Receipt) -> None:
    _INSERT.run(
        cursor,
        id=hold.call_id,
        key_id=hold.key_id,
        account_id=hold.account_id,
        user_id=hold.user_id,
        mode="live",
        endpoint=hold.endpoint,
        model=hold.model,
        stream=hold.stream,
        started_at=clock.to_micros(hold.admitted_at),
        duration_micros=0,
        first_byte_micros=None,
        status=500,
        error_code="process_died",
        finish="failed",
        output_cap=None,
        **_of(receipt),
    )


def count(
    cursor: Cursor,
    *,
    day: str,
    who: tuple[str | None, str, str | None],
    model: str,
    mode: str,
    usage: Usage,
    cost_nanos: int,
    calls: int,
    errors: int,
) -> None:
    """Add to the day's totals of the account, key and person `who`. No account: nothing to add."""
    account_id, key_id, user_id = who
    if account_id is None:
        return
    where = {
        "of_day": day,
        "of_account": account_id,
        "of_key": key_id,
        "of_user": user_id or "",
        "of_model": model[:200],
        "of_mode": mode,
    }
    amounts = {
        "more_calls": calls,
        "more_errors": errors,
        "more_input": min(usage.total_input, _MOST_TOKENS),
        "more_output": min(usage.total_output, _MOST_TOKENS),
        "more_cost": cost_nanos,
    }
    if not _ADD_TO_DAY.run(cursor, **where, **amounts):
        _OPEN_DAY.run(cursor, **where, **amounts)


def day_of(moment: datetime, time_zone: str) -> str:
    """The day of a moment in a time zone, YYYY-MM-DD."""
    return _day_of_quarter(clock.to_micros(moment) // _QUARTER_HOUR, time_zone)


@lru_cache(maxsize=512)
def _day_of_quarter(quarter: int, time_zone: str) -> str:
    """Days begin with a quarter of an hour everywhere; reckoning them anew each time is dear."""
    moment = clock.from_micros(quarter * _QUARTER_HOUR)
    return moment.astimezone(ZoneInfo(time_zone)).date().isoformat()


def _of(receipt: Receipt) -> dict[str, object]:
    usage = receipt.usage
    counts = {column: getattr(usage, name) for column, name in _COUNTS}
    return counts | {
        "upstream_id": receipt.upstream_id,
        "upstream_model": receipt.upstream_model,
        "hold_id": receipt.hold_id,
        "held_nanos": receipt.held_nanos,
        "usage_source": receipt.source,
        "price_version": receipt.price_version,
        "fx_version": receipt.fx_version,
        "cost_nanos": receipt.cost_nanos,
    }


def write_later(
    gateway: Gateway, call: Call, *, finish: str, error: BridgeError | None = None
) -> None:
    """A call without money (refused, or of a test key) gets its row with the next commit."""
    if not call.journaled:
        call.journaled = True
        served = "sandbox" if call.caller.is_test and finish != "refused" else ""
        gateway.meters.call_ended(call, status_of(call, error), upstream=served)
        gateway.database.enqueue(
            lambda cursor: write(cursor, call, Receipt(), finish=finish, error=error)
        )
