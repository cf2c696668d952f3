"""Anthropic's Messages API, version 2023-06-01: what its clients speak to us, and we to Anthropic.

Both halves are gathered here; the clients' is in the files `anthropic_front_*`. This file turns a
canonical chat request into a body for `/v1/messages`; the conversation is in
`anthropic_messages_turns`, what each model takes in `anthropic_messages_models`, the way back in
`anthropic_messages_reply`. Source: https://platform.claude.com/docs/en/api/messages, and the
types of Anthropic's own SDK (anthropic 2.12.0).

Decisions where the two APIs differ, besides those named in the other files:

- `max_tokens` is always the output cap that was paid for; `service_tier` is always
  `standard_only`, because the priority tier has other prices.
- `temperature`: both scales have the model's own distribution at 1, but Anthropic's ends there.
  Above 1 it is sent as 1 and named as dropped, which is also what Anthropic's own OpenAI layer
  does (https://platform.claude.com/docs/en/api/openai-sdk). Models that refuse sampling fields get
  none of them. `top_p` beside `temperature` is refused by the API: `temperature` wins.
- A stop sequence of nothing but white space is refused by the API; leaving it out would make
  answers run on, so it is a 400 here.
- `json_schema` is `output_config.format`, which enforces it. Keywords that the API refuses move
  into the description, as Anthropic's SDKs do (`lib/_parse/_transform.py`), and are named as
  dropped. `json_object` promises JSON of any shape, which nothing here can promise: 400.
- Tools that run at the provider, and MCP servers, have costs without a bound: 400.
"""

from typing import Any, cast

from modelbridge.dialects.anthropic_front_errors import write_error, write_stream_error
from modelbridge.dialects.anthropic_front_pass import (
    find_usage,
    inspect,
    mend_stream,
    write_usage_frame,
)
from modelbridge.dialects.anthropic_front_request import FIELDS, read_request
from modelbridge.dialects.anthropic_front_write import write_reply, write_stream
from modelbridge.dialects.anthropic_messages_models import (
    Generation,
    Thinking,
    choose_thinking,
    generation_of,
)
from modelbridge.dialects.anthropic_messages_reply import read_error, read_reply, read_stream
from modelbridge.dialects.anthropic_messages_turns import build_turns
from modelbridge.dialects.translating import (
    allowed_tools,
    function_of,
    in_words,
    spelled,
    stop_texts,
    unsaid,
)
from modelbridge.errors import InvalidRequest, UnsupportedParameter
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest
from modelbridge.wire.target import Target, WireRequest

__all__ = [
    "NAME",
    "build_request",
    "find_usage",
    "inspect",
    "mend_stream",
    "read_error",
    "read_reply",
    "read_request",
    "read_stream",
    "write_error",
    "write_reply",
    "write_stream",
    "write_stream_error",
    "write_usage_frame",
]

NAME = "anthropic_messages"
_PATH = "/v1/messages"
_HEADERS = {"anthropic-version": "2023-06-01"}

# What is translated below, or says nothing to an upstream.
_TRANSLATED = {
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
    "temperature", "top_p", "top_k", "stop", "tools", "tool_choice", "parallel_tool_calls",
    "response_format", "reasoning_effort", "thinking", "user", "safety_identifier", FIELDS,
}  # fmt: skip
# What changes the meaning of the call, with the values that ask for nothing.
_REFUSED: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none",),
    "web_search_options": (),
    "mcp_servers": ([],),
}
# Hints whose value may ask for nothing; every field that is in no table is a hint, too.
_SAYS_NOTHING: dict[str, tuple[object, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "metadata": ({},),
    "service_tier": ("auto", "default", "standard_only"),
}
_MAX_USER_ID = 256
# What only Anthropic's own clients can say, and is said as they said it.
_OWN_FIELDS = ("output_config", "cache_control")


def build_request(request: ChatRequest, target: Target, max_output: int) -> WireRequest:
    """The request for `/v1/messages`; `dropped` names the hints that it cannot say.

    Raises InvalidRequest for what is malformed, UnsupportedParameter for what would change the
    meaning of the call; both name the field.
    """
    own = cast(JSONDict, request).get(FIELDS)
    own = own if isinstance(own, dict) else {}
    dropped = unsaid(cast(JSONDict, request), _TRANSLATED, _REFUSED, _SAYS_NOTHING)
    dropped += [name for name in own if name not in _OWN_FIELDS]
    generation = generation_of(target.model)
    thinking = choose_thinking(request, generation, max_output)
    turns = build_turns(request.get("messages") or [], keep_thinking=thinking.on)
    dropped += [*thinking.dropped, *turns.dropped]
    body: JSONDict = {"model": target.model, "max_tokens": max_output, "messages": turns.messages}
    if turns.system:
        body["system"] = _system(turns.system)
    if request.get("stream"):
        body["stream"] = True
    if stops := _stops(request.get("stop")):
        body["stop_sequences"] = stops
    if thinking.config is not None:
        body["thinking"] = thinking.config
    body |= _tools(request, generation, dropped)
    body |= _sampling(request, generation, thinking, dropped)
    body |= _output_config(request, generation, thinking, dropped)
    if isinstance(config := own.get("output_config"), dict):
        body["output_config"] = {**body.get("output_config", {}), **config}
    if isinstance(mark := own.get("cache_control"), dict):
        body["cache_control"] = mark
    body |= _user_id(request, dropped)
    body["service_tier"] = "standard_only"
    path = target.quirks.paths.get(NAME, _PATH)
    return WireRequest(path, body, _HEADERS, spelled(dropped))


def _system(blocks: list[JSONDict]) -> str | list[JSONDict]:
    """The plain form where it says everything, else blocks with their cache marks."""
    return blocks[0]["text"] if len(blocks) == 1 and len(blocks[0]) == 2 else blocks


def _stops(stop: object) -> list[str]:
    found = stop_texts(stop)
    if any(not one.strip() for one in found):
        raise UnsupportedParameter(
            "this model takes no stop sequence that is only white space: add a visible character",
            param="stop",
        )
    return found


def _user_id(request: ChatRequest, dropped: list[str]) -> JSONDict:
    for name in ("safety_identifier", "user"):
        value = cast(JSONDict, request).get(name)
        if isinstance(value, str) and value:
            if len(value) <= _MAX_USER_ID:
                return {"metadata": {"user_id": value}}
            dropped.append(name)
    return {}


def _sampling(
    request: ChatRequest, generation: Generation, thinking: Thinking, dropped: list[str]
) -> JSONDict:
    """temperature, top_p and top_k as far as the model takes them; 1 and 1 are its own defaults."""
    said: JSONDict = {}
    for name in ("temperature", "top_p", "top_k"):
        value = cast(JSONDict, request).get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise InvalidRequest(f"{name} must be a number", param=name)
        if value is not None and (name == "top_k" or value != 1):
            said[name] = value
    if said.get("temperature", 0) > 1:
        del said["temperature"]
        dropped.append("temperature")
    if not generation.takes_sampling:
        unsaid = list(said)
    elif thinking.on:  # "isn't compatible with temperature or top_k", and top_p from 0.95 on
        unsaid = [name for name in said if name != "top_p" or said[name] < 0.95]
    else:
        unsaid = ["top_p"] if {"temperature", "top_p"} <= said.keys() else []
    dropped += unsaid
    return {name: value for name, value in said.items() if name not in unsaid}


# Tools


def _tools(request: ChatRequest, generation: Generation, dropped: list[str]) -> JSONDict:
    """`tools` and `tool_choice`, or nothing where the request has no tools."""
    given = request.get("tools") or []
    if not isinstance(given, list):
        raise InvalidRequest("tools must be a list", param="tools")
    choice = request.get("tool_choice")
    tools = [_tool(tool, f"tools[{i}]", generation, dropped) for i, tool in enumerate(given)]
    if not tools and choice in (None, "auto", "none"):
        return _tools_of_before(request)
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        names, choice = allowed_tools(choice)
        tools = [tool for tool in tools if tool["name"] in names]  # which comes to the same
    said: JSONDict = {"tools": tools} if tools else {}
    one_at_a_time = request.get("parallel_tool_calls") is False
    if choice is None and not one_at_a_time:
        return said
    wanted = _tool_choice(choice)
    if one_at_a_time and wanted["type"] != "none":
        wanted["disable_parallel_tool_use"] = True
    return {**said, "tool_choice": wanted}


def _tools_of_before(request: ChatRequest) -> JSONDict:
    """Where no tools are offered any more, those that the conversation called: none is to be used.

    The API refuses calls and results in a request without `tools`.
    """
    made = [call for message in request["messages"] for call in message.get("tool_calls") or ()]
    names = dict.fromkeys(call["function"]["name"] for call in made)
    if not names:
        return {}
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in names]
    return {"tools": tools, "tool_choice": {"type": "none"}}


def _tool(tool: Any, where: str, generation: Generation, dropped: list[str]) -> JSONDict:
    function = function_of(tool, where)
    schema = function.get("parameters")
    found: JSONDict = {"name": function["name"]}
    if function.get("description"):
        found["description"] = function["description"]
    found["input_schema"] = {"type": "object", **(schema or {"properties": {}})}
    if function.get("strict") is True:
        if generation.takes_schemas:
            found["strict"] = True
            found["input_schema"] = enforceable(found["input_schema"], "tools", dropped)
        else:
            dropped.append("tools.strict")
    mark = tool.get("cache_control") or function.get("cache_control")
    return {**found, "cache_control": mark} if isinstance(mark, dict) else found


def _tool_choice(choice: object) -> JSONDict:
    match choice:
        case None | "auto":
            return {"type": "auto"}
        case "required":
            return {"type": "any"}
        case "none":
            return {"type": "none"}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
    raise InvalidRequest(
        "tool_choice must be auto, none, required or name a function", param="tool_choice"
    )


# Structured output


def _output_config(
    request: ChatRequest, generation: Generation, thinking: Thinking, dropped: list[str]
) -> JSONDict:
    config: JSONDict = {"effort": thinking.effort} if thinking.effort else {}
    wanted = request.get("response_format") or {"type": "text"}
    match wanted:
        case {"type": "text"}:
            pass
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)} as described}:
            if not generation.takes_schemas:
                raise UnsupportedParameter(
                    "this model cannot enforce a JSON schema: use a newer one, or a tool",
                    param="response_format",
                )
            if described.get("description"):
                schema = {"description": described["description"], **schema}
            schema = enforceable(schema, "response_format", dropped)
            config["format"] = {"type": "json_schema", "schema": schema}
        case {"type": "json_object"}:
            raise UnsupportedParameter(
                "this model cannot promise JSON of any shape: send response_format json_schema"
                " with a schema, which it enforces",
                param="response_format",
            )
        case _:
            raise InvalidRequest(
                "response_format must be text, or json_schema with json_schema.schema",
                param="response_format",
            )
    return {"output_config": config} if config else {}


_NESTED_BY_NAME = {"properties", "$defs", "definitions"}
_NESTED_LISTS = {"anyOf", "oneOf", "allOf"}
_KEPT = {
    "$ref", "type", "enum", "const", "required", "description", "title", "default",
    "additionalProperties",
}  # fmt: skip
_MEANINGLESS = {"$schema", "$id", "$comment", "examples"}
_FORMATS = {
    "date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid",
}  # fmt: skip


def enforceable(schema: object, field: str, dropped: list[str]) -> Any:
    """The schema as Anthropic's constrained decoding takes it.

    Objects that say nothing of additional properties are closed; keywords that are refused become
    words in the description and are added to `dropped` as `field.keyword`.
    https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
    """
    if not isinstance(schema, dict):
        return schema
    found: JSONDict = {}
    words: JSONDict = {}
    for key, value in schema.items():
        if key in _NESTED_BY_NAME and isinstance(value, dict):
            found[key] = {name: enforceable(one, field, dropped) for name, one in value.items()}
        elif key in _NESTED_LISTS and isinstance(value, list):
            to = "anyOf" if key == "oneOf" else key
            found[to] = [enforceable(one, field, dropped) for one in value]
        elif key == "items":
            found[key] = enforceable(value, field, dropped)
        elif key in _KEPT or _allowed_value(key, value):
            found[key] = value
        elif key not in _MEANINGLESS:
            words[key] = value
    if _is_object(found):
        found.setdefault("additionalProperties", False)
    if words:
        dropped += [f"{field}.{key}" for key in words]
        said = in_words(words)
        found["description"] = "\n\n".join(filter(None, (found.get("description"), said)))
    return found


def _allowed_value(key: str, value: object) -> bool:
    return (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1))


def _is_object(schema: JSONDict) -> bool:
    kind = schema.get("type")
    return (
        kind == "object" or "properties" in schema or (isinstance(kind, list) and "object" in kind)
    )
