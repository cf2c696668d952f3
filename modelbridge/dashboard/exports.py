"""Long lists as CSV, written chunk by chunk as they are read."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from flask import Response

# OWASP, "CSV Injection"; the last four are how East Asian keyboards write the first four.
_FORMULA_STARTS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\0",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)
Row = Sequence[object]


def csv_response(filename: str, headings: Row, chunks: Iterable[Iterable[Row]]) -> Response:
    """A download. `chunks` is read while it is sent: it must not need the request."""
    response = Response(_lines(headings, chunks), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def cell(value: object) -> str:
    """The value as text that no spreadsheet takes for a formula; a number stays a number."""
    text = "" if value is None else str(value)
    if text.startswith(_FORMULA_STARTS) and not _is_number(text):
        return f"'{text}"
    return text


def _is_number(text: str) -> bool:
    whole, _, fraction = text.removeprefix("-").partition(".")
    return whole.isascii() and whole.isdigit() and (not fraction or fraction.isdigit())


def _lines(headings: Row, chunks: Iterable[Iterable[Row]]) -> Iterator[str]:
    yield _written([headings])
    for chunk in chunks:
        if text := _written(chunk):
            yield text


def _written(rows: Iterable[Row]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([cell(value) for value in row] for row in rows)
    return buffer.getvalue()
