"""Who is told, and from when on: what administrators set for alerts."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.identity.users import clean_email
from modelbridge.money import format_amount, parse_amount
from modelbridge.store.tables import Setting
from modelbridge.upstream import credentials
from modelbridge.upstream.addresses import check_base_url

MOST_ADDRESSES = 10
LEAST_SECRET = 16
NAME = "alerts"
SEALED_COLUMN = "settings.webhook_secret"


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """What was set. `emails` empty: every administrator is written to, where mail is set up.

    `webhook_secret` is sealed. `low_balance` is decimal AUD; an account below it is told of.
    `key_percent`: from that part of its spending limit on a key is told of. `expiry_days`: so
    many days before it expires.
    """

    emails: tuple[str, ...] = ()
    webhook_url: str = ""
    webhook_private: bool = False
    webhook_secret: str = ""
    low_balance: str = "5.00"
    key_percent: int = 80
    expiry_days: int = 7

    @property
    def low_balance_nanos(self) -> int:
        """The same in nano-AUD."""
        return parse_amount(self.low_balance)


def load(session: Session) -> AlertSettings:
    """What holds now."""
    row = session.get(Setting, NAME)
    if row is None:
        return AlertSettings()
    kept: dict[str, Any] = row.value["value"]
    return AlertSettings(**(kept | {"emails": tuple(kept["emails"])}))


def save(
    session: Session,
    master_key: str,
    *,
    emails: Sequence[str],
    webhook_url: str,
    webhook_private: bool,
    webhook_secret: str | None,
    low_balance: str,
    key_percent: int,
    expiry_days: int,
) -> AlertSettings:
    """These hold from the next look on. `webhook_secret` None: the one that was set before.

    Raises ValueError naming the field.
    """
    sealed = load(session).webhook_secret
    url = _checked_url(webhook_url, webhook_private)
    if webhook_secret is not None:
        sealed = credentials.seal(
            master_key, NAME, _checked_secret(webhook_secret), column=SEALED_COLUMN
        )
    if url and not sealed:
        raise ValueError("webhook_secret: enter one; it signs what is sent to the webhook")
    wanted = AlertSettings(
        emails=_checked_emails(emails),
        webhook_url=url,
        webhook_private=webhook_private,
        webhook_secret=sealed if url else "",
        low_balance=_checked_amount(low_balance),
        key_percent=_between(key_percent, 1, 100, "key_percent"),
        expiry_days=_between(expiry_days, 0, 365, "expiry_days"),
    )
    value = {"value": asdict(wanted) | {"emails": list(wanted.emails)}}
    row = session.get(Setting, NAME)
    if row is None:
        session.add(Setting(name=NAME, value=value, changed_at=clock.now()))
    else:
        row.value, row.changed_at = value, clock.now()
    session.flush()
    return wanted


def reseal(session: Session, anew: Callable[[str], str | None]) -> str | None:
    """The webhook's secret is what `anew` makes of the sealed one; None if it makes nothing new."""
    kept = load(session).webhook_secret
    sealed = anew(kept) if kept else None
    if sealed is not None:
        row = session.get_one(Setting, NAME)
        row.value = {"value": row.value["value"] | {"webhook_secret": sealed}}
        session.flush()
    return sealed


def shown(settings: AlertSettings) -> dict[str, Any]:
    """The settings without the secret, for people and for the audit log."""
    told = asdict(replace(settings, webhook_secret="set" if settings.webhook_secret else ""))
    return told | {"emails": list(settings.emails)}


def _checked_emails(emails: Sequence[str]) -> tuple[str, ...]:
    try:
        found = tuple(dict.fromkeys(clean_email(one) for one in emails if one.strip()))
    except ValueError as error:
        raise ValueError(f"emails: {str(error).partition(': ')[2] or error}") from None
    if len(found) > MOST_ADDRESSES:
        raise ValueError(f"emails: {MOST_ADDRESSES} addresses at most")
    return found


def _checked_url(url: str, allow_private: bool) -> str:
    if not url.strip():
        return ""
    try:
        return check_base_url(url, allow_private=allow_private)
    except ValueError as error:
        raise ValueError(f"webhook_url: {str(error).replace('base URL', 'the address')}") from None


def _checked_secret(secret: str) -> str:
    if len(secret) < LEAST_SECRET:
        raise ValueError(f"webhook_secret: at least {LEAST_SECRET} characters")
    return secret


def _checked_amount(text: str) -> str:
    nanos = parse_amount(text, what="low_balance")
    if nanos < 0:
        raise ValueError("low_balance: 0 or more; 0 tells of accounts that are empty")
    return format_amount(nanos)


def _between(number: int, least: int, most: int, what: str) -> int:
    if not least <= number <= most:
        raise ValueError(f"{what}: between {least} and {most}")
    return number
