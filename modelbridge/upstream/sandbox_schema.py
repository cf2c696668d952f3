"""A JSON value that satisfies a JSON schema: the same one for the same schema.

Not a general solver: it knows what tools and structured outputs use (`type`, `enum`, `const`,
`properties`, `required`, `items`, `prefixItems`, bounds, simple formats, `anyOf`, `oneOf`,
`allOf`, `$ref`) and takes the first of several ways.
"""

import math
from typing import Any

from modelbridge.errors import UnsupportedParameter
from modelbridge.jsonio import JSONDict

_MOST_VALUES = 5_000
_DEEPEST = 50
_LARGE = 2**53
_LONGEST_TEXT = 5_000
# Beyond these the optional is left out, so that schemas that contain themselves come to an end.
_DEEP, _MANY = 5, 300
_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "alice@example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.com/",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def example_of(schema: JSONDict, param: str) -> Any:
    """A value that satisfies `schema`.

    Raises UnsupportedParameter naming `param` for a schema that refers to what is not there, has
    no end, or wants more than a few thousand values.
    """
    return _Maker(schema, param).make(schema, 0, 0)


class _Maker:
    """One schema being filled in; counts the values made."""

    def __init__(self, root: JSONDict, param: str) -> None:
        self._root = root
        self._param = param
        self._made = 0

    def make(self, schema: object, depth: int, number: int) -> Any:
        """A value at this depth; `number` makes the items of a list differ."""
        flat = self._flatten(schema, depth)
        if "const" in flat:
            return flat["const"]
        options = flat.get("enum")
        if isinstance(options, list) and options:
            return options[number % len(options)]
        match _type_of(flat):
            case "object":
                return self._object(flat, depth)
            case "array":
                return self._array(flat, depth)
            case "boolean":
                return number % 2 == 0
            case "null":
                return None
            case "integer":
                return int(_number(flat, number, whole=True))
            case "number":
                return _number(flat, number, whole=False)
            case _:
                return self._text(flat, number)

    def _object(self, schema: JSONDict, depth: int) -> JSONDict:
        properties = _object_at(schema, "properties")
        required = [name for name in _list_at(schema, "required") if isinstance(name, str)]
        wanted = required if self._is_deep(depth) else [*properties, *required]
        return {name: self.make(properties.get(name), depth + 1, 0) for name in wanted}

    def _array(self, schema: JSONDict, depth: int) -> list[Any]:
        first = _list_at(schema, "prefixItems")
        least = _count_at(schema, "minItems", 0)
        most = _count_at(schema, "maxItems", max(least, len(first), 1))
        length = least if self._is_deep(depth) else min(max(least, len(first), 1), most)
        self._spend(length)
        return [
            self.make(first[at] if at < len(first) else schema.get("items"), depth + 1, at)
            for at in range(length)
        ]

    def _text(self, schema: JSONDict, number: int) -> str:
        text = _FORMATS.get(str(schema.get("format"))) or "text"
        if number:
            text = f"{text}{number}"
        least = _count_at(schema, "minLength", 0)
        if least > _LONGEST_TEXT:
            raise self._refusal(f"wants a text of {least} characters")
        return text.ljust(least, "x")[: _count_at(schema, "maxLength", _LONGEST_TEXT)]

    def _flatten(self, schema: object, depth: int, links: int = 0) -> JSONDict:
        """The schema with its references followed and its first alternatives merged in."""
        self._spend(1)
        if depth > _DEEPEST or links > _DEEPEST:
            raise self._refusal("has no end")
        if not isinstance(schema, dict):
            return {}
        flat = {k: v for k, v in schema.items() if k not in ("$ref", "allOf", "anyOf", "oneOf")}
        parts = list(_list_at(schema, "allOf"))
        if isinstance(reference := schema.get("$ref"), str):
            parts.append(self._follow(reference))
        for name in ("anyOf", "oneOf"):
            if ways := _list_at(schema, name):
                parts.append(self._choose(ways, depth))
        for part in parts:
            _merge(flat, self._flatten(part, depth, links + 1))
        return flat

    def _choose(self, ways: list[Any], depth: int) -> object:
        if self._is_deep(depth) and {"type": "null"} in ways:
            return {"type": "null"}
        return ways[0]

    def _follow(self, reference: str) -> object:
        found: object = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise self._refusal(f"refers to {reference!r}, which is not in it")
            found = found[name]
        if not reference.startswith("#"):
            raise self._refusal(f"refers to {reference!r}, which is not in it")
        return found

    def _is_deep(self, depth: int) -> bool:
        return depth > _DEEP or self._made > _MANY

    def _spend(self, values: int) -> None:
        self._made += values
        if self._made > _MOST_VALUES:
            raise self._refusal(f"wants more than {_MOST_VALUES} values")

    def _refusal(self, reason: str) -> UnsupportedParameter:
        return UnsupportedParameter(
            f"The sandbox cannot make an answer for '{self._param}': the schema {reason}.",
            param=self._param,
        )


def _merge(flat: JSONDict, part: JSONDict) -> None:
    for name, value in part.items():
        if name == "properties":
            flat[name] = {**_object_at(flat, name), **_object_at(part, name)}
        elif name == "required":
            flat[name] = list(dict.fromkeys([*_list_at(flat, name), *_list_at(part, name)]))
        else:
            flat.setdefault(name, value)


def _type_of(schema: JSONDict) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _number(schema: JSONDict, number: int, *, whole: bool) -> float:
    """A number within the bounds: the least one that is allowed, or else 1."""
    step = max(_bound(schema, "multipleOf") or 0, 1 if whole else 0)
    low, high = _bound(schema, "minimum"), _bound(schema, "maximum")
    above, below = _bound(schema, "exclusiveMinimum"), _bound(schema, "exclusiveMaximum")
    if above is not None:
        nudge = step or _gap(above, high if high is not None else below)
        low = max(above + nudge, low) if low is not None else above + nudge
    if low is not None:
        value = low + number * (step or 1)
    else:
        value = min(x for x in (1 + number, high, below) if x is not None)
        if below is not None and value >= below:
            value = below - (step or 1)
    if step and abs(value) < _LARGE:
        value = (math.ceil if low is not None else math.floor)(value / step) * step
    if high is not None and value > high:
        value = low if low is not None else high
    return max(-_LARGE, min(value, _LARGE))


def _gap(above: float, below: float | None) -> float:
    return 1 if below is None or below - above > 1 else (below - above) / 2


def _bound(schema: JSONDict, name: str) -> float | None:
    value = schema.get(name)
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


def _count_at(schema: JSONDict, name: str, default: int) -> int:
    value = schema.get(name)
    return value if type(value) is int and value >= 0 else default


def _object_at(schema: JSONDict, name: str) -> JSONDict:
    value = schema.get(name)
    return value if isinstance(value, dict) else {}


def _list_at(schema: JSONDict, name: str) -> list[Any]:
    value = schema.get(name)
    return value if isinstance(value, list) else []
