"""Lists, shown fifty at a time: where in them a page begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
PAGE_ROWS = 50


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of a list; pages count from 1."""

    rows: Sequence[T]
    number: int
    pages: int
    total: int

    @property
    def before(self) -> int | None:
        """The page before this one, if there is one."""
        return self.number - 1 if self.number > 1 else None

    @property
    def after(self) -> int | None:
        """The page after this one, if there is one."""
        return self.number + 1 if self.number < self.pages else None


def slice_of(rows: Sequence[T], asked: str | None) -> Slice[T]:
    """The page of that number; the nearest that exists for any other text."""
    pages = max(1, -(-len(rows) // PAGE_ROWS))
    digits = asked if asked and asked.isascii() and asked.isdigit() else "1"
    number = min(max(int(digits[:9]), 1), pages)
    first = (number - 1) * PAGE_ROWS
    return Slice(rows[first : first + PAGE_ROWS], number, pages, len(rows))


def place_of(asked: str, most_digits: int = 16) -> int | None:
    """The number that an address names as a place in a list; None for any other text.

    16 digits are enough for microseconds since 1970, 18 fit into SQLite's integers.
    """
    is_number = asked.isascii() and asked.isdigit() and len(asked) <= most_digits
    return int(asked) if is_number else None
