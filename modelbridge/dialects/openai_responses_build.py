"""A canonical chat request as the body for OpenAI's `/responses`.

Source: OpenAI's OpenAPI document, CreateResponse. Decisions where the two formats differ:

- `store` is always false: what the provider keeps is not ours to keep. Items therefore go without
  their ids, which would be looked up there, and reasoning only with its encrypted content.
- A first system message of plain text is `instructions`.
- There are no stop sequences and no second answer: 400. Penalties, biases and seeds are dropped.
- Functions are not strict unless somebody says so; a request of this format may leave it open.
"""

from typing import Any, cast

from modelbridge.dialects.openai_chat_foreign import without_anthropic
from modelbridge.dialects.openai_paths import path_at
from modelbridge.dialects.openai_responses_reasoning import reasoning_item
from modelbridge.dialects.openai_responses_request import ENCRYPTED, FIELDS, OPENAIS
from modelbridge.dialects.openai_responses_tools import GRAMMAR, free_text
from modelbridge.dialects.translating import (
    bad_role,
    called_function,
    function_of,
    refuse_in_assistant,
    spelled,
    stop_texts,
    string,
    tool_calls,
    unsaid,
)
from modelbridge.errors import InvalidRequest, UnsupportedParameter
from modelbridge.jsonio import JSONDict
from modelbridge.wire.chat import ChatRequest
from modelbridge.wire.target import Target, WireRequest

NAME = "openai_responses"
_PATH = "/responses"
_SAME = ("temperature", "top_p", "parallel_tool_calls", "user", *OPENAIS)
_TRANSLATED = {
    "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "stop",
    "tools", "tool_choice", "response_format", "verbosity", "reasoning_effort", "service_tier",
    FIELDS, *_SAME,
}  # fmt: skip
_REFUSED: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none",),
}
_SAYS_NOTHING: dict[str, tuple[object, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "web_search_options": (),
}
# Of the fields that this format alone has, what is no field of a request, or is decided here.
_DECIDED = ("reasoning", "text", "include", GRAMMAR)


def build_request(request: ChatRequest, target: Target, max_output: int) -> WireRequest:
    """The request; `dropped` names the hints that it cannot say.

    Raises InvalidRequest for what is malformed, UnsupportedParameter for what would change the
    meaning of the call; both name the field.
    """
    given, dropped = without_anthropic(cast(JSONDict, dict(request)))
    own: JSONDict | None = given.get(FIELDS) if isinstance(given.get(FIELDS), dict) else None
    dropped += unsaid(given, _TRANSLATED, _REFUSED, _SAYS_NOTHING)
    if stop_texts(given.get("stop")):
        raise UnsupportedParameter(
            "this model takes no stop sequences here: leave 'stop' out", param="stop"
        )
    body: JSONDict = {"model": target.model, "max_output_tokens": max_output, "store": False}
    body |= _input(given["messages"], dropped)
    if given.get("stream"):
        body["stream"] = True
    body |= {name: given[name] for name in _SAME if given.get(name) is not None}
    if given.get("service_tier") in ("default", "standard_only"):
        body["service_tier"] = "default"
    body |= _tools(given, is_own=own is not None)
    body |= _text(given, own or {}) | _reasoning(given, own or {})
    for name, value in (own or {}).items():
        if name != GRAMMAR and "." in name:
            dropped.append(name)
        elif name not in _DECIDED:
            body[name] = value
    _apply_quirks(body, target, dropped)
    return WireRequest(path_at(target, NAME, _PATH), body, dropped=spelled(dropped))


def _apply_quirks(body: JSONDict, target: Target, dropped: list[str]) -> None:
    for name in target.quirks.drop:
        if body.pop(name, None) is not None:
            dropped.append(name)
    for name, value in target.quirks.force.items():
        if body.get(name, value) != value:
            dropped.append(name)
        body[name] = value


def _text(given: JSONDict, own: JSONDict) -> JSONDict:
    text: JSONDict = dict(own.get("text") or {})
    if given.get("verbosity"):
        text["verbosity"] = given["verbosity"]
    wanted = given.get("response_format") or {"type": "text"}
    match wanted:
        case {"type": "text"}:
            pass
        case {"type": "json_object"}:
            text["format"] = {"type": "json_object"}
        case {"type": "json_schema", "json_schema": {"schema": dict()} as described}:
            text["format"] = {"type": "json_schema", "name": "answer", **described}
        case _:
            raise InvalidRequest(
                "response_format must be text, json_object, or json_schema with json_schema.schema",
                param="response_format",
            )
    return {"text": text} if text else {}


def _reasoning(given: JSONDict, own: JSONDict) -> JSONDict:
    """The effort; the thought comes back sealed for the next round, since nothing is stored."""
    reasoning: JSONDict = dict(own.get("reasoning") or {})
    if given.get("reasoning_effort"):
        reasoning["effort"] = given["reasoning_effort"]
    include = list(own.get("include") or [])
    if given.get("reasoning_effort") not in (None, "none") and ENCRYPTED not in include:
        include.append(ENCRYPTED)
    found: JSONDict = {"reasoning": reasoning} if reasoning else {}
    return {**found, "include": include} if include else found


# The conversation


def _input(messages: list[JSONDict], dropped: list[str]) -> JSONDict:
    first, rest = messages[0], messages[1:]
    said: JSONDict = {}
    offset = 0
    if rest and first.get("role") == "system" and isinstance(first.get("content"), str):
        said, messages, offset = {"instructions": first["content"]}, rest, 1
        _drop_names(first, dropped)
    items: list[JSONDict] = []
    for index, message in enumerate(messages, offset):
        items += _items(message, f"messages[{index}]", dropped)
    if not items:
        raise InvalidRequest("messages holds nothing to answer", param="messages")
    return {**said, "input": items}


def _items(message: JSONDict, where: str, dropped: list[str]) -> list[JSONDict]:
    role = message.get("role")
    _drop_names(message, dropped)
    if role == "assistant":
        return _assistant(message, where, dropped)
    if role == "tool":
        output = _content(message.get("content"), f"{where}.content", "input_text")
        answered = string(message, "tool_call_id", where)
        kind = "custom_tool_call_output" if message.get("custom") else "function_call_output"
        return [{"type": kind, "call_id": answered, "output": output}]
    if role not in ("system", "developer", "user"):
        raise bad_role(role, where)
    content = _content(message.get("content"), f"{where}.content", "input_text")
    return [{"type": "message", "role": role, "content": content}]


def _drop_names(message: JSONDict, dropped: list[str]) -> None:
    if message.get("name"):
        dropped.append("messages.name")


def _assistant(message: JSONDict, where: str, dropped: list[str]) -> list[JSONDict]:
    """Reasoning, then text, then calls: the order in which the model makes them."""
    refuse_in_assistant(cast(Any, message), where)
    blocks = message.get("thinking_blocks")
    thought = (
        [reasoning_item(block) for block in blocks if isinstance(block, dict)] if blocks else []
    )
    items = [item for item in thought if item is not None]
    if len(items) < len(thought):
        dropped.append("thinking_blocks")
    if message.get("reasoning_content") and not thought:
        dropped.append("reasoning_content")
    content = _content(message.get("content"), f"{where}.content", "output_text")
    if not content and message.get("refusal"):
        content = [{"type": "refusal", "refusal": message["refusal"]}]
    if content:
        said: JSONDict = {"type": "message", "role": "assistant", "content": content}
        items.append(said | ({"phase": message["phase"]} if message.get("phase") else {}))
    for number, call in enumerate(tool_calls(cast(Any, message), where)):
        items.append(_call(call, f"{where}.tool_calls[{number}]"))
    return items


def _call(call: Any, where: str) -> JSONDict:
    function = called_function(call, where)
    name = string(function, "name", f"{where}.function")
    arguments = string(function, "arguments", f"{where}.function")
    said = {"type": "function_call", "arguments": arguments}
    if call.get("custom") is True:
        said = {"type": "custom_tool_call", "input": free_text(arguments)}
    item: JSONDict = {**said, "call_id": string(call, "id", where), "name": name}
    match call:
        case {"namespace": str(namespace), "own_name": str(own_name)}:
            item |= {"name": own_name, "namespace": namespace}
    return item


def _content(content: object, where: str, text_type: str) -> str | list[JSONDict]:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InvalidRequest("content must be text or a list of parts", param=where)
    return [_part(part, f"{where}[{at}]", text_type) for at, part in enumerate(content)]


def _part(part: Any, where: str, text_type: str) -> JSONDict:
    match part:
        case {"type": "text", "text": str(text)}:
            return {"type": text_type, "text": text}
        case {"type": "refusal", "refusal": str(refusal)}:
            return {"type": "refusal", "refusal": refusal}
        case {"type": "image_url", "image_url": {"url": str(url)} as image}:
            shown = {"type": "input_image", "image_url": url}
            return {**shown, "detail": image.get("detail") or "auto"}
        case {"type": "file", "file": dict(file)}:
            return {"type": "input_file", **_file(file)}
    kind = part.get("type") if isinstance(part, dict) else None
    raise UnsupportedParameter(
        f"a part of type {kind!r} cannot be sent to this model here", param=f"{where}.type"
    )


def _file(file: JSONDict) -> JSONDict:
    """The file; an address stands where its data would."""
    found = {name: file[name] for name in ("filename", "file_data", "file_id") if file.get(name)}
    if found.get("file_data", "").startswith(("http://", "https://")):
        return {"file_url": found["file_data"]}
    if "file_data" in found:
        found.setdefault("filename", "document.pdf")  # data without a name is refused
    return found


# Tools


def _tools(given: JSONDict, *, is_own: bool) -> JSONDict:
    """`tools`, as they were offered where they came in this format, and `tool_choice`."""
    tools: list[JSONDict] = []
    groups: dict[str, JSONDict] = {}
    customs: set[str] = set()
    for number, tool in enumerate(given.get("tools") or []):
        function = _function(tool, f"tools[{number}]", None if is_own else False)
        if is_own and isinstance(custom := tool.get("custom"), dict):
            customs.add(function["name"])
            function = {**custom, "type": "custom", "name": function["name"]}
        group = tool.get("namespace") if is_own else None
        if not group:
            tools.append(function)
            continue
        if group["name"] not in groups:
            groups[group["name"]] = {**group, "type": "namespace", "tools": []}
            tools.append(groups[group["name"]])
        function["name"] = tool["own_name"]
        groups[group["name"]]["tools"].append(function)
    if not tools:
        return {}
    choice = given.get("tool_choice")
    said = {} if choice is None else {"tool_choice": _tool_choice(choice, customs)}
    return {"tools": tools, **said}


def _function(tool: Any, where: str, strict: bool | None) -> JSONDict:
    function = function_of(tool, where)
    found: JSONDict = {"type": "function", "name": function["name"]}
    if function.get("description"):
        found["description"] = function["description"]
    found["parameters"] = function.get("parameters") or {"type": "object", "properties": {}}
    found["strict"] = strict if function.get("strict") is None else function["strict"]
    return found


def _tool_choice(choice: Any, customs: set[str]) -> str | JSONDict:
    match choice:
        case "none" | "auto" | "required":
            return cast(str, choice)
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "custom" if name in customs else "function", "name": name}
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(listed)}}:
            return {
                "type": "allowed_tools",
                "mode": mode,
                "tools": [_tool_choice(one, customs) for one in listed],
            }
    raise InvalidRequest(
        "tool_choice must be auto, none, required or name a function", param="tool_choice"
    )
