"""`flask backup`: a copy of the database."""

from pathlib import Path

import click
from flask.cli import with_appcontext

from modelbridge.cli.common import Command, bridge
from modelbridge.cli.output import hint
from modelbridge.store.backup import BackupError, backup


@click.command("backup", cls=Command)
@click.argument("path", type=click.Path(path_type=Path))
@with_appcontext
def backup_command(path: Path) -> None:
    """Copy the database to PATH, whole and verified, while the bridge runs.

    Master and secret keys are not in it: keep them apart. An existing file is not overwritten.
    """
    settings = bridge().settings
    try:
        backup(settings.database_path, path)
    except (BackupError, OSError) as error:
        raise click.ClickException(f"PATH: {error}") from error
    click.echo(f"The database was copied to {path}.")
    hint(_about_master_key(settings.master_key_beside_data, settings.data_dir))


def _about_master_key(beside: bool, data_dir: Path) -> str:
    where = f", {data_dir / 'master.key'}," if beside else ""
    return f"The credentials in it are sealed: keep the master key{where} somewhere else too."
