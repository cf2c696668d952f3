"""Who is calling: one SELECT by the SHA-256 of the key, on every call; nothing is remembered."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import and_, bindparam, case, select

from modelbridge import clock, ids, jsonio
from modelbridge.errors import InvalidApiKey, refuse_dead_key
from modelbridge.identity import networks
from modelbridge.identity.rates import NO_RATES, Rates
from modelbridge.store.statements import Cursor, Statement
from modelbridge.store.tables import (
    Account,
    ApiKey,
    CatalogState,
    Membership,
    RetiredSecret,
    Team,
    User,
    table,
)

_keys, _users, _teams, _members = table(ApiKey), table(User), table(Team), table(Membership)
_accounts, _retired = table(Account), table(RetiredSecret)


@dataclass(frozen=True, slots=True)
class Caller:
    """A living key. `models`: the names that it may call, or None for all.

    `time_zone` is the account's: days of its usage begin there at midnight. `catalog_version` is
    the catalogue's at this moment, read in the same statement. `rates`: its limits of pace, None
    if it has none. `networks`: from where it may be used, as JSON; None for everywhere.
    """

    key_id: str
    account_id: str | None
    user_id: str | None
    is_test: bool
    models: frozenset[str] | None
    time_zone: str
    catalog_version: int
    rates: Rates | None = None
    networks: str | None = None
    last_used_micros: int | None = None

    def may_come_from(self, address: str) -> bool:
        """Whether the key may be used from that IP address; an unknown one is in no list."""
        return self.networks is None or networks.contains(self.networks, address)

    def may_call(self, model: str) -> bool:
        """Whether the key's list of models has this one."""
        return self.models is None or model in self.models


class _Row(NamedTuple):
    key_id: str
    account_id: str | None
    user_id: str | None
    mode: str
    models: str | None
    revoked_at: int | None
    expires_at: int | None
    disabled_at: int | None
    left_team: int
    time_zone: str | None
    catalog_version: int
    calls_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_calls: int | None
    allowed_addresses: str | None
    last_used_at: int | None


_LEFT_TEAM = case(
    (
        and_(_teams.c.id.is_not(None), _keys.c.user_id.is_not(None), _members.c.user_id.is_(None)),
        1,
    ),
    else_=0,
)
_KEY_AND_PERSON = (
    _keys.outerjoin(_users, _users.c.id == _keys.c.user_id)
    .outerjoin(_teams, _teams.c.account_id == _keys.c.account_id)
    .outerjoin(
        _members, and_(_members.c.team_id == _teams.c.id, _members.c.user_id == _keys.c.user_id)
    )
)
_STATE = Statement(
    select(_keys.c.revoked_at, _users.c.disabled_at, _LEFT_TEAM)
    .select_from(_KEY_AND_PERSON)
    .where(_keys.c.id == bindparam("key_id"))
)
_CALLER = select(
    _keys.c.id,
    _keys.c.account_id,
    _keys.c.user_id,
    _keys.c.mode,
    _keys.c.models,
    _keys.c.revoked_at,
    _keys.c.expires_at,
    _users.c.disabled_at,
    _LEFT_TEAM,
    _accounts.c.time_zone,
    select(table(CatalogState).c.version).scalar_subquery(),
    _keys.c.calls_per_minute,
    _keys.c.tokens_per_minute,
    _keys.c.concurrent_calls,
    _keys.c.allowed_addresses,
    _keys.c.last_used_at,
).select_from(_KEY_AND_PERSON.outerjoin(_accounts, _accounts.c.id == _keys.c.account_id))
_BY_SHA256 = Statement(_CALLER.where(_keys.c.sha256 == bindparam("sha256")))
_BY_OWN_ID = Statement(
    _CALLER.where(_keys.c.id == bindparam("key_id"), _keys.c.user_id == bindparam("user_id"))
)
_BY_RETIRED_SHA256 = Statement(
    _CALLER.join(_retired, _retired.c.key_id == _keys.c.id).where(
        _retired.c.sha256 == bindparam("sha256"), _retired.c.expires_at > bindparam("now")
    )
)


def find_caller(cursor: Cursor, key: str) -> Caller:
    """The caller that this raw key stands for.

    Raises InvalidApiKey (unknown), ApiKeyRevoked (also when its person is disabled or has left
    the team) or ApiKeyExpired. The caller checks form and checksum before (ids.is_well_formed_key).
    """
    sha256, now = ids.sha256_hex(key), clock.now_micros()
    found = _BY_SHA256.row(cursor, sha256=sha256)
    if found is None:
        found = _BY_RETIRED_SHA256.row(cursor, sha256=sha256, now=now)
    if found is None:
        raise InvalidApiKey("This API key is not known here. Check that it was copied whole.")
    return _living(_Row(*found), now)


def find_own_caller(cursor: Cursor, user_id: str, key_id: str) -> Caller | None:
    """The caller that this person's own key stands for, without its secret; None if not theirs.

    Raises ApiKeyRevoked or ApiKeyExpired like `find_caller`.
    """
    found = _BY_OWN_ID.row(cursor, key_id=key_id, user_id=user_id)
    return _living(_Row(*found), clock.now_micros()) if found else None


def _living(row: _Row, now: int) -> Caller:
    """Raises ApiKeyRevoked or ApiKeyExpired."""
    refuse_dead_key(row.revoked_at, row.expires_at, row.disabled_at, bool(row.left_team), now)
    rates = Rates(row.calls_per_minute, row.tokens_per_minute, row.concurrent_calls)
    return Caller(
        key_id=row.key_id,
        account_id=row.account_id,
        user_id=row.user_id,
        is_test=row.mode == "test",
        models=frozenset(jsonio.loads(row.models)) if row.models else None,
        time_zone=row.time_zone or "UTC",
        catalog_version=row.catalog_version,
        rates=rates if rates != NO_RATES else None,
        networks=row.allowed_addresses,
        last_used_micros=row.last_used_at,
    )


def dead_keys(cursor: Cursor, key_ids: Iterable[str]) -> set[str]:
    """Which of these keys were revoked, or lost their person: their streams end now."""
    return {key_id for key_id in key_ids if _is_dead(_STATE.row(cursor, key_id=key_id))}


def _is_dead(row: tuple[int | None, int | None, int] | None) -> bool:
    if row is None:
        return True
    revoked_at, disabled_at, left_team = row
    return revoked_at is not None or disabled_at is not None or bool(left_team)
