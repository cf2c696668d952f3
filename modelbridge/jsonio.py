"""JSON in and out: what strangers send is read strictly, what we or an upstream wrote, fast."""

import json
from typing import Any, NoReturn

import orjson

JSONDict = dict[str, Any]

MAX_DEPTH = 64
_MAX_INT = 2**63 - 1


class StrictJSONError(ValueError):
    """The bytes are not JSON that we accept; the message says why, in words for the sender."""


def read_strict(data: bytes) -> object:
    """A value from a stranger's bytes.

    Raises StrictJSONError for anything but UTF-8 JSON: duplicate keys, NaN and infinities,
    lone surrogates, integers beyond 64 bits, nesting deeper than `MAX_DEPTH`.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise StrictJSONError("the body is not UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except StrictJSONError:
        raise
    except RecursionError:
        raise StrictJSONError(f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise StrictJSONError(str(error)) from None
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise StrictJSONError(f"nested deeper than {MAX_DEPTH} levels")
    if "\\u" in text:
        _refuse_lone_surrogates(value)
    return value


def loads(data: bytes | str) -> Any:
    """A value from JSON of an upstream or of our own. Raises ValueError."""
    return orjson.loads(data)


def dumps(value: object) -> bytes:
    """Compact UTF-8 JSON. Raises TypeError for what JSON cannot say."""
    return orjson.dumps(value)


def _pairs(pairs: list[tuple[str, Any]]) -> JSONDict:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise StrictJSONError(f"the key {twice!r} appears twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > _MAX_INT:
        raise StrictJSONError(f"the integer {digits[:24]} is out of range")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise StrictJSONError(f"the number {digits[:24]} is out of range")
    return value


def _constant(name: str) -> NoReturn:
    raise StrictJSONError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_real, parse_constant=_constant
)


def _depth(value: object) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        item, level = stack.pop()
        if isinstance(item, dict | list):
            deepest = max(deepest, level)
            children = item.values() if isinstance(item, dict) else item
            stack.extend((child, level + 1) for child in children)
    return deepest


def _refuse_lone_surrogates(value: object) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise StrictJSONError("a string has half of a surrogate pair") from None
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
