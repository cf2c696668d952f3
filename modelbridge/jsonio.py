"""JSON in and out: what strangers send is read strictly, what we or an upstream wrote, fast."""

import json
import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import orjson

JSONDict = dict[str, Any]

MAX_DEPTH = 64
_MAX_INT = 2**63 - 1
_LONGEST_PATH = 200


class StrictJSONError(ValueError):
    """The bytes are not JSON that we accept; the message says why, in words for the sender.

    `path` is where, such as `messages[0].content`; None where the text as a whole is at fault.
    """

    def __init__(self, reason: str, path: str | None = None) -> None:
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.path = path


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
    except StrictJSONError as error:
        raise _located(error, text) from None
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


def loads_as_written(text: str) -> Any:
    """A value to be written again, from a stranger's JSON: `dumps` makes it no longer than it was.

    1e15 would become 1000000000000000.0. Raises ValueError.
    """
    value = loads(text)
    if _EXPONENT.search(text) is None:
        return value
    return _AS_WRITTEN.decode(text.strip())


def dumps(value: object) -> bytes:
    """Compact UTF-8 JSON. Raises TypeError for what JSON cannot say."""
    return orjson.dumps(value)


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands where a value was that we don't accept; `key`: the one that an object has twice."""

    key: str | None = None


def _located(error: StrictJSONError, text: str) -> StrictJSONError:
    """The same error with the place of its value: the text is read again, leniently."""
    try:
        value = _LENIENT_DECODER.decode(text)
    except (ValueError, RecursionError):
        return error
    return StrictJSONError(str(error), _path_to(value, lambda item: isinstance(item, _Refused)))


def _path_to(value: object, is_wanted: Callable[[object], bool]) -> str | None:
    """Where such a value is, fit for a message: `tools[1].name`; None if nowhere below the top."""
    stack = [(value, "")]
    while stack:
        item, path = stack.pop()
        if is_wanted(item):
            path = _below(path, item.key) if isinstance(item, _Refused) and item.key else path
            return path[:_LONGEST_PATH].encode(errors="replace").decode() or None
        if isinstance(item, dict):
            stack.extend((child, _below(path, key)) for key, child in item.items())
        elif isinstance(item, list):
            stack.extend((child, f"{path}[{at}]") for at, child in enumerate(item))
    return None


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _pairs(pairs: list[tuple[str, Any]]) -> JSONDict:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise StrictJSONError(f"the key {_repeated(pairs)[:_LONGEST_PATH]!r} appears twice")
    return found


def _lenient_pairs(pairs: list[tuple[str, Any]]) -> object:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Refused(_repeated(pairs))


def _repeated(pairs: list[tuple[str, Any]]) -> str:
    """The first key that is there twice."""
    seen: set[str] = set()
    return next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]


def _is_too_large(digits: str) -> bool:
    return len(digits) > 20 or abs(int(digits)) > _MAX_INT


def _integer(digits: str) -> int:
    if _is_too_large(digits):
        raise StrictJSONError(f"the integer {digits[:24]} is out of range")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise StrictJSONError(f"the number {digits[:24]} is out of range")
    return value


def _constant(name: str) -> NoReturn:
    raise StrictJSONError(f"{name} is not JSON")


def _fragment(digits: str) -> orjson.Fragment | None:
    return None if math.isinf(float(digits)) else orjson.Fragment(digits)


_EXPONENT = re.compile(r"\d[eE]")
_AS_WRITTEN = json.JSONDecoder(parse_int=_fragment, parse_float=_fragment)
_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_real, parse_constant=_constant
)


_LENIENT_DECODER = json.JSONDecoder(
    object_pairs_hook=_lenient_pairs,
    parse_int=lambda digits: _Refused() if _is_too_large(digits) else 0,
    parse_float=lambda digits: _Refused() if math.isinf(float(digits)) else 0,
    parse_constant=lambda name: _Refused(),
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
                path = _path_to(value, partial(operator.is_, item))
                raise StrictJSONError("a string has half of a surrogate pair", path) from None
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
