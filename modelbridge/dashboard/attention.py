"""Keys that somebody should look at: what is the matter with them, the most pressing first."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.identity import keys
from modelbridge.ledger import limits
from modelbridge.ledger.limits import KeySpending
from modelbridge.store.tables import ApiKey

EXPIRES_SOON = timedelta(days=7)
UNUSED = timedelta(days=30)
NEAR_LIMIT_PERCENT = 80


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing about one key. `kind`: limit_reached, near_limit, expiring, unused or no_limit."""

    key: ApiKey
    hint: str
    kind: str
    spending: KeySpending

    @property
    def percent(self) -> int:
        """How much of its limit the key has spent."""
        return self.spending.spent_nanos * 100 // max(1, self.key.limit_nanos or 1)


_ORDER = ("limit_reached", "near_limit", "expiring", "unused", "no_limit")


def concerns(session: Session, account_id: str, user_id: str | None = None) -> list[Concern]:
    """What is the matter with the account's working keys, or with that person's among them.

    A key may be listed for more than one reason. A test key spends nothing and needs no limit.
    """
    query = select(ApiKey).where(ApiKey.account_id == account_id, ApiKey.revoked_at.is_(None))
    if user_id is not None:
        query = query.where(ApiKey.user_id == user_id)
    working = [key for key in session.scalars(query) if not _is_expired(key)]
    spending = limits.key_spending(session, working)
    found = [
        Concern(key, keys.hint(key), kind, spending[key.id])
        for key in working
        for kind in _kinds(key, spending[key.id])
    ]
    return sorted(found, key=lambda one: (_ORDER.index(one.kind), one.key.name))


def _is_expired(key: ApiKey) -> bool:
    return key.expires_at is not None and key.expires_at <= clock.now()


def _kinds(key: ApiKey, spending: KeySpending) -> list[str]:
    now, kinds = clock.now(), []
    if key.mode == "live" and key.limit_nanos is None:
        kinds.append("no_limit")
    elif key.mode == "live" and key.limit_nanos is not None:
        if spending.spent_nanos >= key.limit_nanos:
            kinds.append("limit_reached")
        elif spending.spent_nanos * 100 >= key.limit_nanos * NEAR_LIMIT_PERCENT:
            kinds.append("near_limit")
    if key.expires_at is not None and key.expires_at - now <= EXPIRES_SOON:
        kinds.append("expiring")
    if now - (key.last_used_at or key.created_at) >= UNUSED:
        kinds.append("unused")
    return kinds
