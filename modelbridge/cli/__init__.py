"""The `flask …` commands: one module per noun, imported when one of its commands is named."""

import importlib

import click
from flask import Flask
from flask.cli import AppGroup

_COMMANDS = {
    "account": "modelbridge.cli.accounts:account",
    "alerts": "modelbridge.cli.alerts:alerts",
    "backup": "modelbridge.cli.backup:backup_command",
    "books": "modelbridge.cli.books:books_group",
    "credentials": "modelbridge.cli.credentials:credentials",
    "doctor": "modelbridge.cli.doctor:doctor",
    "fx": "modelbridge.cli.fx:fx",
    "key": "modelbridge.cli.keys:key",
    "model": "modelbridge.cli.models:model",
    "restore": "modelbridge.cli.restore:restore_command",
    "team": "modelbridge.cli.teams:team",
    "topup": "modelbridge.cli.accounts:topup",
    "upstream": "modelbridge.cli.upstreams:upstream",
    "user": "modelbridge.cli.users:user",
}


def init_app(app: Flask) -> None:
    """`flask` finds our commands in `app`, beside those that were registered before."""
    ours = _LazyCommands(app.name)
    ours.commands.update(app.cli.commands)
    app.cli = ours


class _LazyCommands(AppGroup):
    """Imports a noun's module with the first of its commands, so that each starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101  what the table above names
        return command
