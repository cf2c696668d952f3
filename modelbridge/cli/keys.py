"""`flask key …`: API keys."""

from collections.abc import Sequence
from datetime import datetime

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.catalog import fx, routes
from modelbridge.cli.common import (
    Group,
    Payer,
    bridge,
    find_payer,
    find_user,
    note,
    read_limit,
    transaction,
)
from modelbridge.cli.output import amount, as_json, hint, limit_of, moment, shown, table
from modelbridge.cli.scanning import scan
from modelbridge.identity import keys, teams
from modelbridge.identity.keys import WINDOWS, NewKey
from modelbridge.identity.rates import Rates
from modelbridge.ledger.limits import KeySpending, key_spending
from modelbridge.money import format_amount
from modelbridge.store.tables import ApiKey, Team, User
from modelbridge.upstream.sandbox import SCENARIO_MODELS

_ALLOW_IP = "203.0.113.7 or 203.0.113.0/24: the key works from there alone; may be given again."


@click.group("key", cls=Group)
def key() -> None:
    """API keys, which programs call models with."""


key.add_command(scan)


@key.command("create")
@click.option("--account", metavar="ACCOUNT", required=True, help="Who pays: EMAIL or team:NAME.")
@click.option("--user", "email", metavar="EMAIL", help="Whose key it is, in a team.")
@click.option("--name", required=True, help="What it is for.")
@click.option("--limit", metavar="AUD", help="The most that it may spend; 0 is a limit too.")
@click.option("--window", type=click.Choice(WINDOWS[1:]), help="The limit is for each of these.")
@click.option("--expires", metavar="ISO8601", help="2027-01-31 (its end) or 2027-01-31T18:00:00Z.")
@click.option("--test", is_flag=True, help="Answers from the sandbox, for nothing.")
@click.option("--models", metavar="A,B", help="The only models that it may call.")
@click.option("--rpm", type=int, metavar="N", help="The most calls a minute.")
@click.option("--tpm", type=int, metavar="N", help="The most tokens a minute, in and out.")
@click.option("--concurrency", type=int, metavar="N", help="The most calls under way at once.")
@click.option("--allow-ip", "addresses", metavar="NETWORK", multiple=True, help=_ALLOW_IP)
def create(
    account: str,
    email: str | None,
    name: str,
    limit: str | None,
    window: str | None,
    expires: str | None,
    test: bool,
    models: str | None,
    rpm: int | None,
    tpm: int | None,
    concurrency: int | None,
    addresses: tuple[str, ...],
) -> None:
    """Make a key and print it, alone, on standard output: it is shown this once."""
    limit_nanos = read_limit(limit, "--limit")
    if window is not None and limit_nanos is None:
        raise click.UsageError("--window means nothing without --limit")
    with transaction() as session:
        payer = find_payer(session, account)
        holder = _holder(session, payer, email)
        made = keys.create_key(
            session,
            account_id=payer.account.id,
            user_id=None if holder is None else holder.id,
            name=name,
            test=test,
            limit_nanos=limit_nanos,
            window=window or "none",
            expires_at=_expiry(expires, payer),
            models=None if models is None else [part.strip() for part in models.split(",")],
            rates=Rates(rpm, tpm, concurrency),
            addresses=[part for text in addresses for part in text.split(",")],
        )
        _note(session, "key.create", made.row, account=payer.label, mode=made.row.mode)
        remarks = _remarks(session, made, payer)
    click.echo(made.secret)
    for remark in remarks:
        hint(remark)


@key.command("list")
@click.option("--account", metavar="ACCOUNT", help="Only the keys that it pays for.")
@click.option("--json", "json_wanted", is_flag=True, help="As JSON, amounts as decimal strings.")
def list_keys(account: str | None, json_wanted: bool) -> None:
    """Every key, newest first, with what it spent in the present window of its limit."""
    with bridge().database.reading() as session:
        payer = None if account is None else find_payer(session, account)
        found = keys.list_keys(session, None if payer is None else payer.account.id)
        spending = key_spending(session, found)
        owners = _owners(session)
        emails = {user.id: user.email for user in session.scalars(select(User))}
    rows = [_as_json(row, spending[row.id], owners, emails) for row in found]
    if json_wanted:
        as_json(rows)
        return
    headings = (
        "ID",
        "KEY",
        "NAME",
        "ACCOUNT",
        "USER",
        "STATUS",
        "SPENT AUD",
        "LIMIT",
        "EXPIRES",
        "LAST USED",
    )
    table(headings, [_cells(row, data) for row, data in zip(found, rows, strict=True)])


@key.command("revoke")
@click.argument("id_or_prefix")
def revoke(id_or_prefix: str) -> None:
    """Revoke a key for good: by its id, or by 12 of its first characters or more."""
    with transaction() as session:
        found = _the_one(keys.find_by_prefix(session, id_or_prefix), id_or_prefix)
        fresh = keys.revoke(session, found)
        if fresh:
            _note(session, "key.revoke", found)
    which = f"{found.id} {keys.hint(found)} ({found.name})"
    when = moment(found.revoked_at)
    click.echo(f"Revoked {which}." if fresh else f"{which} was revoked before, at {when}.")


def _note(session: Session, action: str, key: ApiKey, **details: str) -> None:
    note(session, action, "key", key.id, f"{key.name} ({key.prefix}…)", **details)


def _holder(session: Session, payer: Payer, email: str | None) -> User | None:
    """Whose key it becomes. Raises ValueError for a person who may not have it."""
    if payer.user is not None and email is None:
        holder = payer.user
    elif email is None:
        return None
    else:
        holder = find_user(session, email)
    if holder.disabled_at is not None:
        raise ValueError(f"--user: {holder.email} is disabled, so no key of theirs would work")
    if payer.user is not None and holder.id != payer.user.id:
        raise ValueError(f"--user: {payer.label} is a personal account; its keys are its person's")
    if payer.team is not None and not teams.may_hold_keys(
        teams.membership_of(session, payer.team, holder)
    ):
        raise ValueError(
            f"--user: {holder.email} is not a member of {payer.label}, or only a viewer; "
            f"see `flask team add`"
        )
    return holder


def _expiry(text: str | None, payer: Payer) -> datetime | None:
    return None if text is None else keys.read_expiry(text, payer.account.time_zone)


def _remarks(session: Session, made: NewKey, payer: Payer) -> list[str]:
    """What the person at the terminal should know about the new key."""
    remarks = [f"Made {made.row.id} for {payer.label}. Keep the key: it cannot be shown again."]
    if strangers := _unserved(session, made.row):
        remarks.append(f"Warning: nothing here serves {', '.join(strangers)} yet.")
    if made.row.mode == "test":
        return remarks
    rate = fx.current(session)
    if rate.source == fx.SHIPPED:
        remarks.append(
            f"Warning: the exchange rate is the shipped one of {fx.SHIPPED_DATE}, "
            f"{format_amount(rate.aud_per_usd_nanos)} AUD per USD; set yours with `flask fx set`."
        )
    if payer.account.balance_nanos <= 0:
        remarks.append(f"{payer.label} has no money yet: see `flask topup`.")
    return remarks


def _unserved(session: Session, row: ApiKey) -> list[str]:
    """The key's models that it cannot call now, perhaps because of a typo."""
    if row.models is None:
        return []
    catalog = routes.load(session)
    if row.mode == "live":
        return [name for name in row.models if catalog.offered(name) is None]
    return [name for name in row.models if not (name in SCENARIO_MODELS or catalog.known(name))]


def _the_one(found: Sequence[ApiKey], text: str) -> ApiKey:
    if not found:
        raise ValueError(
            "ID_OR_PREFIX: no key has it; give an id (key_…) or at least 12 first characters "
            "of a key, see `flask key list`"
        )
    if len(found) > 1:
        listed = ", ".join(row.id for row in found)
        raise ValueError(f"ID_OR_PREFIX: {text!r} fits several keys: give one of the ids {listed}")
    return found[0]


def _owners(session: Session) -> dict[str, str]:
    """Every account's id and how it is written as ACCOUNT."""
    owners = {user.account_id: user.email for user in session.scalars(select(User))}
    return owners | {team.account_id: f"team:{team.name}" for team in session.scalars(select(Team))}


def _as_json(
    row: ApiKey, spending: KeySpending, owners: dict[str, str], emails: dict[str, str]
) -> dict[str, object]:
    return {
        "id": row.id,
        "hint": keys.hint(row),
        "name": row.name,
        "mode": row.mode,
        "account": owners.get(row.account_id or ""),
        "user": emails.get(row.user_id or ""),
        "status": keys.status(row, spending.spent_nanos),
        "limit": amount(row.limit_nanos),
        "window": row.limit_window,
        "spent": amount(spending.spent_nanos),
        "held": amount(spending.held_nanos),
        "models": row.models,
        "rpm": row.calls_per_minute,
        "tpm": row.tokens_per_minute,
        "concurrency": row.concurrent_calls,
        "addresses": row.allowed_addresses,
        "created_at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
        "revoked_at": moment(row.revoked_at),
        "last_used_at": moment(row.last_used_at),
    }


def _cells(row: ApiKey, data: dict[str, object]) -> list[str]:
    columns = ("id", "hint", "name", "account", "user", "status", "spent")
    cells = [str(data[column] or "-") for column in columns]
    limit = limit_of(row.limit_nanos, row.limit_window)
    return [*cells, limit, shown(moment(row.expires_at)), shown(moment(row.last_used_at))]
