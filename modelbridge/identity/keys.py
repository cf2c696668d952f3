"""API keys: made, listed, found and revoked. The secret leaves here once, in `NewKey`.

Who pays is `account_id`, whose key it is `user_id`. Whether that person may have a key that this
account pays for is the caller's question (`teams.may_hold_keys`), asked in the same transaction.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Literal
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Select, and_, false, or_, select, update
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.identity import networks, permissions
from modelbridge.identity.rates import NO_RATES, Rates, check_rates
from modelbridge.money import MAX_NANOS
from modelbridge.store.tables import ApiKey, Membership, RetiredSecret, User

WINDOWS = ("none", "day", "week", "month")
MAX_NAME = 100
MAX_MODELS = 200
Status = Literal["active", "revoked", "expired", "limit_reached"]

_MODEL_NAME = re.compile(r"[^\s,\x00-\x1f\x7f]{1,200}")
_HINT = re.compile(rf"(.{{{ids.PREFIX_LENGTH}}})(?:…|\.\.\.)([0-9A-Za-z]{{4}})")
_KEY_LENGTH = len("mb_live_") + 43 + 6
_END_OF_DAY = time(23, 59, 59)
_NEWEST_FIRST = (ApiKey.created_at.desc(), ApiKey.id.desc())


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `secret` is the key itself: shown once, stored nowhere."""

    row: ApiKey
    secret: str


def create_key(
    session: Session,
    *,
    account_id: str | None,
    user_id: str | None,
    name: str,
    test: bool,
    limit_nanos: int | None,
    window: str,
    expires_at: datetime | None,
    models: Sequence[str] | None,
    rates: Rates = NO_RATES,
    addresses: Sequence[str] = (),
) -> NewKey:
    """A new key is in the database; its secret is in what comes back and nowhere else.

    `models` None: every model; no `addresses`: from everywhere. Raises ValueError, naming the
    field, for what cannot be.
    """
    if account_id is None and not test:
        raise ValueError("account: a live key needs an account that pays for it")
    secret = ids.new_api_key(test=test)
    row = ApiKey(
        id=ids.new_id("key"),
        sha256=ids.sha256_hex(secret),
        prefix=ids.key_prefix(secret),
        last4=secret[-4:],
        name=_checked_name(name),
        mode="test" if test else "live",
        account_id=account_id,
        user_id=user_id,
        limit_nanos=_checked_limit(limit_nanos),
        limit_window=_checked_window(window, limit_nanos),
        models=_checked_models(models),
        created_at=clock.now(),
        expires_at=_checked_expiry(expires_at),
        revoked_at=None,
        last_used_at=None,
    )
    _set_pace(row, rates, addresses)
    session.add(row)
    session.flush()
    return NewKey(row, secret)


def read_expiry(text: str, time_zone: str) -> datetime:
    """The moment that `text` names, aware.

    A plain date ("2027-01-31") is the end of that day, a date-time without an offset is meant, in
    `time_zone`, the account's own. Raises ValueError naming the field. Whether the moment is in
    the future is `create_key`'s question.
    """
    zone = ZoneInfo(time_zone)
    try:
        moment = _date_or_moment(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(
            f"expires: {text!r} is not an ISO 8601 date or moment; "
            "write it like 2027-01-31 or 2027-01-31T18:00:00Z"
        ) from None


def keys_of_user(session: Session, user_id: str) -> list[ApiKey]:
    """That person's personal keys, which their own account pays for, newest first."""
    return list(session.scalars(_personal(user_id).order_by(*_NEWEST_FIRST)))


def get_for(session: Session, user_id: str, key_id: str) -> ApiKey | None:
    """That person's own personal key of that id, or None: somebody else's is none too."""
    return session.scalar(_personal(user_id).where(ApiKey.id == key_id))


def keys_in_team(session: Session, membership: Membership) -> list[ApiKey]:
    """The team's keys that this member may see and manage, newest first."""
    return list(session.scalars(_in_team(membership).order_by(*_NEWEST_FIRST)))


def get_in_team(session: Session, membership: Membership, key_id: str) -> ApiKey | None:
    """The team's key of that id, if this member may see and manage it; else None."""
    return session.scalar(_in_team(membership).where(ApiKey.id == key_id))


def keys_held_in_team(session: Session, membership: Membership) -> list[ApiKey]:
    """The team's keys that are this member's own and not revoked, newest first."""
    return list(
        session.scalars(
            select(ApiKey)
            .where(
                ApiKey.account_id == membership.team.account_id,
                ApiKey.user_id == membership.user_id,
                ApiKey.revoked_at.is_(None),
            )
            .order_by(*_NEWEST_FIRST)
        )
    )


def list_keys(session: Session, account_id: str | None = None) -> list[ApiKey]:
    """Every key, or those that one account pays for, newest first: for the operator only."""
    query = select(ApiKey).order_by(*_NEWEST_FIRST)
    return list(
        session.scalars(query if account_id is None else query.filter_by(account_id=account_id))
    )


def change(
    session: Session,
    key: ApiKey,
    *,
    name: str,
    expires_at: datetime | None,
    models: Sequence[str] | None,
    rates: Rates,
    addresses: Sequence[str],
) -> None:
    """The key has that name, expiry, list of models, pace and networks from its next call on.

    An expiry that stays what it was may be over. Raises ValueError naming the field.
    """
    if key.revoked_at is not None:
        raise ValueError("name: a revoked key can't be changed")
    key.name = _checked_name(name)
    if expires_at != key.expires_at:
        key.expires_at = _checked_expiry(expires_at)
    key.models = _checked_models(models)
    _set_pace(key, rates, addresses)
    session.flush()


def transfer(session: Session, key: ApiKey, to: Membership) -> None:
    """The team's key is that member's from now on; whoever knows its secret still does.

    Raises ValueError for a member who may not have keys, and for another team's key.
    """
    if key.account_id != to.team.account_id:
        raise ValueError(f"key: {key.name!r} is not one of {to.team.name!r}")
    if not permissions.allowed(to.role, permissions.KEYS_OWN):
        raise ValueError(f"key: {to.user.email} may not have keys of {to.team.name!r}")
    key.user_id = to.user_id
    session.flush()


def revoke(session: Session, key: ApiKey) -> bool:
    """The key is revoked for good. False: it was before, and its first moment stands."""
    changed = session.scalars(
        update(ApiKey)
        .where(ApiKey.id == key.id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=clock.now())
        .returning(ApiKey.id)
    ).all()
    session.refresh(key)
    return len(changed) == 1


def status(key: ApiKey, spent_nanos: int) -> Status:
    """What the key is now; `spent_nanos` is its spend in the current window of its limit."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= clock.now():
        return "expired"
    if key.limit_nanos is not None and spent_nanos >= key.limit_nanos:
        return "limit_reached"
    return "active"


def rates_of(key: ApiKey) -> Rates:
    """What the key may do in a minute, and at once."""
    return Rates(key.calls_per_minute, key.tokens_per_minute, key.concurrent_calls)


def hint(key: ApiKey) -> str:
    """`mb_live_AbCd…wxyz`: enough to recognise the key, not to use it."""
    return f"{key.prefix}…{key.last4}"


def find_by_prefix(session: Session, text: str) -> list[ApiKey]:
    """The keys that `text` may mean: an id, a whole key, a hint, or 12 first characters or more.

    A rotated key's earlier secrets mean it too, also when they work no longer. Only 12 characters
    of a key are stored, so what follows them in a longer prefix is not looked at; a whole key,
    though, must be that very key.
    """
    if len(text) < ids.PREFIX_LENGTH:
        return []
    if text.startswith("mb_"):
        retired = select(RetiredSecret.key_id).where(_secret_is(RetiredSecret, text))
        meant = or_(_secret_is(ApiKey, text), ApiKey.id.in_(retired))
    else:
        meant = ApiKey.id.startswith(text, autoescape=True)
    return list(session.scalars(select(ApiKey).where(meant).order_by(*_NEWEST_FIRST)))


def adopt_orphan_keys(session: Session, user: User) -> list[ApiKey]:
    """Keys that had neither person nor account are now `user`'s own; says which those are.

    Only the test key of the very first start is made so: it becomes the first administrator's.
    """
    return list(
        session.scalars(
            update(ApiKey)
            .where(ApiKey.user_id.is_(None), ApiKey.account_id.is_(None))
            .values(user_id=user.id, account_id=user.account_id)
            .returning(ApiKey)
        )
    )


def _personal(user_id: str) -> Select[ApiKey]:
    """The user's own keys: a key of a team that they made is not among them."""
    own_account = select(User.account_id).where(User.id == user_id).scalar_subquery()
    return select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.account_id == own_account)


def _in_team(membership: Membership) -> Select[ApiKey]:
    """All keys of the team, one's own, or none: as the role says."""
    query = select(ApiKey).where(ApiKey.account_id == membership.team.account_id)
    if permissions.allowed(membership.role, permissions.KEYS_ALL):
        return query
    if permissions.allowed(membership.role, permissions.KEYS_OWN):
        return query.where(ApiKey.user_id == membership.user_id)
    return query.where(false())


def _secret_is(table: type[ApiKey | RetiredSecret], text: str) -> ColumnElement[bool]:
    """Whether a secret of that table is the whole key, the hint or the beginning `text`."""
    if len(text) >= _KEY_LENGTH:
        return table.sha256 == ids.sha256_hex(text)
    if hinted := _HINT.fullmatch(text):
        return and_(table.prefix == hinted[1], table.last4 == hinted[2])
    return table.prefix == ids.key_prefix(text)


def _set_pace(key: ApiKey, rates: Rates, addresses: Sequence[str]) -> None:
    """Raises ValueError naming the field."""
    key.calls_per_minute, key.tokens_per_minute, key.concurrent_calls = check_rates(rates)
    key.allowed_addresses = networks.read_networks(addresses)


def _date_or_moment(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), _END_OF_DAY)
    except ValueError:
        return datetime.fromisoformat(text)


def _checked_name(name: str) -> str:
    stripped = name.strip()
    if not 1 <= len(stripped) <= MAX_NAME:
        raise ValueError(f"name: give the key a name of 1 to {MAX_NAME} characters")
    if not stripped.isprintable():
        raise ValueError("name: has characters that cannot be shown; leave them out")
    return stripped


def _checked_limit(limit_nanos: int | None) -> int | None:
    if limit_nanos is not None and not 0 <= limit_nanos <= MAX_NANOS // 2:
        raise ValueError("limit: must be an amount of AUD from 0 on, such as 20.00")
    return limit_nanos


def _checked_window(window: str, limit_nanos: int | None) -> str:
    if window not in WINDOWS:
        raise ValueError(f"window: must be one of {', '.join(WINDOWS)}, not {window!r}")
    if window != "none" and limit_nanos is None:
        raise ValueError("window: means nothing without a limit; give a limit too")
    return window


def _checked_expiry(expires_at: datetime | None) -> datetime | None:
    if expires_at is not None and expires_at <= clock.now():
        raise ValueError("expires: is in the past; name a moment to come")
    return expires_at


def _checked_models(models: Sequence[str] | None) -> list[str] | None:
    if models is None:
        return None
    names = list(dict.fromkeys(models))
    if not 1 <= len(names) <= MAX_MODELS:
        raise ValueError(f"models: name 1 to {MAX_MODELS} models, or none to allow every model")
    for name in names:
        if _MODEL_NAME.fullmatch(name) is None:
            raise ValueError(f"models: {name!r} cannot be a model's name")
    return names
