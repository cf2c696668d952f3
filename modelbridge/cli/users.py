"""`flask user …`: people."""

import click

from modelbridge.cli.common import Group, bridge, find_user, note, read_secret, transaction
from modelbridge.cli.output import amount, hint, moment, shown, table
from modelbridge.identity import keys, links, passwords, preferences, second_step, sessions, users
from modelbridge.ledger.accounts import open_account
from modelbridge.store.tables import User

FIRST_LINK_HOURS = 72
RESET_LINK_HOURS = 24


@click.group("user", cls=Group)
def user() -> None:
    """People, who log in and have keys."""


@user.command("create")
@click.argument("email")
@click.option("--admin", is_flag=True, help="An administrator of this bridge.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
def create(email: str, admin: bool, password_stdin: bool) -> None:
    """Add the person with the address EMAIL.

    Without a password, prints a link that works once, for them to choose one.
    """
    password_hash = _read_password(users.clean_email(email)) if password_stdin else None
    with transaction() as session:
        zone = preferences.default_time_zone(session)
        made = users.create_user(
            session,
            email=email,
            is_admin=admin,
            account_id=open_account(session, "user", zone).id,
            password_hash=password_hash,
        )
        note(session, "user.create", "user", made.id, made.email, administrator=admin)
        adopted = keys.adopt_orphan_keys(session, made) if admin else []
        for key in adopted:
            subject = f"{key.name} ({key.prefix}…)"
            note(session, "key.transfer", "key", key.id, subject, to=made.email)
        token = (
            None if password_hash else links.new_link(session, "reset", made.id, FIRST_LINK_HOURS)
        )
    hint(f"Made {'the administrator' if admin else 'the user'} {made.email}.")
    if adopted:
        hint("The test key of the first start is theirs now.")
    if token is not None:
        hint(f"They choose a password with this link, once, within {FIRST_LINK_HOURS} hours:")
        click.echo(_link(token))


@user.command("list")
def list_users() -> None:
    """Everybody, with their balances."""
    with bridge().database.reading() as session:
        table(
            ("EMAIL", "NAME", "ADMIN", "STATE", "BALANCE AUD", "CREATED", "ID"),
            [_row(found) for found in users.list_users(session)],
        )


@user.command("reset")
@click.argument("email")
@click.option("--second-step", "without_codes", is_flag=True, help="Turn their second step off.")
def reset(email: str, without_codes: bool) -> None:
    """Print a link with which EMAIL can choose a new password, once.

    The second step of the login stays as it is, unless --second-step turns it off.
    """
    with transaction() as session:
        found = find_user(session, email)
        was_on = second_step.is_on(found)
        if without_codes and second_step.turn_off(session, found):
            sessions.end_all(session, found.id)
            note(session, "user.second_step_off", "user", found.id, found.email)
        token = links.new_link(session, "reset", found.id, RESET_LINK_HOURS)
        note(session, "user.link", "user", found.id, found.email)
    hint(
        f"{found.email} chooses a new password with this link, once, "
        f"within {RESET_LINK_HOURS} hours:"
    )
    if was_on and without_codes:
        hint("Their second step is off, and they are logged out: the password alone logs in.")
    elif was_on:
        hint(
            "Their second step stays on: they need a code or a recovery code too. If they lost "
            "both, run this again with --second-step."
        )
    elif without_codes:
        hint("They had no second step.")
    click.echo(_link(token))


def _link(token: str) -> str:
    return f"{bridge().settings.public_url}/reset/{token}"


def _read_password(address: str) -> str:
    """The hash of the password on standard input. Raises ValueError for one too easy to guess."""
    password = read_secret(f"Password for {address}")
    passwords.check_new_password(password, (address,))
    return passwords.hash_password(password)


def _row(found: User) -> tuple[str, ...]:
    state = "active" if found.password_hash else "no password yet"
    return (
        found.email,
        shown(found.name),
        "yes" if found.is_admin else "no",
        state if found.disabled_at is None else "disabled",
        shown(amount(found.account.balance_nanos)),
        shown(moment(found.created_at)),
        found.id,
    )
