"""The messages of a chat completion, checked so that no translator can stumble over them.

Source: OpenAI's OpenAPI document, ChatCompletionRequestMessage.
"""

from collections.abc import Iterator
from types import NoneType
from typing import NoReturn

from modelbridge.errors import InvalidRequest
from modelbridge.jsonio import JSONDict

# Which content parts each role may have. A tool's answer may hold images: compatible servers
# and Anthropic take them.
_PARTS = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "tool": ("text", "image_url"),
    "function": ("text",),
}
# Beside one of these an assistant's message needs no content.
_INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "refusal", "audio")


def refuse(param: str, reason: str) -> NoReturn:
    """Raises InvalidRequest: "'param' reason." """
    raise InvalidRequest(f"'{param}' {reason}.", param=param)


def required_text(holder: JSONDict, name: str, place: str, *, empty: bool = False) -> str:
    """The string at `name`, not empty unless allowed. Raises InvalidRequest naming `place`."""
    value = holder.get(name)
    if value is None:
        refuse(place, "is required")
    if not isinstance(value, str) or not (value or empty):
        refuse(place, "must be a string" if empty else "must be a string that is not empty")
    return value


def optional_text(holder: JSONDict, name: str, place: str) -> None:
    """Raises InvalidRequest unless `name` is a string, null or absent."""
    if not isinstance(holder.get(name), str | NoneType):
        refuse(place, "must be a string")


def optional_object(holder: JSONDict, name: str, place: str, what: str = "an object") -> None:
    """Raises InvalidRequest unless `name` is an object, null or absent."""
    if not isinstance(holder.get(name), dict | NoneType):
        refuse(place, f"must be {what}")


def objects(value: object, place: str) -> Iterator[tuple[str, JSONDict]]:
    """Each object of a list with its place, "tools[0]"; nothing if it is absent."""
    if value is None:
        return
    if not isinstance(value, list):
        refuse(place, "must be a list")
    for number, item in enumerate(value):
        if not isinstance(item, dict):
            refuse(f"{place}[{number}]", "must be an object")
        yield f"{place}[{number}]", item


def check_messages(messages: object) -> None:
    """Raises InvalidRequest naming the place unless this is a list of messages, not empty."""
    if messages is None:
        refuse("messages", "is required")
    if messages == []:
        refuse("messages", "must have at least one message")
    for place, message in objects(messages, "messages"):
        role = message.get("role")
        if not isinstance(role, str) or role not in _PARTS:
            refuse(f"{place}.role", f"must be one of {', '.join(_PARTS)}")
        _check_content(message, role, place)
        for name in ("name", "reasoning_content"):
            optional_text(message, name, f"{place}.{name}")
        if role == "assistant":
            _check_assistant(message, place)
        elif role == "tool":
            required_text(message, "tool_call_id", f"{place}.tool_call_id", empty=True)
        elif role == "function":
            required_text(message, "name", f"{place}.name")


def _check_content(message: JSONDict, role: str, place: str) -> None:
    content, place = message.get("content"), f"{place}.content"
    if isinstance(content, str):
        return
    if content is None:
        may_lack = role == "assistant" and any(message.get(name) for name in _INSTEAD_OF_CONTENT)
        if not may_lack and role != "function":
            refuse(place, "is required: a string or a list of parts")
        return
    if not isinstance(content, list):
        refuse(place, "must be a string or a list of parts")
    for part_place, part in objects(content, place):
        kind = part.get("type")
        if kind not in _PARTS[role]:
            allowed = ", ".join(_PARTS[role])
            refuse(f"{part_place}.type", f"must be one of {allowed} in a message of role '{role}'")
        optional_object(part, "cache_control", f"{part_place}.cache_control")
        _check_part(part, kind, part_place)


def _check_part(part: JSONDict, kind: str, place: str) -> None:
    if kind in ("text", "refusal"):
        required_text(part, kind, f"{place}.{kind}", empty=True)
        return
    value, place = part.get(kind), f"{place}.{kind}"
    if not isinstance(value, dict):
        example = ' such as {"url": "https://…"}' if kind == "image_url" else ""
        refuse(place, f"must be an object{example}")
    if kind == "image_url":
        required_text(value, "url", f"{place}.url")
        optional_text(value, "detail", f"{place}.detail")
    elif kind == "input_audio":
        required_text(value, "data", f"{place}.data")
        required_text(value, "format", f"{place}.format")
    else:
        _check_file(value, place)


def _check_file(value: JSONDict, place: str) -> None:
    for name in ("file_id", "file_data", "filename"):
        optional_text(value, name, f"{place}.{name}")
    if not (value.get("file_id") or value.get("file_data")):
        refuse(place, "must have 'file_data' or 'file_id'")


def _check_assistant(message: JSONDict, place: str) -> None:
    for call_place, call in objects(message.get("tool_calls"), f"{place}.tool_calls"):
        # Gemini's compatible endpoint gives empty ids and wants them back.
        required_text(call, "id", f"{call_place}.id", empty=True)
        kind = call.get("type") or "function"
        if kind not in ("function", "custom"):
            refuse(f"{call_place}.type", "must be 'function' or 'custom'")
        called = call.get(kind)
        if not isinstance(called, dict):
            refuse(f"{call_place}.{kind}", "must be an object")
        required_text(called, "name", f"{call_place}.{kind}.name")
        wanted = "arguments" if kind == "function" else "input"
        required_text(called, wanted, f"{call_place}.{kind}.{wanted}", empty=True)
    for _ in objects(message.get("thinking_blocks"), f"{place}.thinking_blocks"):
        pass
