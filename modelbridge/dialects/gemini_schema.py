"""Gemini, upstream half: tools, and JSON schemas as Gemini takes them.

Source: https://ai.google.dev/api/generate-content and /api/caching#FunctionDeclaration, with the
list of keywords at `responseJsonSchema`. `parametersJsonSchema` and `responseJsonSchema` are
used rather than the older `parameters` and `responseSchema`, which know neither `$ref` nor
`additionalProperties` nor a list of types and answer 400 to them.
"""

from collections.abc import Mapping
from typing import Any

from modelbridge.dialects.translating import allowed_tools, function_of, in_words
from modelbridge.errors import InvalidRequest
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest

_NESTED_BY_NAME = {"properties", "$defs"}
_NESTED_LISTS = {"anyOf", "prefixItems"}
_NESTED = _NESTED_BY_NAME | _NESTED_LISTS | {"items", "additionalProperties"}
_KEPT = {
    "$id", "$anchor", "type", "format", "title", "description", "minItems", "maxItems", "minimum",
    "maximum", "required", "propertyOrdering",
}  # fmt: skip
_MEANINGLESS = {"$schema", "$comment", "examples", "default", "nullable"}
_RENAMED = {"definitions": "$defs", "oneOf": "anyOf"}
_MODES = {None: "AUTO", "auto": "AUTO", "required": "ANY", "none": "NONE"}


def build_tools(request: ChatRequest, dropped: list[str]) -> JSONDict:
    """`tools` and `toolConfig`, or nothing where the request has no tools.

    Raises InvalidRequest or UnsupportedParameter naming the field.
    """
    given = request.get("tools") or []
    if not isinstance(given, list):
        raise InvalidRequest("tools must be a list", param="tools")
    declared = [_declaration(tool, f"tools[{i}]", dropped) for i, tool in enumerate(given)]
    if request.get("parallel_tool_calls") is False and declared:
        dropped.append("parallel_tool_calls")
    choice = request.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        names, choice = allowed_tools(choice)
        declared = [one for one in declared if one["name"] in names]  # which comes to the same
    if not declared:
        if choice in (None, "auto", "none"):
            return {}
        raise InvalidRequest("tool_choice needs tools", param="tool_choice")
    said: JSONDict = {"tools": [{"functionDeclarations": declared}]}
    if choice is not None:
        said["toolConfig"] = {"functionCallingConfig": _calling(choice)}
    return said


def _declaration(tool: Any, where: str, dropped: list[str]) -> JSONDict:
    function = function_of(tool, where)
    found: JSONDict = {"name": function["name"]}
    if function.get("description"):
        found["description"] = function["description"]
    schema = function.get("parameters")
    if schema and schema != {"type": "object"}:
        found["parametersJsonSchema"] = fitting({"type": "object", **schema}, "tools", dropped)
    if function.get("strict") is True:
        dropped.append("tools.strict")
    if "cache_control" in tool or "cache_control" in function:
        dropped.append("cache_control")
    return found


def _calling(choice: object) -> JSONDict:
    if isinstance(choice, str) and choice in _MODES:
        return {"mode": _MODES[choice]}
    match choice:
        case {"type": "function", "function": {"name": str(name)}}:
            return {"mode": "ANY", "allowedFunctionNames": [name]}
    raise InvalidRequest(
        "tool_choice must be auto, none, required or name a function", param="tool_choice"
    )


def build_format(wanted: object, dropped: list[str]) -> JSONDict:
    """The part of `generationConfig` that says the answer's form. Raises InvalidRequest."""
    match wanted:
        case None | {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            return {"responseMimeType": "application/json"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)} as described}:
            if described.get("description"):
                schema = {"description": described["description"], **schema}
            schema = fitting(schema, "response_format", dropped)
            return {"responseMimeType": "application/json", "responseJsonSchema": schema}
    raise InvalidRequest(
        "response_format must be text, json_object, or json_schema with json_schema.schema",
        param="response_format",
    )


def fitting(schema: object, field: str, dropped: list[str]) -> JSONDict:
    """The schema in the keywords that Gemini knows.

    Others are said otherwise where that is possible, else become words in the description and are
    added to `dropped` as `field.keyword`. A schema of `true` or of nonsense allows anything.
    """
    if not isinstance(schema, dict):
        return {}
    if "$ref" in schema:
        return _reference(schema, field, dropped)
    found: JSONDict = {}
    words: JSONDict = {}
    for key, value in _merged(schema).items():
        name = _RENAMED.get(key, key)
        if name in _NESTED:
            found[name] = _nested(name, value, field, dropped)
        elif name in ("enum", "const"):
            _enumerate(found, words, name, value)
        elif name in _KEPT:
            found[name] = value
        elif name not in _MEANINGLESS:
            words[name] = value
    if schema.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    _describe(found, words)
    dropped += [f"{field}.{key}" for key in words]
    return found


def _reference(schema: JSONDict, field: str, dropped: list[str]) -> JSONDict:
    """A `$ref`, beside which nothing may stand but words that begin with a dollar."""
    found: JSONDict = {"$ref": str(schema["$ref"]).replace("#/definitions/", "#/$defs/")}
    for name in ("$defs", "definitions"):
        if name in schema:
            found["$defs"] = _nested("$defs", schema[name], field, dropped)
    return found


def _describe(found: JSONDict, words: JSONDict) -> None:
    if words:
        said = in_words(words)
        given = found.get("description")
        found["description"] = f"{given}\n\n{said}" if given else said


def _nested(name: str, value: Any, field: str, dropped: list[str]) -> Any:
    if name in _NESTED_BY_NAME:
        named = value if isinstance(value, dict) else {}
        return {key: fitting(one, field, dropped) for key, one in named.items()}
    if name in _NESTED_LISTS:
        return [fitting(one, field, dropped) for one in (value if isinstance(value, list) else [])]
    if name == "additionalProperties" and not isinstance(value, dict):
        return bool(value)
    return fitting(value, field, dropped)


def _enumerate(found: JSONDict, words: JSONDict, name: str, value: Any) -> None:
    """`enum` holds texts and numbers; other constants can only be described, or are a type."""
    values = value if name == "enum" and isinstance(value, list) else [value]
    plain = [v for v in values if isinstance(v, str | int | float) and not isinstance(v, bool)]
    rest = [v for v in values if v is not None and v not in plain]
    if plain and not rest:
        found["enum"] = plain
    elif rest:
        words[name] = value
    else:
        found["type"] = "null"


def _merged(schema: Mapping[str, Any]) -> JSONDict:
    """The schema with the parts of its `allOf` in it: objects that must fit all of them."""
    parts = schema.get("allOf")
    if not isinstance(parts, list):
        return dict(schema)
    found: JSONDict = {}
    properties: JSONDict = {}
    required: list[Any] = []
    outer = {name: value for name, value in schema.items() if name != "allOf"}
    whole = [_merged(part) for part in parts if isinstance(part, dict)]
    if len(whole) == 1 and "$ref" in whole[0] and not outer.keys() & {"properties", "required"}:
        return {**outer, "anyOf": whole}  # a reference with a description, as pydantic writes it
    for part in (*whole, outer):
        match part:
            case {"properties": dict(named)}:
                properties |= named
        match part:
            case {"required": list(names)}:
                required += names
        found |= part
    if properties:
        found["properties"] = properties
    if required:
        found["required"] = list(dict.fromkeys(map(str, required)))
    return found
