"""`flask books …`: the audit of the money."""

import click

from modelbridge.cli.common import Group, bridge
from modelbridge.cli.output import as_json, hint
from modelbridge.ledger.audit import check_books


@click.group("books", cls=Group)
def books() -> None:
    """The audit of the money."""


@books.command("check")
@click.option("--json", "json_wanted", is_flag=True, help="As JSON.")
@click.pass_context
def check(context: click.Context, json_wanted: bool) -> None:
    """Check that the books add up; exit status 1 if they don't."""
    with bridge().database.reading() as session:
        report = check_books(session)
    if json_wanted:
        as_json({"ok": report.ok, "problems": report.problems, "counts": report.counts})
    else:
        for problem in report.problems:
            hint(f"Problem: {problem}")
        counted = ", ".join(f"{number} {what}" for what, number in report.counts.items())
        verdict = "add up" if report.ok else "do NOT add up"
        click.echo(f"The books {verdict}: {counted.replace('_', ' ')}.")
    if not report.ok:
        context.exit(1)
