"""The statements of the money path. Each check and its change are one statement."""

from typing import NamedTuple

from sqlalchemy import Column, and_, bindparam, case, exists, func, insert, or_, select, update

from modelbridge.store.statements import Statement
from modelbridge.store.tables import (
    Account,
    ApiKey,
    Attempt,
    BalanceTransaction,
    Hold,
    IdempotencyKey,
    Membership,
    PriceVersion,
    Shortfall,
    Spending,
    Team,
    User,
    is_open,
    table,
)

_accounts, _keys, _users, _teams = table(Account), table(ApiKey), table(User), table(Team)
_members, _spending, _holds = table(Membership), table(Spending), table(Hold)
_attempts, _prices = table(Attempt), table(PriceVersion)
_postings, _shortfalls = table(BalanceTransaction), table(Shortfall)
_idempotency = table(IdempotencyKey)


class Payer(NamedTuple):
    """The row of `PAYER`: a key, its state and who pays. Amounts in nano-AUD."""

    user_id: str | None
    revoked_at: int | None
    expires_at: int | None
    disabled_at: int | None
    left_team: int
    key_limit: int | None
    key_window: str
    account_id: str
    account_kind: str
    balance: int
    held: int
    account_limit: int | None
    account_window: str
    time_zone: str


PAYER = Statement(
    select(
        _keys.c.user_id,
        _keys.c.revoked_at,
        _keys.c.expires_at,
        _users.c.disabled_at,
        case(
            (
                and_(
                    _teams.c.id.is_not(None),
                    _keys.c.user_id.is_not(None),
                    _members.c.user_id.is_(None),
                ),
                1,
            ),
            else_=0,
        ).label("left_team"),
        _keys.c.limit_nanos,
        _keys.c.limit_window,
        _accounts.c.id,
        _accounts.c.kind,
        _accounts.c.balance_nanos,
        _accounts.c.held_nanos,
        _accounts.c.limit_nanos,
        _accounts.c.limit_window,
        _accounts.c.time_zone,
    )
    .select_from(
        _keys.join(_accounts, _accounts.c.id == _keys.c.account_id)
        .outerjoin(_users, _users.c.id == _keys.c.user_id)
        .outerjoin(_teams, _teams.c.account_id == _accounts.c.id)
        .outerjoin(
            _members,
            and_(_members.c.team_id == _teams.c.id, _members.c.user_id == _keys.c.user_id),
        )
    )
    .where(_keys.c.id == bindparam("key_id"))
)

SPENDING = Statement(
    select(_spending.c.spent_nanos, _spending.c.held_nanos).where(
        _spending.c.subject_id == bindparam("subject_id"),
        _spending.c.window_start == bindparam("start"),
    )
)
OPEN_WINDOW = Statement(
    insert(_spending).values(
        subject_id=bindparam("subject_id"),
        window_start=bindparam("start"),
        spent_nanos=bindparam("spent"),
        held_nanos=0,
    )
)


def _usage_of(subject: Column[str]) -> Statement:
    """What the postings say that a key or an account spent between two moments."""
    return Statement(
        select(func.coalesce(-func.sum(_postings.c.amount_nanos), 0)).where(
            subject == bindparam("subject_id"),
            _postings.c.kind == "usage",
            _postings.c.admitted_at >= bindparam("start"),
            _postings.c.admitted_at < bindparam("end"),
        )
    )


USAGE_OF_KEY = _usage_of(_postings.c.key_id)
USAGE_OF_ACCOUNT = _usage_of(_postings.c.account_id)

RESERVE_ACCOUNT = Statement(
    update(_accounts)
    .where(
        _accounts.c.id == bindparam("account_id"),
        _accounts.c.balance_nanos - _accounts.c.held_nanos >= bindparam("amount"),
    )
    .values(held_nanos=_accounts.c.held_nanos + bindparam("amount"))
)
RESERVE_KEY = Statement(
    update(_spending)
    .where(
        _spending.c.subject_id == bindparam("key_id"),
        _spending.c.window_start == bindparam("start"),
        exists().where(
            _keys.c.id == bindparam("key_id"),
            _keys.c.revoked_at.is_(None),
            or_(_keys.c.expires_at.is_(None), _keys.c.expires_at > bindparam("now")),
            or_(
                _keys.c.limit_nanos.is_(None),
                _spending.c.spent_nanos + _spending.c.held_nanos + bindparam("amount")
                <= _keys.c.limit_nanos,
            ),
        ),
    )
    .values(held_nanos=_spending.c.held_nanos + bindparam("amount"))
)
RESERVE_ACCOUNT_WINDOW = Statement(
    update(_spending)
    .where(
        _spending.c.subject_id == bindparam("account_id"),
        _spending.c.window_start == bindparam("start"),
        exists().where(
            _accounts.c.id == bindparam("account_id"),
            or_(
                _accounts.c.limit_nanos.is_(None),
                _spending.c.spent_nanos + _spending.c.held_nanos + bindparam("amount")
                <= _accounts.c.limit_nanos,
            ),
        ),
    )
    .values(held_nanos=_spending.c.held_nanos + bindparam("amount"))
)

INSERT_HOLD = Statement(
    insert(_holds).values(
        state="held",
        flagged=False,
        **{
            name: bindparam(name)
            for name in (
                "id",
                "call_id",
                "account_id",
                "key_id",
                "user_id",
                "endpoint",
                "model",
                "stream",
                "owner",
                "amount_nanos",
                "key_window_start",
                "account_window_start",
                "fx_version",
                "admitted_at",
                "evidence",
            )
        },
    )
)


HAS_HOLD = Statement(select(_holds.c.id).where(_holds.c.id == bindparam("hold_id")))


class ResolvedHold(NamedTuple):
    """The row of `RESOLVE_HOLD`. Amounts in nano-AUD."""

    account_id: str
    key_id: str
    amount: int
    charged: int | None
    key_start: int
    account_start: int
    admitted_at: int


RESOLVE_HOLD = Statement(
    update(_holds)
    .where(
        _holds.c.id == bindparam("hold_id"),
        or_(_holds.c.state == "held", _holds.c.state == "unknown"),
    )
    .values(
        state=bindparam("new_state"),
        charged_nanos=case(
            (_holds.c.amount_nanos < bindparam("cost"), _holds.c.amount_nanos),
            else_=bindparam("cost"),
        ),
        resolved_at=bindparam("now"),
        flagged=or_(_holds.c.flagged, bindparam("flag")),
        evidence=None,
    )
    .returning(
        _holds.c.account_id,
        _holds.c.key_id,
        _holds.c.amount_nanos,
        _holds.c.charged_nanos,
        _holds.c.key_window_start,
        _holds.c.account_window_start,
        _holds.c.admitted_at,
    )
)
FORGET_OUTCOME = Statement(
    update(_holds)
    .where(_holds.c.id == bindparam("hold_id"), _holds.c.state == "held")
    .values(
        state="unknown",
        unknown_since=bindparam("now"),
        flagged=True,
        evidence=bindparam("new_evidence"),
    )
)
KEEP_EVIDENCE = Statement(
    update(_holds)
    .where(_holds.c.id == bindparam("hold_id"), _holds.c.state == "held")
    .values(evidence=bindparam("new_evidence"))
)
FORGET_DEAD = Statement(
    update(_holds)
    .where(
        is_open(_holds.c.state), _holds.c.state == "held", _holds.c.owner != bindparam("boot_id")
    )
    .values(state="unknown", unknown_since=bindparam("now"), flagged=True)
)

CHARGE_ACCOUNT = Statement(
    update(_accounts)
    .where(_accounts.c.id == bindparam("account_id"))
    .values(
        held_nanos=_accounts.c.held_nanos - bindparam("amount"),
        balance_nanos=_accounts.c.balance_nanos - bindparam("charged"),
    )
    .returning(_accounts.c.balance_nanos)
)
CHARGE_WINDOW = Statement(
    update(_spending)
    .where(
        _spending.c.subject_id == bindparam("subject_id"),
        _spending.c.window_start == bindparam("start"),
    )
    .values(
        held_nanos=_spending.c.held_nanos - bindparam("amount"),
        spent_nanos=_spending.c.spent_nanos + bindparam("charged"),
    )
)
INSERT_USAGE = Statement(
    insert(_postings).values(
        kind="usage",
        note="",
        **{
            name: bindparam(name)
            for name in (
                "id",
                "account_id",
                "amount_nanos",
                "balance_after_nanos",
                "created_at",
                "hold_id",
                "key_id",
                "admitted_at",
            )
        },
    )
)
INSERT_SHORTFALL = Statement(
    insert(_shortfalls).values(
        {name: bindparam(name) for name in ("id", "hold_id", "amount_nanos", "created_at")}
    )
)

HAS_PRICE = Statement(select(_prices.c.id).where(_prices.c.id == bindparam("version")))
INSERT_PRICE = Statement(
    insert(_prices).values(
        {name: bindparam(name) for name in ("id", "model", "source", "price", "created_at")}
    )
)
INSERT_ATTEMPT = Statement(
    insert(_attempts).values(
        {
            name: bindparam(name)
            for name in (
                "call_id",
                "number",
                "hold_id",
                "upstream_id",
                "upstream_model",
                "price_version",
                "started_at",
            )
        }
    )
)
END_ATTEMPT = Statement(
    update(_attempts)
    .where(_attempts.c.call_id == bindparam("of_call"), _attempts.c.number == bindparam("nth"))
    .values(ended_at=bindparam("now"), status=bindparam("http_status"), outcome=bindparam("how"))
)

EARLIER_CALL = Statement(
    select(
        _idempotency.c.body_sha256,
        _idempotency.c.hold_id,
        _holds.c.state,
        _holds.c.call_id,
        _holds.c.charged_nanos,
        _holds.c.flagged,
    )
    .join(_holds, _holds.c.id == _idempotency.c.hold_id)
    .where(_idempotency.c.key_id == bindparam("key_id"), _idempotency.c.value == bindparam("name"))
)
REMEMBER_CALL = Statement(
    insert(_idempotency).values(
        {
            name: bindparam(name)
            for name in ("key_id", "value", "body_sha256", "hold_id", "created_at")
        }
    )
)
REUSE_CALL = Statement(
    update(_idempotency)
    .where(_idempotency.c.key_id == bindparam("of_key"), _idempotency.c.value == bindparam("name"))
    .values(
        body_sha256=bindparam("new_sha256"),
        hold_id=bindparam("new_hold"),
        created_at=bindparam("now"),
    )
)
