"""`python app.py` serves ModelBridge; the `flask` command finds the app, and its commands, here."""

import logging
import sys

from modelbridge import heap

if __name__ == "__main__":
    heap.begin_anew()  # before anything large is imported: that would be for nothing

import click
from flask import Flask

from modelbridge import factory
from modelbridge.config import SettingsError
from modelbridge.operations import logs


def create_app() -> Flask:
    """The app, for the `flask` command: a bad setting is one line on standard error."""
    logs.set_up("text", logging.WARNING)
    try:
        return factory.create_app()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    from modelbridge.server import main

    sys.exit(main())
