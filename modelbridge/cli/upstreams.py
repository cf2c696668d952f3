"""`flask upstream …`: the providers' instances that calls go to, and their credentials."""

import click

from modelbridge.catalog import admin
from modelbridge.catalog.providers import PROVIDERS, Provider
from modelbridge.cli.common import (
    Group,
    ask_credential,
    bridge,
    note,
    read_credential,
    transaction,
)
from modelbridge.cli.output import hint, moment, shown, table
from modelbridge.upstream import addresses, credentials


@click.group("upstream", cls=Group)
def upstream() -> None:
    """Upstreams: a provider's instance and our credential for it."""


@upstream.command("add")
@click.argument("name")
@click.option("--provider", "row", metavar="ROW", required=True, help="One of the known providers.")
@click.option("--base-url", metavar="URL", help="As the provider's own SDK takes it.")
@click.option("--api-key-stdin", is_flag=True, help="Read the API key from standard input.")
@click.option("--api-key-env", metavar="VAR", help="Take the API key from this variable.")
def add(
    name: str, row: str, base_url: str | None, api_key_stdin: bool, api_key_env: str | None
) -> None:
    """Add the upstream NAME. Nothing is sent to it now."""
    provider = _provider(row)
    address = _address(provider, base_url)
    secret = read_credential(api_key_stdin, api_key_env)
    master_key = bridge().settings.master_key

    def sealed(upstream_id: str) -> str | None:
        return None if secret is None else credentials.seal(master_key, upstream_id, secret)

    with transaction() as session:
        made = admin.add_upstream(
            session,
            name=name,
            provider=row,
            base_url=address,
            allow_private=True,
            sealed_credential=sealed,
        )
        note(
            session, "upstream.add", "upstream", made.id, made.name,
            provider=made.provider, base_url=made.base_url, allow_private=True,
        )  # fmt: skip
    click.echo(f"Added {made.name}: {provider.title} at {made.base_url}.")
    if secret is None and provider.auth != "none":
        hint(f"It has no API key. If it wants one: `flask upstream set-key {made.name}`.")


@upstream.command("list")
def list_upstreams() -> None:
    """Every upstream; API keys are not shown."""
    with bridge().database.reading() as session:
        rows = [
            (
                found.name,
                found.provider,
                found.base_url,
                "set" if found.credential else "none",
                shown(moment(found.created_at)),
                "allowed" if found.allow_private else "refused",
            )
            for found in admin.list_upstreams(session)
        ]
    table(("NAME", "PROVIDER", "BASE URL", "API KEY", "ADDED", "PRIVATE ADDRESSES"), rows)


@upstream.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Remove the upstream NAME and its API key."""
    with transaction() as session:
        gone = admin.find_upstream(session, name)
        admin.remove_upstream(session, name)
        note(session, "upstream.remove", "upstream", gone.id if gone else "", name)
    click.echo(f"Removed {name}.")


@upstream.command("set-key")
@click.argument("name")
@click.option("--api-key-stdin", is_flag=True, help="Read the API key from standard input.")
@click.option("--api-key-env", metavar="VAR", help="Take the API key from this variable.")
def set_key(name: str, api_key_stdin: bool, api_key_env: str | None) -> None:
    """Replace the API key of the upstream NAME; asks for it when no option says where it is."""
    secret = read_credential(api_key_stdin, api_key_env) or ask_credential()
    if secret is None:
        raise click.UsageError("say where the API key is: --api-key-stdin or --api-key-env VAR")
    master_key = bridge().settings.master_key
    with transaction() as session:
        found = admin.find_upstream(session, name)
        if found is None:
            raise ValueError(f"NAME: there is no upstream {name!r}; see `flask upstream list`")
        admin.set_credential(session, name, credentials.seal(master_key, found.id, secret))
        note(session, "upstream.credential", "upstream", found.id, name)
    click.echo(f"{name} uses the new API key from its next call on.")


@upstream.command("on-hang-up")
@click.argument("name")
@click.argument("what", type=click.Choice(admin.ON_HANG_UP))
def on_hang_up(name: str, what: str) -> None:
    """When a client leaves in mid-stream: drain the answer, close the connection, or auto.

    auto closes only where the provider then stops billing, and drains everywhere else.
    """
    with transaction() as session:
        row = admin.set_on_hang_up(session, name, what)
        note(session, "upstream.on_hang_up", "upstream", row.id, name, what=what)
    click.echo(f"{name}: {what}, from the next call on.")


@upstream.command("private-addresses")
@click.argument("name")
@click.argument("what", type=click.Choice(("allow", "refuse")))
def private_addresses(name: str, what: str) -> None:
    """Whether the upstream NAME may be at an address of this machine or a private network.

    What is added here may; what is added in the browser needs a tick for it.
    """
    allowed = what == "allow"
    with transaction() as session:
        row = admin.find_upstream(session, name)
        if row is not None and not allowed:
            addresses.check_base_url(row.base_url, allow_private=False)
        row = admin.set_allow_private(session, name, allowed)
        note(session, "upstream.private_addresses", "upstream", row.id, name, allowed=allowed)
    click.echo(f"{name}: private addresses are {what}{'ed' if allowed else 'd'}.")


def _provider(row: str) -> Provider:
    if row not in PROVIDERS:
        raise ValueError(
            f"--provider: there is no row {row!r}; known are {', '.join(sorted(PROVIDERS))}"
        )
    return PROVIDERS[row]


def _address(provider: Provider, base_url: str | None) -> str | None:
    """The address to keep; None: the provider's own. Raises ValueError."""
    if base_url is not None:
        return addresses.check_base_url(base_url, allow_private=True)
    if provider.base_url is None:
        raise ValueError(f"--base-url: {provider.title} has no address of its own; name one")
    return None
