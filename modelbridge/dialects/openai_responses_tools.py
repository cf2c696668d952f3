"""The `tools` of a Responses request, read into canonical ones, and its `tool_choice`.

- A function in a namespace has the name `namespace__name`, shortened where that is more than most
  servers take, and the group and its own name at its side.
- A custom tool, whose input is text of any form, becomes a function whose argument `input` is that
  text, for every model can call such a one; `custom` at its side has what only this format can say.
  Its grammar is told in words where nothing enforces it.
- Tools that stand in the input (`additional_tools`, which is how Codex offers all of its own) are
  offered like the others.

Source: OpenAI's OpenAPI document, Tool, and what Codex (0.169.0) sends.
"""

from hashlib import blake2s
from typing import NoReturn

from modelbridge import jsonio
from modelbridge.dialects.openai_chat_messages import (
    objects,
    optional_object,
    optional_text,
    refuse,
    required_text,
)
from modelbridge.errors import UnsupportedParameter
from modelbridge.jsonio import JSONDict

ADDED = "additional_tools"
INPUT = "input"
_LONGEST_NAME = 64
GRAMMAR = "tools.format"
_TOOL_CHOICES = ("none", "auto", "required")
_TOOL_FIELDS = ("description", "parameters", "strict")
_CUSTOM_FIELDS = ("description", "format")
_INNER = ("function", "custom")
# Offers among others, as Codex always makes them: left out beside tools, and named.
_LEFT_OUT = ("web_search", "tool_search")


def joined_name(namespace: object, name: str) -> str:
    """The name of a function where there are no namespaces; the same for the same."""
    joined = f"{namespace}__{name}" if namespace else name
    if not namespace or len(joined) <= _LONGEST_NAME:
        return joined
    digest = blake2s(joined.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{joined[: _LONGEST_NAME - 9]}_{digest}"


def flag(holder: JSONDict, name: str, place: str = "") -> bool:
    """The boolean at `name`; absent is false. Raises InvalidRequest."""
    value = holder.get(name)
    if not isinstance(value, bool | None):
        refuse(place or name, "must be true or false")
    return bool(value)


def read_tools(body: JSONDict, fields: JSONDict) -> JSONDict:
    """`tools` and `tool_choice`; what is left out, or not enforced elsewhere, is told in `fields`.

    Of two tools of one name the later one counts. A search that is offered alone is refused.
    """
    tools: dict[str, JSONDict] = {}
    given = [*objects(body.get("tools"), "tools"), *_added(body.get("input"))]
    offers_others = any(tool.get("type") in (*_INNER, "namespace") for _, tool in given)
    for place, tool in given:
        kind = tool.get("type")
        if kind in _LEFT_OUT and offers_others:
            fields[f"tools.{kind}"] = True
            continue
        found = _namespace(tool, place) if kind == "namespace" else [_tool(tool, place)]
        tools |= {one["function"]["name"]: one for one in found}
    if any("format" in tool.get("custom", ()) for tool in tools.values()):
        fields[GRAMMAR] = True
    choice = _tool_choice(body.get("tool_choice"), set(tools))
    return {"tools": list(tools.values()), **choice} if tools else {}


def free_text(arguments: str) -> str:
    """The text that a model gave to a custom tool as a function's arguments.

    Some call the one argument otherwise, or none at all.
    """
    try:
        value = jsonio.loads(arguments)
    except ValueError:
        return arguments
    if isinstance(value, dict):
        only = next(iter(value.values())) if len(value) == 1 else None
        value = value.get(INPUT, only)
    return value if isinstance(value, str) else arguments


def wrapped_text(text: str) -> str:
    """A custom tool's text as a function's arguments."""
    return jsonio.dumps({INPUT: text}).decode()


def _added(given: object) -> list[tuple[str, JSONDict]]:
    """The tools that stand in the input, each with its place."""
    if not isinstance(given, list):
        return []
    return [
        one
        for place, item in objects(given, "input")
        if item.get("type") == ADDED
        for one in objects(item.get("tools"), f"{place}.tools")
    ]


def _tool(tool: JSONDict, place: str) -> JSONDict:
    if tool.get("type") == "custom":
        return _custom(tool, place)
    if tool.get("type") != "function":
        _unsupported(
            f"{place}.type",
            f"is {tool.get('type')!r}, but only tools of type 'function' or 'custom' can be "
            "bounded in cost and sent to every model; run other tools yourself",
        )
    return _function(tool, place)


def _function(tool: JSONDict, place: str) -> JSONDict:
    function: JSONDict = {"name": required_text(tool, "name", f"{place}.name")}
    optional_text(tool, "description", f"{place}.description")
    optional_object(tool, "parameters", f"{place}.parameters", "a JSON schema")
    flag(tool, "strict", f"{place}.strict")
    function |= {name: tool[name] for name in _TOOL_FIELDS if tool.get(name) is not None}
    return {"type": "function", "function": function}


def _custom(tool: JSONDict, place: str) -> JSONDict:
    name = required_text(tool, "name", f"{place}.name")
    optional_text(tool, "description", f"{place}.description")
    optional_object(tool, "format", f"{place}.format")
    words = [tool.get("description") or "", f"The text itself goes into {INPUT!r}, as a string."]
    wanted: JSONDict = tool.get("format") or {}
    if wanted.get("type") == "grammar":
        definition = required_text(wanted, "definition", f"{place}.format.definition")
        words.append(f"It must follow this grammar ({wanted.get('syntax')}):\n{definition}")
    elif wanted.get("type", "text") != "text":
        refuse(f"{place}.format.type", "must be 'text' or 'grammar'")
    function = {
        "name": name,
        "description": "\n\n".join(filter(None, words)),
        "parameters": {
            "type": "object",
            "properties": {INPUT: {"type": "string"}},
            "required": [INPUT],
            "additionalProperties": False,
        },
    }
    kept = {name: tool[name] for name in _CUSTOM_FIELDS if tool.get(name) is not None}
    return {"type": "function", "function": function, "custom": kept}


def _namespace(tool: JSONDict, place: str) -> list[JSONDict]:
    """The tools of a group, each under its long name and with the group at its side."""
    name = required_text(tool, "name", f"{place}.name")
    optional_text(tool, "description", f"{place}.description")
    found = []
    for at, inner in objects(tool.get("tools"), f"{place}.tools"):
        if inner.get("type") not in _INNER:
            _unsupported(f"{at}.type", "can only be 'function' or 'custom' in a namespace")
        made = _tool(inner, at)
        own = made["function"]["name"]
        made["function"]["name"] = joined_name(name, own)
        group = {"name": name, "description": tool.get("description") or ""}
        found.append({**made, "namespace": group, "own_name": own})
    return found


def _tool_choice(choice: object, names: set[str]) -> JSONDict:
    if choice is None:
        return {}
    if isinstance(choice, str):
        if choice not in _TOOL_CHOICES:
            refuse("tool_choice", f"must be one of {', '.join(_TOOL_CHOICES)}, or an object")
        if choice == "required" and not names:
            refuse("tool_choice", "is only allowed when 'tools' has tools")
        return {"tool_choice": choice}
    if not isinstance(choice, dict):
        refuse("tool_choice", f"must be one of {', '.join(_TOOL_CHOICES)}, or an object")
    if choice.get("type") in _INNER:
        return {"tool_choice": _chosen(choice, "tool_choice", names)}
    if choice.get("type") != "allowed_tools":
        _unsupported(
            "tool_choice.type",
            f"is {choice.get('type')!r}; send 'function', 'custom' or 'allowed_tools'",
        )
    if choice.get("mode") not in ("auto", "required"):
        refuse("tool_choice.mode", "must be 'auto' or 'required'")
    listed = [
        _chosen(tool, place, names)
        for place, tool in objects(choice.get("tools"), "tool_choice.tools")
    ]
    allowed = {"mode": choice["mode"], "tools": listed}
    return {"tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}}


def _chosen(choice: JSONDict, place: str, names: set[str]) -> JSONDict:
    if choice.get("type") not in _INNER:
        _unsupported(f"{place}.type", f"is {choice.get('type')!r}; only functions can be chosen")
    name = required_text(choice, "name", f"{place}.name")
    if name not in names:
        refuse(f"{place}.name", f"is {name!r}, which is not among 'tools'")
    return {"type": "function", "function": {"name": name}}


def _unsupported(name: str, advice: str) -> NoReturn:
    raise UnsupportedParameter(f"'{name}' is not supported here: {advice}.", param=name)
