"""Identifiers and secrets: what is drawn at random, and how an API key is spelled.

An API key is `mb_live_` or `mb_test_`, 43 base62 characters (256 bits), then 6 base62 characters
of the CRC-32 of everything before them. A mistyped key is refused without asking the database,
and secret scanners get an exact pattern (`KEY_PATTERN`).
"""

import hashlib
import re
import secrets
import time
import zlib

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
KEY_PATTERN = r"mb_(?:live|test)_[0-9A-Za-z]{49}"
_KEY = re.compile(KEY_PATTERN)
_LIKE_A_KEY = re.compile(r"(mb_(?:live|test)_)[0-9A-Za-z]{12,}")
PREFIX_LENGTH = len("mb_live_") + 4


def new_id(kind: str) -> str:
    """`kind_` and 28 hexadecimal digits: milliseconds, then 64 random bits, so ids sort by age."""
    return f"{kind}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


def new_token() -> str:
    """256 random bits, safe in a URL: for set-up links, sessions and invitations."""
    return secrets.token_urlsafe(32)


def new_api_key(*, test: bool) -> str:
    """A fresh API key; the caller shows it once and stores `sha256_hex` of it."""
    body = f"mb_{'test' if test else 'live'}_" + "".join(
        secrets.choice(_BASE62) for _ in range(_SECRET_LENGTH)
    )
    return body + _checksum(body)


def is_well_formed_key(text: str) -> bool:
    """Whether `text` has a key's form and its checksum is right."""
    if _KEY.fullmatch(text) is None:
        return False
    return _checksum(text[:-_CHECKSUM_LENGTH]) == text[-_CHECKSUM_LENGTH:]


def find_keys(text: str) -> list[str]:
    """Every key in the text whose checksum is right, in order."""
    return [found for found in _KEY.findall(text) if is_well_formed_key(found)]


def hide_keys(text: str) -> str:
    """The text without the secret part of any key in it, whole or mistyped."""
    return _LIKE_A_KEY.sub(r"\1…", text)


def key_prefix(key: str) -> str:
    """The first 12 characters, `mb_live_AbCd`: enough to recognise a key, not to use it."""
    return key[:PREFIX_LENGTH]


def sha256_hex(text: str) -> str:
    """SHA-256 of the text, 64 hexadecimal digits: the only form in which a secret is stored.

    A plain hash is right for secrets of 112 bits and more (OWASP ASVS 5.0, 6.5.2).
    """
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits
