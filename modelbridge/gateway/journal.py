"""The journal: one row per call, which is also its receipt."""

from dataclasses import asdict, dataclass, fields

from sqlalchemy import bindparam, insert, select, update

from modelbridge import clock
from modelbridge.errors import BridgeError
from modelbridge.gateway.call import Call
from modelbridge.gateway.services import Gateway
from modelbridge.money import Usage
from modelbridge.store.statements import Cursor, Statement
from modelbridge.store.tables import Attempt, Hold, table
from modelbridge.store.tables import Call as CallRow

_calls = table(CallRow)
_INSERT = Statement(insert(_calls).values({c.name: bindparam(c.name) for c in _calls.c}))
_RESOLVE = Statement(
    update(_calls)
    .where(_calls.c.hold_id == bindparam("of_hold"))
    .values(
        {name: bindparam(f"new_{name}") for name in ("usage_source", "price_version", "cost_nanos")}
        | {f"{f.name}_tokens": bindparam(f"new_{f.name}") for f in fields(Usage)}
    )
)
_EXISTS = Statement(select(_calls.c.id).where(_calls.c.hold_id == bindparam("hold_id")))


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
    head_sent = call.stream and call.first_byte_micros is not None
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
        status=200 if error is None or head_sent else error.status,
        error_code=error.code if error else None,
        finish=finish,
        output_cap=call.output_cap,
        **_of(receipt),
    )
    call.journaled = True


def write_lost(
    cursor: Cursor, hold: Hold, attempt: Attempt | None, usage: Usage, source: str, cost: int | None
) -> None:
    """The row of a call whose process died: what its hold and its last attempt tell."""
    receipt = Receipt(
        usage=usage,
        source=source,
        hold_id=hold.id,
        held_nanos=hold.amount_nanos,
        price_version=attempt.price_version if attempt else None,
        fx_version=hold.fx_version,
        cost_nanos=cost,
        upstream_id=attempt.upstream_id if attempt else None,
        upstream_model=attempt.upstream_model if attempt else None,
    )
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


def _of(receipt: Receipt) -> dict[str, object]:
    counts = {f"{f.name}_tokens": getattr(receipt.usage, f.name) for f in fields(Usage)}
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


def exists(cursor: Cursor, hold_id: str) -> bool:
    """Whether the call of this hold has its row."""
    return _EXISTS.row(cursor, hold_id=hold_id) is not None


def resolve(
    cursor: Cursor,
    hold_id: str,
    usage: Usage,
    source: str,
    price_version: str | None,
    cost: int | None,
) -> bool:
    """Fill in what an unknown hold came to; False if the call has no row yet."""
    return bool(
        _RESOLVE.run(
            cursor,
            of_hold=hold_id,
            new_usage_source=source,
            new_price_version=price_version,
            new_cost_nanos=cost,
            **{f"new_{f.name}": getattr(usage, f.name) for f in fields(Usage)},
        )
    )


def write_later(
    gateway: Gateway, call: Call, *, finish: str, error: BridgeError | None = None
) -> None:
    """A call without money (refused, or of a test key) gets its row with the next commit."""
    if not call.journaled:
        call.journaled = True
        gateway.database.enqueue(
            lambda cursor: write(cursor, call, Receipt(), finish=finish, error=error)
        )
