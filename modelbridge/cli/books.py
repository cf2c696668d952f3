"""`flask books …`: the audit of the money."""

import click
from sqlalchemy.exc import SQLAlchemyError

from modelbridge.cli.common import Group, bridge, note, transaction
from modelbridge.cli.output import as_json, hint
from modelbridge.errors import BridgeError
from modelbridge.gateway import books


@click.group("books", cls=Group)
def books_group() -> None:
    """The audit of the money."""


@books_group.command("check")
@click.option("--json", "json_wanted", is_flag=True, help="As JSON.")
@click.pass_context
def check(context: click.Context, json_wanted: bool) -> None:
    """Check that the books add up; exit status 1 if they don't.

    The running bridge goes by what was found, if it can be kept.
    """
    report = books.audit(bridge().database)
    problems, counts, check_id = list(report.problems), dict(report.counts), report.id
    try:
        books.keep(bridge().database, report)
        with transaction() as session:
            note(session, "books.check", "books", check_id, "The books", ok=not problems)
    except (BridgeError, SQLAlchemyError):
        hint("What was found could not be kept: the database cannot be written.")
    if json_wanted:
        as_json({"ok": not problems, "problems": problems, "counts": counts})
    else:
        for problem in problems:
            hint(f"Problem: {problem}")
        counted = ", ".join(f"{number} {what}" for what, number in counts.items())
        verdict = "add up" if not problems else "do NOT add up"
        click.echo(f"The books {verdict}: {counted.replace('_', ' ')}.")
    if problems:
        context.exit(1)
