"""The body of `/v1/messages`, read into the canonical chat request.

Source: https://platform.claude.com/docs/en/api/messages and the types of Anthropic's SDK
(anthropic 2.12.0). What only Anthropic's format can say (`output_config.effort`, a `cache_control`
for the whole request) and the hints that nothing here understands stand under `anthropic_fields`:
Anthropic's half of the way upstream says what it can of them, and every upstream half names the
rest as dropped. The key is always there, so that its presence tells where a request came from.
"""

from typing import Any, NoReturn, cast

from modelbridge import ids
from modelbridge.dialects.anthropic_front_messages import read_messages, read_system
from modelbridge.dialects.openai_chat_messages import (
    objects,
    optional_object,
    optional_text,
    refuse,
    required_text,
)
from modelbridge.errors import UnsupportedParameter
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest

FIELDS = "anthropic_fields"
_TRANSLATED = {
    "model", "messages", "system", "max_tokens", "stream", "stop_sequences", "temperature",
    "top_p", "top_k", "tools", "tool_choice", "thinking", "output_config", "output_format",
    "metadata", "service_tier", "betas",
}  # fmt: skip
# What has costs without a bound, or a meaning that would silently be lost.
_REFUSED = {
    "mcp_servers": "call the MCP server yourself and offer its functions as tools",
    "container": "code that runs at the provider is billed beside the tokens; leave it out",
    "fallbacks": "name one model in 'model'; fallbacks are configured in ModelBridge",
    "inference_geo": "where a model runs is configured in ModelBridge, and priced by it",
}
_TOOL_FIELDS = {"type", "name", "description", "input_schema", "strict", "cache_control"}
_TOOL_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def read_request(body: JSONDict) -> ChatRequest:
    """The canonical request.

    Raises InvalidRequest or UnsupportedParameter naming the parameter, such as
    `messages[2].content[0].source`.
    """
    if ids.hide_keys(name := required_text(body, "model", "model")) != name:
        refuse("model", "holds an API key; send a model's name, and the key in x-api-key")
    for field, advice in _REFUSED.items():
        if body.get(field) not in (None, [], False):
            _unsupported(field, advice)
    messages = [*read_system(body.get("system")), *read_messages(body.get("messages"))]
    fields = {
        field: value
        for field, value in body.items()
        if field not in _TRANSLATED and field not in _REFUSED and value is not None
    }
    optional_object(body, "cache_control", "cache_control")
    request: JSONDict = {
        "model": name,
        "messages": messages,
        "max_completion_tokens": _maximum(body),
        FIELDS: fields,
    }
    if _flag(body, "stream"):
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    request |= _sampling(body) | _stops(body) | _thinking(body) | _user(body)
    request |= _tools(body, fields) | _output_config(body, fields)
    return cast(ChatRequest, request)


def read_countable(body: JSONDict) -> ChatRequest:
    """The same for a request whose tokens are only counted: it needs no `max_tokens`."""
    return read_request({**body, "max_tokens": body.get("max_tokens") or 1})


def _maximum(body: JSONDict) -> int:
    value = body.get("max_tokens")
    if value is None:
        refuse("max_tokens", "is required")
    if type(value) is not int or value < 1:
        refuse("max_tokens", "must be a whole number, 1 or more")
    return value


def _flag(holder: JSONDict, name: str, place: str = "") -> bool:
    value = holder.get(name)
    if not isinstance(value, bool | None):
        refuse(place or name, "must be true or false")
    return bool(value)


def _sampling(body: JSONDict) -> JSONDict:
    found: JSONDict = {}
    for name in ("temperature", "top_p"):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            refuse(name, "must be a number between 0 and 1")
        found[name] = value
    top_k = body.get("top_k")
    if top_k is not None:
        if type(top_k) is not int or top_k < 0:
            refuse("top_k", "must be a whole number, 0 or more")
        found["top_k"] = top_k
    return found


def _stops(body: JSONDict) -> JSONDict:
    stops = body.get("stop_sequences")
    if not stops:
        return {}
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        refuse("stop_sequences", "must be a list of strings")
    return {"stop": stops}


def _thinking(body: JSONDict) -> JSONDict:
    thinking = body.get("thinking")
    if thinking is None:
        return {}
    if not isinstance(thinking, dict):
        refuse("thinking", 'must be an object such as {"type": "adaptive"}')
    required_text(thinking, "type", "thinking.type")
    budget = thinking.get("budget_tokens")
    if thinking["type"] == "enabled" and (type(budget) is not int or budget < 1):
        refuse("thinking.budget_tokens", "must be a whole number, 1 or more")
    return {"thinking": thinking}


def _user(body: JSONDict) -> JSONDict:
    """`metadata.user_id` and the tier; a tier with another price is refused."""
    optional_object(body, "metadata", "metadata")
    metadata = body.get("metadata") or {}
    optional_text(metadata, "user_id", "metadata.user_id")
    found = {"user": metadata["user_id"]} if metadata.get("user_id") else {}
    tier = body.get("service_tier")
    if tier not in (None, "auto", "standard_only"):
        _unsupported("service_tier", "only the standard tier has a known price; leave it out")
    return found


# Tools


def _tools(body: JSONDict, fields: JSONDict) -> JSONDict:
    tools = [_tool(tool, place, fields) for place, tool in objects(body.get("tools"), "tools")]
    choice = _tool_choice(body.get("tool_choice"), {tool["function"]["name"] for tool in tools})
    return {"tools": tools, **choice} if tools else {}


def _tool(tool: JSONDict, place: str, fields: JSONDict) -> JSONDict:
    if tool.get("type") not in (None, "custom"):
        _unsupported(
            f"{place}.type",
            f"is {tool['type']!r}, but only tools with an 'input_schema' that you run yourself can "
            "be bounded in cost",
        )
    function: JSONDict = {"name": required_text(tool, "name", f"{place}.name")}
    optional_text(tool, "description", f"{place}.description")
    optional_object(tool, "cache_control", f"{place}.cache_control")
    if tool.get("description"):
        function["description"] = tool["description"]
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        refuse(f"{place}.input_schema", "must be a JSON schema")
    function["parameters"] = schema
    if _flag(tool, "strict", f"{place}.strict"):
        function["strict"] = True
    fields |= {f"tools.{name}": True for name in tool if name not in _TOOL_FIELDS}
    found = {"type": "function", "function": function}
    return {**found, "cache_control": mark} if (mark := tool.get("cache_control")) else found


def _tool_choice(choice: object, names: set[str]) -> JSONDict:
    if choice is None:
        return {}
    if not isinstance(choice, dict):
        refuse("tool_choice", 'must be an object such as {"type": "auto"}')
    kind = choice.get("type")
    found: JSONDict = {}
    if kind == "tool":
        name = required_text(choice, "name", "tool_choice.name")
        if name not in names:
            refuse("tool_choice.name", f"is {name!r}, which is not among 'tools'")
        found["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif isinstance(kind, str) and kind in _TOOL_CHOICES:
        if kind == "any" and not names:
            refuse("tool_choice", "is only allowed when 'tools' has tools")
        found["tool_choice"] = _TOOL_CHOICES[kind]
    else:
        refuse("tool_choice.type", "must be 'auto', 'any', 'tool' or 'none'")
    place = "tool_choice.disable_parallel_tool_use"
    if _flag(choice, "disable_parallel_tool_use", place):
        found["parallel_tool_calls"] = False
    return found


# The answer's form


def _output_config(body: JSONDict, fields: JSONDict) -> JSONDict:
    """The schema of a structured answer; the effort stays Anthropic's."""
    optional_object(body, "output_config", "output_config")
    config: JSONDict = dict(body.get("output_config") or {})
    wanted, place = config.pop("format", None), "output_config.format"
    if wanted is None:
        wanted, place = body.get("output_format"), "output_format"
    optional_text(config, "effort", "output_config.effort")
    if effort := config.pop("effort", None):
        fields["output_config"] = {"effort": effort}
    fields |= {f"output_config.{name}": value for name, value in config.items()}
    return {} if wanted is None else {"response_format": _format(wanted, place)}


def _format(wanted: Any, place: str) -> JSONDict:
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        refuse(place, "must be an object of type 'json_schema'")
    if not isinstance(wanted.get("schema"), dict):
        refuse(f"{place}.schema", "must be a JSON schema")
    described = {"name": "answer", "strict": True, "schema": wanted["schema"]}
    return {"type": "json_schema", "json_schema": described}


def _unsupported(name: str, advice: str) -> NoReturn:
    raise UnsupportedParameter(f"'{name}' is not supported here: {advice}.", param=name)
