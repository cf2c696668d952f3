"""`flask doctor`: what is wrong with this installation, and how to mend it."""

import http.client
from collections.abc import Iterator
from typing import Protocol, cast
from urllib.parse import urlsplit

import click
from flask import current_app
from flask.cli import with_appcontext

from modelbridge.catalog import admin, routes
from modelbridge.cli.common import Command, bridge
from modelbridge.config import Settings
from modelbridge.gateway.services import Gateway
from modelbridge.operations import doctor as examination
from modelbridge.operations.doctor import Finding
from modelbridge.store.database import usable
from modelbridge.store.migrate import SchemaError
from modelbridge.upstream.probe import probe

_MARKS = {"good": "ok  ", "advice": "note", "bad": "BAD "}
_SECONDS = 5.0


class _WithGateway(Protocol):
    """The part of the factory's bridge that calls upstreams."""

    gateway: Gateway


@click.command("doctor", cls=Command)
@click.option("--upstreams", is_flag=True, help="Ask every upstream for its list of models, once.")
@click.option("--mail", "mail_wanted", is_flag=True, help="Connect to the mail server.")
@click.pass_context
@with_appcontext
def doctor(context: click.Context, upstreams: bool, mail_wanted: bool) -> None:
    """Say what is wrong here and how to mend it; exit status 1 if anything is."""
    settings = bridge().settings
    bad = 0
    for finding in _findings(settings, upstreams, mail_wanted):
        bad += finding.state == "bad"
        click.echo(f"{_MARKS[finding.state]}  {finding.what}")
        if finding.mend:
            click.echo(f"      {finding.mend}")
    click.echo("Nothing is wrong." if not bad else f"To be mended: {bad}.")
    if bad:
        context.exit(1)


def _findings(settings: Settings, upstreams: bool, mail_wanted: bool) -> Iterator[Finding]:
    yield from examination.examine_files(settings)
    try:
        with usable(settings.database_path), bridge().database.reading() as session:
            found = list(examination.examine_data(settings, session))
    except SchemaError as error:
        yield Finding("bad", f"database: {error}")
        return
    yield from found
    yield _answers(settings)
    if mail_wanted:
        yield examination.examine_mail(settings)
    if upstreams:
        yield from _upstreams()


def _answers(settings: Settings) -> Finding:
    """Whether the public address leads to this bridge, and its proxy passes the host on."""
    parts = urlsplit(settings.public_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(65_536)
    except (OSError, http.client.HTTPException) as error:
        return Finding(
            "advice",
            f"{settings.public_url} does not answer from here ({error})",
            "Is the bridge running, and the proxy in front of it?",
        )
    finally:
        connection.close()
    if answer.status == 200 and b"ready" in body:
        return Finding("good", f"{settings.public_url} answers, and takes calls")
    if b"reasons" in body:
        return Finding(
            "bad", f"{settings.public_url}/readyz: {body.decode(errors='replace')}", "See above."
        )
    return Finding(
        "bad",
        f"{settings.public_url}/readyz answers with status {answer.status}, not with the bridge",
        "Does the proxy pass this host on, with its Host header? See docs/deployment.md.",
    )


def _upstreams() -> Iterator[Finding]:
    gateway = cast(_WithGateway, current_app.extensions["modelbridge"]).gateway
    with bridge().database.reading() as session:
        rows = admin.list_upstreams(session)
    for row in rows:
        target = routes.target_of(row)
        if target is None:
            yield Finding(
                "bad",
                f"upstream {row.name}: this release does not know the provider {row.provider}",
                "Remove it, or start the release that made it.",
            )
            continue
        told = probe(gateway.upstreams, target)
        yield Finding(
            "good" if told.ok else "bad",
            f"upstream {row.name}: {told.words}",
            "" if told.ok else f"See `flask upstream set-key {row.name}` and its base URL.",
        )
        yield from examination.examine_clock(row.name, told.told_at)
