"""What commands print: tables for people, JSON for scripts. Answers on stdout, hints on stderr."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import click

from modelbridge.money import format_amount


def hint(text: str) -> None:
    """A remark for a person, on standard error, so that scripts read the answer alone."""
    click.echo(text, err=True)


def as_json(value: object) -> None:
    """`value` as JSON, indented, on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns under headings, at least two spaces apart."""
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def moment(value: datetime | None) -> str | None:
    """ISO 8601 in UTC with a Z: "2027-01-31T12:59:59Z"; None for None."""
    if value is None:
        return None
    return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def amount(nanos: int | None) -> str | None:
    """A decimal string, of AUD or whatever the nanos are of; None for None."""
    return None if nanos is None else format_amount(nanos)


def limit_of(limit_nanos: int | None, window: str) -> str:
    """A spending limit in words: "none", "20.00 AUD", "20.00 AUD a month"."""
    if limit_nanos is None:
        return "none"
    return f"{format_amount(limit_nanos)} AUD" + ("" if window == "none" else f" a {window}")


def shown(value: str | None) -> str:
    """A cell of a table: a dash stands for nothing."""
    return "-" if value is None or value == "" else value
