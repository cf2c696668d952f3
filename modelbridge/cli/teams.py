"""`flask team …`: groups with a shared balance."""

import click

from modelbridge.cli.common import Group, find_team, find_user, note, transaction
from modelbridge.identity import permissions, preferences, teams
from modelbridge.ledger.accounts import open_account


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
    """Put EMAIL into the team NAME with that role, or change the role that they have."""
    with transaction() as session:
        group, person = find_team(session, name), find_user(session, email)
        member = teams.add_member(session, group, person, role)
        note(
            session, "team.add_member", "team", group.id, group.name, member=person.email, role=role
        )
    click.echo(f"{person.email} is {member.role} of team:{group.name}.")
