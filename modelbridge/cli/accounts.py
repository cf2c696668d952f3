"""`flask topup` and `flask account …`: money."""

import click
from flask.cli import with_appcontext
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.cli.common import (
    Command,
    Group,
    bridge,
    find_payer,
    note,
    read_limit,
    transaction,
)
from modelbridge.cli.output import amount, as_json, hint, limit_of
from modelbridge.identity.keys import WINDOWS
from modelbridge.ledger.accounts import AccountView, account_view
from modelbridge.ledger.limits import set_account_limit
from modelbridge.ledger.postings import top_up
from modelbridge.money import format_amount, parse_amount
from modelbridge.store.tables import BalanceTransaction

# An amount may begin with a minus: it is refused in words, not as an unknown option.
_NEGATIVE_NUMBERS = {"ignore_unknown_options": True}


@click.command("topup", cls=Command, context_settings=_NEGATIVE_NUMBERS)
@click.argument("account")
@click.argument("credit", metavar="AMOUNT")
@click.option(
    "--reference", metavar="TEXT", help="The payment's own id: used twice, it is one credit."
)
@with_appcontext
def topup(account: str, credit: str, reference: str | None) -> None:
    """Credit ACCOUNT (EMAIL or team:NAME) with AMOUNT, in AUD, and print the new balance."""
    amount_nanos = parse_amount(credit, what="AMOUNT")
    if amount_nanos <= 0:
        raise ValueError(f"AMOUNT: a top-up is more than 0 AUD, not {credit}")
    if reference is not None and not reference.strip():
        raise ValueError("--reference: is empty; name the payment, or leave the option out")
    with transaction() as session:
        payer = find_payer(session, account)
        repeated = _is_known(session, reference)
        top_up(session, payer.account.id, amount_nanos, reference=reference)
        if not repeated:
            shown = format_amount(amount_nanos)
            note(
                session, "account.top_up", "account", payer.account.id, payer.label,
                amount=shown, reference=reference,
            )  # fmt: skip
        view = account_view(session, payer.account.id)
    if repeated:
        hint(f"The reference {reference!r} was credited before: nothing was added this time.")
    click.echo(f"The balance of {payer.label} is {format_amount(view.balance_nanos)} AUD.")


@click.group("account", cls=Group)
def account() -> None:
    """Balances, and the spending limits of whole accounts."""


@account.command("show")
@click.argument("account")
@click.option("--json", "json_wanted", is_flag=True, help="As JSON, amounts as decimal strings.")
def show(account: str, json_wanted: bool) -> None:
    """Print what ACCOUNT (EMAIL or team:NAME) has, holds and may spend, in AUD."""
    with bridge().database.reading() as session:
        payer = find_payer(session, account)
        view = account_view(session, payer.account.id)
    if json_wanted:
        as_json(_as_json(payer.label, view))
    else:
        _print(payer.label, view)


@account.command("limit", context_settings=_NEGATIVE_NUMBERS)
@click.argument("account")
@click.argument("limit", metavar="AMOUNT|none")
@click.option("--window", type=click.Choice(WINDOWS[1:]), help="The limit is for each of these.")
def set_limit(account: str, limit: str, window: str | None) -> None:
    """Let ACCOUNT (EMAIL or team:NAME) spend AMOUNT AUD at most, whatever its balance."""
    limit_nanos = read_limit(limit, "AMOUNT")
    if window is not None and limit_nanos is None:
        raise click.UsageError("--window means nothing without a limit")
    with transaction() as session:
        payer = find_payer(session, account)
        set_account_limit(session, payer.account.id, limit_nanos, window or "none")
        shown = limit_of(limit_nanos, window or "none")
        note(session, "account.limit", "account", payer.account.id, payer.label, limit=shown)
    click.echo(f"The spending limit of {payer.label}: {shown}.")


def _is_known(session: Session, reference: str | None) -> bool:
    if reference is None:
        return False
    known = select(BalanceTransaction.id).where(BalanceTransaction.reference == reference)
    return session.scalar(known) is not None


def _as_json(label: str, view: AccountView) -> dict[str, str | None]:
    return {
        "account": label,
        "balance": amount(view.balance_nanos),
        "held": amount(view.held_nanos),
        "available": amount(view.available_nanos),
        "limit": amount(view.limit_nanos),
        "window": view.limit_window,
        "spent": amount(view.spent_nanos),
        "time_zone": view.time_zone,
    }


def _print(label: str, view: AccountView) -> None:
    since = "" if view.limit_window == "none" else f" this {view.limit_window}"
    click.echo(
        f"Account    {label}\n"
        f"Balance    {format_amount(view.balance_nanos)} AUD\n"
        f"Held       {format_amount(view.held_nanos)} AUD\n"
        f"Available  {format_amount(view.available_nanos)} AUD\n"
        f"Limit      {limit_of(view.limit_nanos, view.limit_window)}\n"
        f"Spent      {format_amount(view.spent_nanos)} AUD{since}"
    )
