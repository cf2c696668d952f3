"""What wants somebody's attention now: each with words, and with what to do next."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.gateway import books
from modelbridge.ledger import limits
from modelbridge.ledger.windows import window_start
from modelbridge.money import format_amount
from modelbridge.operations.alerts.settings import AlertSettings
from modelbridge.store.tables import (
    Account,
    ApiKey,
    BalanceTransaction,
    Hold,
    Shortfall,
    Spending,
    Team,
    Upstream,
    User,
)

FAILURES = 3
KINDS = (
    "low_balance",
    "key_near_limit",
    "key_expiring",
    "upstream_down",
    "books_broken",
    "shortfall",
    "backup_failed",
)
_BUSY = "upstream_rate_limited"


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that is so. `occurrence` tells it from others of its kind."""

    kind: str
    occurrence: str
    subject: str
    message: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found. `unknown`: (kind, occurrence) of which nothing can be said just now."""

    conditions: list[Condition]
    unknown: frozenset[tuple[str, str]] = frozenset()


def look(
    session: Session,
    settings: AlertSettings,
    health: Mapping[str, Mapping[str, object]],
    backup_trouble: str | None = None,
) -> Seen:
    """Everything that is so now. `health` is what recent calls told of upstreams, by id."""
    found = [
        *_low_balances(session, settings),
        *_keys(session, settings),
        *_upstreams(session, health),
        *_books(session),
        *_shortfalls(session),
    ]
    if backup_trouble is not None:
        found.append(
            Condition(
                "backup_failed",
                "backups",
                "The backup on a schedule failed",
                f"No new copy of the database was made: {backup_trouble}.",
                "Look at MODELBRIDGE_BACKUP_DIR: is there room, and may the bridge write there? "
                "It is tried again every minute.",
            )
        )
    silent = {one.id for one in session.scalars(select(Upstream))} - set(health)
    return Seen(found, frozenset(("upstream_down", one) for one in silent))


def _low_balances(session: Session, settings: AlertSettings) -> Iterator[Condition]:
    """Accounts that once had money, and have little of it left."""
    paid = select(BalanceTransaction.id).where(
        BalanceTransaction.account_id == Account.id, BalanceTransaction.kind == "top_up"
    )
    low = select(Account).where(Account.balance_nanos <= settings.low_balance_nanos, paid.exists())
    accounts = list(session.scalars(low))
    labels = _labels(session, [one.id for one in accounts])
    for account in accounts:
        label = labels.get(account.id, account.id)
        yield Condition(
            "low_balance",
            account.id,
            f"The balance of {label} is low",
            f"{label} has {format_amount(account.balance_nanos)} AUD left; alerts begin at "
            f"{settings.low_balance}. Calls are refused when nothing is left.",
            f"Top it up: Administration, Accounts, or `flask topup {shlex.quote(label)} AMOUNT`.",
        )


def _keys(session: Session, settings: AlertSettings) -> Iterator[Condition]:
    now = clock.now()
    soon = now + timedelta(days=settings.expiry_days)
    alive = list(
        session.scalars(
            select(ApiKey).where(
                ApiKey.revoked_at.is_(None),
                (ApiKey.expires_at.is_(None)) | (ApiKey.expires_at > now),
                (ApiKey.expires_at <= soon) | _may_be_near_limit(settings.key_percent),
                ApiKey.account_id.is_not(None),
            )
        )
    )
    spending = limits.key_spending(session, [one for one in alive if one.limit_nanos])
    labels = _labels(session, [one.account_id for one in alive if one.account_id])
    for key in alive:
        whose = f"The key {key.name!r} ({key.prefix}…) of {labels.get(key.account_id or '', '?')}"
        if key.limit_nanos:
            spent_nanos = spending[key.id].spent_nanos
            if spent_nanos * 100 >= key.limit_nanos * settings.key_percent:
                yield _near_limit(session, key, whose, spent_nanos)
        if key.expires_at is not None and key.expires_at <= soon:
            yield Condition(
                "key_expiring",
                f"{key.id}:{clock.to_micros(key.expires_at)}",
                f"{whose} expires soon",
                f"{whose} expires on {key.expires_at:%Y-%m-%d at %H:%M UTC}. Calls with it are "
                "refused from then on.",
                "Rotate it, or set another expiry, on its page under API keys.",
            )


def _may_be_near_limit(percent: int) -> ColumnElement[bool]:
    """Whether that much of a limit was spent in any window; rounded so that none is missed."""
    spent = select(Spending.subject_id).where(
        Spending.subject_id == ApiKey.id,
        Spending.spent_nanos >= (ApiKey.limit_nanos // 100) * percent,
    )
    return and_(ApiKey.limit_nanos > 0, spent.exists())


def _near_limit(session: Session, key: ApiKey, whose: str, spent_nanos: int) -> Condition:
    account = session.get(Account, key.account_id)
    start = window_start(key.limit_window, account.time_zone if account else "UTC", clock.now())
    per = "" if key.limit_window == "none" else f" a {key.limit_window}"
    return Condition(
        "key_near_limit",
        f"{key.id}:{start}:{key.limit_nanos}",
        f"{whose} is near its limit",
        f"{whose} has spent {format_amount(spent_nanos)} of its "
        f"{format_amount(key.limit_nanos or 0)} AUD{per}. It is refused calls at its limit.",
        "Raise the limit on its page under API keys, or ask whoever uses it.",
    )


def _upstreams(session: Session, health: Mapping[str, Mapping[str, object]]) -> Iterator[Condition]:
    """Upstreams whose last calls all failed; one that only says that we call too often is up."""
    for upstream in session.scalars(select(Upstream)):
        told = health.get(upstream.id, {})
        failures = told.get("failures", 0)
        if isinstance(failures, int) and failures >= FAILURES and told.get("why") != _BUSY:
            yield Condition(
                "upstream_down",
                upstream.id,
                f"The upstream {upstream.name} is down",
                f"The last {FAILURES} calls to {upstream.name} failed, the newest one with "
                f"{told.get('why') or 'upstream_error'}.",
                "Administration, Upstreams, Test says what is wrong: the address, the credential, "
                "or the provider itself.",
            )


def _books(session: Session) -> Iterator[Condition]:
    last = books.latest(session)
    if last and not last[0].ok:
        yield Condition(
            "books_broken",
            "books",
            "The books do not add up",
            f"The check at {last[0].at:%Y-%m-%d %H:%M UTC} found: "
            f"{'; '.join(last[0].problems[:3])}.",
            "Take no new money until it is understood: keep a copy with `flask backup`, run "
            "`flask books check`, and see docs/money.md.",
        )


def _shortfalls(session: Session) -> Iterator[Condition]:
    """What upstreams reported above the holds in the last day, by model and day."""
    since = clock.now() - timedelta(days=1)
    rows = session.execute(
        select(Hold.model, Shortfall.created_at, Shortfall.amount_nanos)
        .join(Hold, Hold.id == Shortfall.hold_id)
        .where(Shortfall.created_at > since)
    ).all()
    sums: dict[tuple[str, str], int] = {}
    for model, created_at, amount_nanos in rows:
        day = created_at.date().isoformat()
        sums[model, day] = sums.get((model, day), 0) + amount_nanos
    for (model, day), amount_nanos in sums.items():
        yield Condition(
            "shortfall",
            f"{model}:{day}",
            f"{model} cost more than was held for it",
            f"On {day} (UTC) calls of {model} came to {format_amount(amount_nanos)} AUD more than "
            "their holds. Nobody was charged it: it is yours.",
            "Check the model's context window, maximum output and prices under Administration, "
            "Models and prices.",
        )


def _labels(session: Session, account_ids: list[str]) -> dict[str, str]:
    """How accounts are written on the command line, by id."""
    people = select(User.account_id, User.email).where(User.account_id.in_(account_ids))
    teams = select(Team.account_id, Team.name).where(Team.account_id.in_(account_ids))
    found = {account_id: email for account_id, email in session.execute(people)}
    return found | {account_id: f"team:{name}" for account_id, name in session.execute(teams)}
