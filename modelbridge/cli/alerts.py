"""`flask alerts …`: who is told of what wants attention."""

from typing import Protocol, cast

import click
from flask import current_app

from modelbridge.cli.common import Group, bridge, note, read_secret, transaction
from modelbridge.cli.output import as_json, hint, moment, table
from modelbridge.operations.alerts import book, settings


class _Alerts(Protocol):
    """The part of the factory's alerts that is used here."""

    def test(self) -> list[str]: ...


@click.group("alerts", cls=Group)
def alerts() -> None:
    """What wants attention, and who is told of it."""


@alerts.command("list")
def list_alerts() -> None:
    """What wants attention now."""
    with bridge().database.reading() as session:
        found = book.open_alerts(session)
    rows = [(one.kind, one.subject, moment(one.raised_at) or "", one.next_step) for one in found]
    table(("KIND", "WHAT", "SINCE", "WHAT TO DO"), rows)


@alerts.command("show")
def show() -> None:
    """Who is told, and from when on, as JSON."""
    with bridge().database.reading() as session:
        as_json(settings.shown(settings.load(session)))


@alerts.command("set")
@click.option("--email", "emails", metavar="EMAIL", multiple=True, help="Repeat it for several.")
@click.option("--no-email", is_flag=True, help="Mail goes to every administrator again.")
@click.option("--webhook", metavar="URL|none", help="What is sent each alert.")
@click.option("--webhook-secret-stdin", is_flag=True, help="Read the webhook's secret there.")
@click.option("--low-balance", metavar="AUD", help="Tell of accounts with no more than this.")
@click.option("--key-percent", metavar="N", type=int, help="Of its limit that a key has spent.")
@click.option("--expiry-days", metavar="N", type=int, help="Before a key expires.")
def change(
    emails: tuple[str, ...],
    no_email: bool,
    webhook: str | None,
    webhook_secret_stdin: bool,
    low_balance: str | None,
    key_percent: int | None,
    expiry_days: int | None,
) -> None:
    """Change what is given; the rest stays. The webhook may be http and private here."""
    if emails and no_email:
        raise click.UsageError("give --email or --no-email, not both")
    secret = read_secret("The webhook's secret") if webhook_secret_stdin else None
    with transaction() as session:
        now = settings.load(session)
        made = settings.save(
            session,
            bridge().settings.master_key,
            emails=emails or (() if no_email else now.emails),
            webhook_url=_url(webhook, now.webhook_url),
            webhook_private=now.webhook_private if webhook is None else True,
            webhook_secret=secret,
            low_balance=now.low_balance if low_balance is None else low_balance,
            key_percent=now.key_percent if key_percent is None else key_percent,
            expiry_days=now.expiry_days if expiry_days is None else expiry_days,
        )
        note(
            session, "alerts.change", "setting", "alerts", "alerts",
            before=settings.shown(now), now=settings.shown(made), secret_changed=bool(secret),
        )  # fmt: skip
    click.echo("Changed. `flask alerts test` shows whether they arrive.")


def _url(given: str | None, before: str) -> str:
    if given is None:
        return before
    return "" if given == "none" else given


@alerts.command("test")
@click.pass_context
def test(context: click.Context) -> None:
    """Send a test alert by every way that is set; exit status 1 if one failed."""
    clock = cast(_Alerts, current_app.extensions["modelbridge"].alerts)
    told = clock.test()
    with transaction() as session:
        note(session, "alerts.test", "setting", "alerts", "alerts", told=told)
    for words in told:
        click.echo(words)
    if not told:
        hint("There is no way to tell anybody: set MODELBRIDGE_SMTP_HOST, or --webhook.")
    if not told or not all(words.endswith(": sent.") for words in told):
        context.exit(1)
