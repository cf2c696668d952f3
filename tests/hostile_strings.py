"""Strings that tokenizers like least, the same ones for the same seed."""

import random
import unicodedata
from collections.abc import Iterator
from functools import cache

GREEDY = (
    "\ufdfa\ufdfb\u3316\u33a7\u1f82\u0344\u1d160\ufb2c\u0958\u2a74\u3382\uff2d\u2460\u1e9b\u0323"
)
JOINED = "👩‍👩‍👧‍👦🏳️‍🌈👨🏿‍🚀🇦🇺🧑🏽‍🤝‍🧑🏻"
SPACES = " \u00a0\u2003\u200b\u200d\u2060\ufeff\t\n\r\x0b\x0c\x85"
CODE = "{}[]();:=<>!&|+-*/%^~'\"\\`#@$_,.?"
RANGES = (
    (0x20, 0x7E),
    (0xA0, 0x24F),
    (0x300, 0x36F),
    (0x590, 0x6FF),
    (0x900, 0xDFF),
    (0x1100, 0x11FF),
    (0x2000, 0x2BFF),
    (0x3040, 0x30FF),
    (0x3200, 0x33FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0xE000, 0xF8FF),
    (0xF900, 0xFAFF),
    (0xFB00, 0xFDFF),
    (0xFE70, 0xFEFE),
    (0xFF01, 0xFFEE),
    (0x10000, 0x10FFF),
    (0x1D400, 0x1D7FF),
    (0x1F300, 0x1FAFF),
    (0x20000, 0x2A6DF),
    (0xE0001, 0xE01EF),
    (0xF0000, 0xFFFFD),
)


@cache
def growing() -> tuple[str, ...]:
    """Every character that is longer in bytes after NFKC, longest growth first."""
    found = []
    for point in range(0x110000):
        if not 0xD800 <= point <= 0xDFFF:
            one = chr(point)
            grown = len(unicodedata.normalize("NFKC", one).encode()) / len(one.encode())
            if grown > 1:
                found.append((grown, one))
    return tuple(one for _, one in sorted(found, reverse=True))


def hostile_strings(seed: int, count: int) -> Iterator[str]:
    """That many strings of 1 to about 200 characters, none with half of a surrogate pair."""
    chance = random.Random(seed)
    for _ in range(count):
        yield "".join(_piece(chance) for _ in range(chance.randint(1, 4)))


def _piece(chance: random.Random) -> str:
    length = chance.randint(1, 50)
    match chance.randrange(9):
        case 0:
            return "".join(chance.choices(growing(), k=length))
        case 1:
            return chance.choice(growing()[:500]) * length
        case 2:
            return "".join(chance.choices(GREEDY + JOINED + SPACES, k=length))
        case 3:
            return "".join(chance.choices(CODE, k=length))
        case 4:
            return chance.randbytes(length).hex()
        case 5:
            return "".join(chr(chance.randrange(0x20)) for _ in range(length))
        case 6:
            return chr(_point(chance)) * length
        case 7:
            return "a" + "".join(chr(chance.randint(0x300, 0x36F)) for _ in range(length))
        case _:
            return "".join(chr(_point(chance)) for _ in range(length))


def _point(chance: random.Random) -> int:
    return chance.randint(*chance.choice(RANGES))
