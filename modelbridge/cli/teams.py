"""`flask team …`: groups with a shared balance."""

import click
from sqlalchemy.orm import Session

from modelbridge.cli.common import Group, find_team, find_user, note, transaction
from modelbridge.identity import keys, permissions, preferences, teams
from modelbridge.ledger.accounts import open_account
from modelbridge.store.tables import Membership


@click.group("team", cls=Group)
def team() -> None:
    """Teams, whose members share a balance."""


@team.command("create")
@click.argument("name")
@click.option("--owner", metavar="EMAIL", required=True, help="Who may do everything in it.")
def create(name: str, owner: str) -> None:
    """Make the team NAME; as an ACCOUNT it is written team:NAME."""
    with transaction() as session:
        zone = preferences.default_time_zone(session)
        made = teams.create_team(
            session,
            name=name,
            owner=find_user(session, owner),
            account_id=open_account(session, "team", zone).id,
        )
        note(session, "team.create", "team", made.id, made.name, owner=owner)
    click.echo(f"Made team:{made.name}.")


@team.command("add")
@click.argument("name")
@click.argument("email")
@click.option(
    "--role", type=click.Choice(permissions.ROLES), required=True, help="What they may do."
)
def add(name: str, email: str, role: str) -> None:
    """Put EMAIL into the team NAME with that role, or change the role that they have.

    A viewer has no keys: those that EMAIL made for the team are revoked.
    """
    with transaction() as session:
        group, person = find_team(session, name), find_user(session, email)
        member = teams.add_member(session, group, person, role)
        revoked = (
            [] if permissions.allowed(role, permissions.KEYS_OWN) else _revoke(session, member)
        )
        note(
            session, "team.add_member", "team", group.id, group.name, member=person.email, role=role
        )
    click.echo(f"{person.email} is {member.role} of team:{group.name}.")
    for hint in revoked:
        click.echo(f"Revoked their team key {hint}.")


def _revoke(session: Session, member: Membership) -> list[str]:
    """The keys that the member made for the team are revoked; says what each looks like."""
    held = keys.keys_held_in_team(session, member)
    for key in held:
        keys.revoke(session, key)
        note(session, "key.revoke", "key", key.id, key.name)
    return [keys.hint(key) for key in held]
