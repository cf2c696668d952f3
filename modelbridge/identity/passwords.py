"""Passwords: argon2id, at most two at a time, and what makes one too easy to guess.

ASVS 5.0, 6.2: at least 12 characters, 128 accepted, no rules of composition, nothing that stands
in the lists that guessers try first, nor the person's own words or the product's.
"""

import math
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from modelbridge.errors import Overloaded

LEAST_CHARACTERS = 12
MOST_CHARACTERS = 128

_PARALLEL_HASHES = 2
_PATIENCE_SECONDS = 10.0
_LEAST_GUESSES = 10**6
_LONGEST_JUDGED = 72  # more only costs time: zxcvbn's own limit
_MOST_READINGS = 16
# Signs that stand for the same letter as the digit or sign below them.
_ALIKE = str.maketrans("@{[<!|$+", "4(((1157")
_PRODUCT_WORDS = ("modelbridge", "model", "bridge", "gateway", "openai", "anthropic", "gemini")

# argon2-cffi's defaults are RFC 9106's second recommendation: 64 MiB, three passes.
_HASHER = PasswordHasher()
_SLOTS = threading.BoundedSemaphore(_PARALLEL_HASHES)
_JUDGE = threading.BoundedSemaphore(1)
_QUEUE = threading.BoundedSemaphore(32)  # who waits has a thread that a call could have
# The hash of a random text that nobody knows, made once, so that an unknown person costs as much.
_DUMMY_HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$"
    "b5/55tiQrfrfch0J7Nsd+A$EIUp/3Mznls1Eia+F+ZE2Fgv65QvuVfZzK/cEsP+jZw"
)


def hash_password(password: str) -> str:
    """An argon2id hash of the password, with its parameters. Takes some 0.1 s and 64 MiB.

    Call it before a transaction, never inside one. Raises Overloaded when too many others wait.
    """
    with _turn(_SLOTS):
        return _HASHER.hash(password)


def verify(password_hash: str | None, password: str) -> bool:
    """Whether the password is the hash's; without a hash False, after as much work.

    Raises Overloaded when too many others wait.
    """
    too_long = len(password) > MOST_CHARACTERS
    with _turn(_SLOTS):
        try:
            _HASHER.verify(password_hash or _DUMMY_HASH, "" if too_long else password)
        except (VerifyMismatchError, InvalidHashError):
            return False
    return password_hash is not None and not too_long


def is_outdated(password_hash: str) -> bool:
    """Whether the hash was made with weaker parameters than today's: make it anew at login."""
    return _HASHER.check_needs_rehash(password_hash)


def check_new_password(password: str, own_words: Iterable[str] = ()) -> None:
    """Raises ValueError, in words for the person, if nobody should have this password.

    `own_words` are the person's: the name, the e-mail address. Raises Overloaded when too many
    others wait.
    """
    if len(password) < LEAST_CHARACTERS:
        raise ValueError(f"password: too short; use at least {LEAST_CHARACTERS} characters")
    if len(password) > MOST_CHARACTERS:
        raise ValueError(f"password: too long; use at most {MOST_CHARACTERS} characters")
    if _guesses(password[:_LONGEST_JUDGED], own_words) < _LEAST_GUESSES:
        raise ValueError(
            "password: too easy to guess; three or four unrelated words make a good one"
        )


def _guesses(password: str, own_words: Iterable[str]) -> float:
    """How many tries a good guesser needs. Takes some 0.1 s; one at a time, it is all Python's.

    zxcvbn reads the password anew for each way in which its signs may stand for letters, and a
    stranger who types all of them would keep the whole bridge busy for a quarter of a minute.
    """
    from zxcvbn import zxcvbn  # noqa: PLC0415  ten megabytes of words, for new passwords alone
    from zxcvbn.matching import L33T_TABLE  # noqa: PLC0415

    signs = set(password)
    readings = math.prod(max(1, len(signs.intersection(some))) for some in L33T_TABLE.values())
    if readings > _MOST_READINGS:
        password = password.translate(_ALIKE)
    with _turn(_JUDGE):
        judged = zxcvbn(password, user_inputs=[*_PRODUCT_WORDS, *_parts(own_words)])
    return float(judged["guesses"])


def _parts(own_words: Iterable[str]) -> Iterator[str]:
    """The words themselves and their pieces: `alice@example.com` holds `alice` and `example`."""
    for word in own_words:
        yield word
        yield from (piece for piece in re.split(r"[\W_]+", word) if len(piece) > 2)


@contextmanager
def _turn(slots: threading.BoundedSemaphore) -> Iterator[None]:
    if not _acquire(slots):
        raise Overloaded("too many people are logging in at once; try again", retry_after=5)
    try:
        yield
    finally:
        slots.release()


def _acquire(slots: threading.BoundedSemaphore) -> bool:
    if not _QUEUE.acquire(blocking=False):
        return False
    try:
        return slots.acquire(timeout=_PATIENCE_SECONDS)
    finally:
        _QUEUE.release()
