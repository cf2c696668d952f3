"""`flask key scan`: this bridge's keys in files, by form, checksum and hash; no network."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import click
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.cli.common import Command, bridge
from modelbridge.cli.output import hint
from modelbridge.identity import keys, rotation
from modelbridge.ledger.limits import key_spending

_BLOCK_BYTES = 2**20
_KEY = re.compile(ids.KEY_PATTERN.encode())
_LONGEST = 64
_LIVE = frozenset({"active", "limit_reached", "earlier secret, still working"})


class Place(NamedTuple):
    """Where something that has a key's form and checksum stands, counted in lines from 1."""

    file: str
    line: int
    secret: str


class Verdict(NamedTuple):
    """What the key is here. `shown` is enough to recognise it, not to use it."""

    shown: str
    status: str
    which: str

    @property
    def is_live(self) -> bool:
        """Whether it opens something, now or as soon as its limit is raised."""
        return self.status in _LIVE


@click.command("scan", cls=Command)
@click.argument("paths", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.pass_context
def scan(context: click.Context, paths: tuple[str, ...]) -> None:
    """Find this bridge's keys in PATH…: files, folders with all that is in them, - for stdin.

    Prints file:line, the key's beginning and end, and its status; never the key. Exit status: 0 no
    live key was found, 1 at least one was, 2 something could not be read.
    """
    unread: list[str] = []
    found: list[Verdict] = []
    verdicts: dict[str, Verdict] = {}
    for place in _places(paths, unread):
        if place.secret not in verdicts:
            with bridge().database.reading() as session:
                verdicts[place.secret] = _judge(session, place.secret)
        verdict = verdicts[place.secret]
        found.append(verdict)
        where = f"{place.file}:{place.line}"
        click.echo("  ".join((where, verdict.shown, verdict.status, verdict.which)).rstrip())
    live = {verdict for verdict in found if verdict.is_live}
    hint(f"{len(found)} found, {len(live)} different live keys.")
    if live:
        hint("Revoke each (flask key revoke KEY_ID) or rotate it, then take it out of the file.")
    for name in unread:
        hint(f"{name}: cannot be read")
    context.exit(1 if live else 2 if unread else 0)


def _places(paths: tuple[str, ...], unread: list[str]) -> Iterator[Place]:
    for path in paths:
        if path == "-":
            yield from _in_stream(sys.stdin.buffer, "-")
            continue
        for file in _files(Path(path), unread):
            try:
                with file.open("rb") as stream:
                    yield from _in_stream(stream, str(file))
            except OSError:
                unread.append(str(file))


def _files(path: Path, unread: list[str]) -> Iterator[Path]:
    """The file, or every plain file below the folder; links are not followed."""
    if path.is_file():
        yield path
    elif path.is_dir():
        for below in sorted(path.rglob("*")):
            if below.is_file() and not below.is_symlink():
                yield below
    else:
        unread.append(str(path))


def _in_stream(stream: BinaryIO, name: str) -> Iterator[Place]:
    """Block by block, with so much of the last one that no key falls between two.

    NUL bytes are left out, so that text in UTF-16 is read too.
    """
    rest, line = b"", 1
    while block := stream.read(_BLOCK_BYTES):
        text = rest + block.replace(b"\0", b"")
        end = 0
        for match in _KEY.finditer(text):
            secret = match[0].decode()
            if ids.is_well_formed_key(secret):
                yield Place(name, line + text.count(b"\n", 0, match.start()), secret)
                end = match.end()
        kept = max(end, len(text) - _LONGEST)
        line += text.count(b"\n", 0, kept)
        rest = text[kept:]


def _judge(session: Session, secret: str) -> Verdict:
    shown = f"{ids.key_prefix(secret)}…{secret[-4:]}"
    found = rotation.find_by_secret(session, secret)
    if found is None:
        return Verdict(shown, "not of this bridge", "")
    key, retired = found
    which = f"{key.id} ({key.name})"
    status: str = keys.status(key, key_spending(session, [key])[key.id].spent_nanos)
    if retired is not None and status in _LIVE:
        works = retired.expires_at > clock.now()
        status = "earlier secret, still working" if works else "rotated"
    return Verdict(shown, status, which)
