"""`flask restore`: a backup takes the place of the database."""

from pathlib import Path

import click
from flask.cli import with_appcontext

from modelbridge.cli.common import Command, bridge
from modelbridge.cli.output import hint
from modelbridge.operations.restore import RestoreError, restore
from modelbridge.operations.revived import Revived


@click.command("restore", cls=Command)
@click.argument("path", type=click.Path(path_type=Path))
@with_appcontext
def restore_command(path: Path) -> None:
    """Put the backup PATH in the place of the database, once it is verified.

    The bridge must be stopped. The database that was there is kept beside it.
    """
    try:
        done = restore(bridge().settings, path)
    except (RestoreError, OSError) as error:
        raise click.ClickException(f"PATH: {error}") from error
    newest = f"{done.newest_call:%Y-%m-%d %H:%M:%S UTC}" if done.newest_call else "none"
    click.echo(f"Restored {path}: sound, and its books add up. Its newest call: {newest}.")
    if done.replaced:
        hint(f"What was there before is {done.replaced}; remove it once all is well.")
    if done.calls_lost:
        hint(f"{done.calls_lost} calls that were made after the backup are only in that file.")
    elif done.calls_lost is None:
        hint("The old file cannot be read, so nobody can say which calls are missing.")
    _tell(done.revived)
    hint(
        "Everybody has to log in again, with the password that they had at the time of the backup."
    )


def _tell(revived: Revived) -> None:
    """What the backup lets in again, and how to shut it out."""
    for key_id in revived.revoked:
        hint(f"A key that was revoked after the backup works again: flask key revoke {key_id}")
    for key_id in revived.rotated:
        hint(
            "A key that was rotated after the backup works with its earlier secret, and not with "
            f"its new one: rotate it again, or flask key revoke {key_id}"
        )
    for email in revived.disabled:
        hint(
            f"{email} was disabled after the backup, and is not any more: disable them under "
            "Administration, Users."
        )
