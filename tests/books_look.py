"""A look at the books on the disk, held against `books_model.Model`: no line of the product reads.

The connection is one of our own that cannot write, so it sees what is committed and nothing else.
"""

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from books_model import ZONE, Model

from modelbridge.ledger.windows import window_start

Row = tuple[Any, ...]


class BooksLook:
    """The books of two accounts in a file. Close it."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"file:{path}?mode=ro", uri=True, isolation_level=None, cached_statements=64
        )

    def close(self) -> None:
        """The file is let go of."""
        self._connection.close()

    def rows(self, statement: str, *values: str) -> list[Row]:
        """What a statement reads."""
        return self._connection.execute(statement, values).fetchall()

    def differences(self, model: Model, now: datetime) -> Iterator[str]:
        """Where the books are not what the model says."""
        mine = list(model.accounts)
        self._connection.execute("BEGIN")  # one state, and one lock for all of it
        try:
            accounts = self.rows(
                "SELECT id, balance_nanos, held_nanos FROM accounts WHERE id IN (?, ?)", *mine
            )
            holds = self.rows(
                "SELECT id, state, charged_nanos, flagged FROM holds WHERE account_id IN (?, ?)",
                *mine,
            )
            shortfalls = self.rows(
                "SELECT hold_id, shortfalls.amount_nanos FROM holds CROSS JOIN shortfalls "
                "ON hold_id = holds.id WHERE account_id IN (?, ?) AND state = 'posted'",
                *mine,
            )
            spending = self.rows(
                "SELECT subject_id, window_start, spent_nanos, held_nanos FROM spending "
                "WHERE subject_id IN (SELECT value FROM json_each(?))",
                json.dumps([*model.keys, *mine]),
            )
        finally:
            self._connection.execute("COMMIT")
        found = {
            "accounts": {account: (balance, held) for account, balance, held in accounts},
            "holds": {
                hold: (state, charged, bool(flagged)) for hold, state, charged, flagged in holds
            },
            "shortfalls": dict(shortfalls),
        }
        for what, expected in model.books().items():
            if found[what] != expected:
                yield f"{what}: {found[what]}, expected {expected}"
        told = {(subject, start): (spent, held) for subject, start, spent, held in spending}
        yield from _windows(told, model, now)


def _windows(
    told: dict[tuple[str, int], tuple[int, int]], model: Model, now: datetime
) -> Iterator[str]:
    """Where a key or an account spent and holds something else in its present window."""
    starts: dict[str, int] = {}
    for name, window in model.windows():
        if window not in starts:
            starts[window] = window_start(window, ZONE.key, now)
        there = told.get((name, starts[window]))  # None: nobody called in it yet
        if there is not None and there != (right := model.spending(name, window, now)):
            yield f"{name} in its {window}: {there}, expected {right}"
