"""`flask fx …`: the exchange rate."""

import click

from modelbridge.catalog.fx import set_rate
from modelbridge.cli.common import Group, note, transaction
from modelbridge.money import format_amount, parse_amount


@click.group("fx", cls=Group)
def fx() -> None:
    """The rate at which prices in USD become amounts in AUD."""


@fx.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("aud_per_usd")
def set_fx(aud_per_usd: str) -> None:
    """From the next call on, a US dollar costs AUD_PER_USD Australian dollars."""
    rate_nanos = parse_amount(aud_per_usd, what="AUD_PER_USD")
    if rate_nanos <= 0:
        raise ValueError(f"AUD_PER_USD: a rate is more than 0, not {aud_per_usd}")
    with transaction() as session:
        kept = set_rate(session, rate_nanos)
        subject = f"{format_amount(rate_nanos)} AUD per USD"
        note(session, "fx.set", "fx", str(kept.version), subject)
    click.echo(f"1 USD is {format_amount(kept.aud_per_usd_nanos)} AUD from the next call on.")
