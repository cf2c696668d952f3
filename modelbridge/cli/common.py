"""What every command shares: the way to the database, ACCOUNT, amounts, secrets, errors."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from modelbridge.config import Settings
from modelbridge.errors import BridgeError
from modelbridge.identity import auditlog, teams, users
from modelbridge.money import parse_amount
from modelbridge.store.database import Database
from modelbridge.store.migrate import SchemaError
from modelbridge.store.tables import Account, Team, User


class Bridge(Protocol):
    """What the commands use of the application; the factory makes it."""

    settings: Settings
    database: Database


class Command(click.Command):
    """A command whose refusals are one line on standard error and exit status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it. What the floors below raise for bad input becomes a click.ClickException."""
        try:
            return super().invoke(ctx)
        except UnicodeEncodeError:
            raise click.ClickException("an argument is not valid UTF-8; type it again") from None
        except (ValueError, BridgeError, SchemaError) as error:
            raise click.ClickException(str(error)) from error
        except OperationalError as error:
            raise click.ClickException(f"the database said: {error.orig}; try again") from error


class Group(AppGroup):
    """A noun: its verbs are `Command`s."""

    command_class = Command


@dataclass(frozen=True, slots=True)
class Payer:
    """An account and whose it is: exactly one of `user` and `team` is set."""

    label: str
    account: Account
    user: User | None = None
    team: Team | None = None


def bridge() -> Bridge:
    """The application's parts."""
    return cast(Bridge, current_app.extensions["modelbridge"])


@contextmanager
def transaction() -> Iterator[Session]:
    """A session that commits on normal exit; any exception undoes everything."""
    with bridge().database.transaction() as session:
        yield session


def note(
    session: Session, action: str, kind: str, subject_id: str, subject: str, **details: Any
) -> None:
    """The audit log tells that the command line did this, if the transaction commits."""
    auditlog.record(
        session,
        actor=None,
        action=action,
        subject_kind=kind,
        subject_id=subject_id,
        subject=subject,
        details=details or None,
    )


def find_user(session: Session, email: str) -> User:
    """The person with that e-mail address. Raises ValueError."""
    found = users.find_user(session, email)
    if found is None:
        raise ValueError(
            f"there is no user {email!r}; see `flask user list`, or make one with "
            "`flask user create`"
        )
    return found


def find_team(session: Session, name: str) -> Team:
    """The team of that name. Raises ValueError."""
    found = teams.find_team(session, name)
    if found is None:
        raise ValueError(f"there is no team {name!r}; make it with `flask team create`")
    return found


def find_payer(session: Session, text: str) -> Payer:
    """The account that ACCOUNT names: EMAIL or team:NAME. Raises ValueError."""
    if text.startswith("team:"):
        team = find_team(session, text.removeprefix("team:"))
        return Payer(f"team:{team.name}", team.account, team=team)
    if "@" not in text:
        raise ValueError(f"ACCOUNT: write an e-mail address or team:NAME, not {text!r}")
    user = find_user(session, text)
    return Payer(user.email, user.account, user=user)


def read_limit(text: str | None, what: str) -> int | None:
    """nano-AUD of a spending limit; None for None and "none". Raises ValueError naming `what`."""
    if text is None or text == "none":
        return None
    nanos = parse_amount(text, what=what)
    if nanos < 0:
        raise ValueError(f"{what}: a limit cannot be negative; 0 allows nothing")
    return nanos


def read_credential(from_stdin: bool, variable: str | None) -> str | None:
    """A provider's credential from where the operator said, stripped; None: they said nowhere.

    Raises ValueError when it is empty, or a key of ours, which no provider knows.
    """
    if from_stdin and variable:
        raise click.UsageError("give --api-key-stdin or --api-key-env, not both")
    if variable:
        if variable not in os.environ:
            raise ValueError(f"--api-key-env: the variable {variable} is not set")
        source, text = f"the variable {variable}", os.environ[variable]
    elif from_stdin:
        source, text = "standard input", read_secret("The provider's API key")
    else:
        return None
    return _checked_credential(text.strip(), source)


def ask_credential() -> str | None:
    """A credential typed at the terminal, unseen; None when nobody is there to ask."""
    if not _interactive():
        return None
    return _checked_credential(read_secret("The provider's API key").strip(), "what you typed")


def read_secret(prompt: str) -> str:
    """What standard input holds, without its last line end; typed unseen at a terminal."""
    if _interactive():
        return str(click.prompt(prompt, hide_input=True, err=True))
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def _interactive() -> bool:
    return sys.stdin.isatty()


def _checked_credential(text: str, source: str) -> str:
    if not text:
        raise ValueError(f"the API key: {source} is empty")
    if text.startswith("mb_"):
        raise ValueError(
            f"the API key: {source} has a key of ModelBridge itself (mb_…); "
            "give the one that the provider issued"
        )
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError(f"the API key: {source} has more than one word, or odd characters")
    return text
