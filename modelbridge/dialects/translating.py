"""What every translation of a canonical request into another wire format needs.

Errors name the place, such as `messages[2].content[0].text`.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence, Set
from typing import Any
from urllib.parse import unquote_to_bytes

from modelbridge.dialects.openai_responses_request import FIELDS as RESPONSES
from modelbridge.dialects.openai_responses_request import unsaid_fields
from modelbridge.errors import InvalidRequest, UnsupportedParameter
from modelbridge.jsonio import JSONDict, dumps, loads_as_written
from modelbridge.wire.chat import Message

SYSTEM_ROLES = ("system", "developer")
_MAX_NAME, _MAX_NAMES = 64, 32
_UNFIT = re.compile(r"[^A-Za-z0-9_.$-]")


def unsaid(
    request: JSONDict,
    translated: Set[str],
    refused: Mapping[str, tuple[object, ...]],
    says_nothing: Mapping[str, tuple[object, ...]],
) -> list[str]:
    """The names of the hints that go nowhere.

    `refused` change the meaning of the call: UnsupportedParameter, unless their value is one of
    those that ask for nothing. `says_nothing`: such values of hints, which need no mention.
    """
    dropped = []
    for name, value in request.items():
        if value is None or name in translated:
            continue
        if name == RESPONSES:
            dropped += unsaid_fields(request)
        elif name in refused:
            if value not in refused[name]:
                raise UnsupportedParameter(f"this model cannot do {name}: leave it out", param=name)
        elif value not in says_nothing.get(name, ()):
            dropped.append(name)
    return dropped


def spelled(dropped: list[str]) -> tuple[str, ...]:
    """Each name once, fit for a header: some are the client's own, of any length and alphabet."""
    names = list(dict.fromkeys(_UNFIT.sub("?", name[:_MAX_NAME]) for name in dropped))
    return tuple(names if len(names) <= _MAX_NAMES else [*names[:_MAX_NAMES], "and-more"])


def string(holder: object, key: str, where: str) -> str:
    """The string at `key`. Raises InvalidRequest naming `where` and the key."""
    value = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(value, str):
        raise InvalidRequest(f"{key} must be a string", param=f"{where}.{key}")
    return value


def stop_texts(stop: object) -> list[str]:
    """The stop sequences that are not empty. Raises InvalidRequest."""
    stops = [stop] if isinstance(stop, str) else stop if stop is not None else []
    if not isinstance(stops, list) or not all(isinstance(one, str) for one in stops):
        raise InvalidRequest("stop must be a string or a list of strings", param="stop")
    return [one for one in stops if one]


# Messages


def check_messages(messages: object) -> None:
    """Raises InvalidRequest unless it is a list of objects."""
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise InvalidRequest("messages must be a list of objects", param="messages")


def asking_from(messages: Sequence[Message]) -> int:
    """The index from which on system messages stand for the user's turn.

    For formats that keep the system's words apart from the turns: those after the last turn, if
    nothing but they ask for an answer, because the assistant spoke last or nobody did.
    """
    last = len(messages) - 1
    while last >= 0 and messages[last].get("role") in SYSTEM_ROLES:
        last -= 1
    if last < 0 or messages[last].get("role") == "assistant":
        return last + 1
    return len(messages)


def bad_role(role: object, where: str) -> InvalidRequest:
    """The refusal of a role that no other format has."""
    if role == "function":
        return UnsupportedParameter(
            "the role 'function' is deprecated: send 'tool' messages with tool_call_id",
            param=f"{where}.role",
        )
    return InvalidRequest(
        "role must be system, developer, user, assistant or tool", param=f"{where}.role"
    )


def refuse_in_assistant(message: Message, where: str) -> None:
    """Raises UnsupportedParameter for what only OpenAI's own models read back."""
    for name in ("function_call", "audio"):
        if message.get(name):
            raise UnsupportedParameter(
                f"{name} on an assistant message cannot be sent to this model",
                param=f"{where}.{name}",
            )


def tool_calls(message: Message, where: str) -> list[Any]:
    """The calls of an assistant's message, as they are. Raises InvalidRequest if they are none."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise InvalidRequest("tool_calls must be a list", param=f"{where}.tool_calls")
    return calls


def called_function(call: Any, where: str) -> JSONDict:
    """The `function` of a tool call. Raises UnsupportedParameter for calls of other kinds."""
    if not isinstance(call, dict) or call.get("type", "function") != "function":
        raise UnsupportedParameter("only tool calls of type 'function' can be sent", param=where)
    function = call.get("function")
    return function if isinstance(function, dict) else {}


def arguments_object(text: object) -> JSONDict:
    """A tool call's arguments as an object, for formats that have no text for it.

    What a model wrote wrongly is shown to it as it was, wrapped, instead of failing the
    conversation for ever.
    """
    if isinstance(text, dict):
        return text
    if not isinstance(text, str) or not text.strip():
        return {}
    try:
        value = loads_as_written(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": text}


def read_data_url(url: str, where: str) -> tuple[str, str]:
    """The media type, in lower case, and the base64 of a data URL (RFC 2397), base64 or not."""
    if url[:5].lower() != "data:" or "," not in url:
        raise InvalidRequest("must be an http(s) URL or a data URL", param=where)
    head, _, payload = url[5:].partition(",")
    media, *flags = (piece.strip().lower() for piece in head.split(";"))
    if "base64" not in flags:
        payload = b64encode(unquote_to_bytes(payload)).decode()
    return ("image/jpeg" if media == "image/jpg" else media), payload


# Tools


def function_of(tool: Any, where: str) -> JSONDict:
    """The `function` of a tool, its name and parameters sound. Raises InvalidRequest."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind != "function":
        raise UnsupportedParameter(
            f"tools of type {kind!r} cannot be used here: only 'function' can",
            param=f"{where}.type",
        )
    function: object = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidRequest("a tool needs function.name", param=f"{where}.function.name")
    if not isinstance(function.get("parameters"), dict | None):
        raise InvalidRequest(
            "parameters must be a JSON schema", param=f"{where}.function.parameters"
        )
    return function


def in_words(keywords: JSONDict) -> str:
    """Keywords of a schema as a description says them: no longer than they were, being priced so.

    Python's own form of a list writes one byte, such as DEL's, as four; quotes are escaped there.
    """
    return "{" + ", ".join(f"{name}: {_said(value)}" for name, value in keywords.items()) + "}"


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "[" + ",".join(map(_said, value)) + "]"
    return in_words(value) if isinstance(value, dict) else dumps(value).decode()


def allowed_tools(choice: JSONDict) -> tuple[list[str], str]:
    """The names in OpenAI's `allowed_tools`, and its mode: auto or required."""
    match choice.get("allowed_tools"):
        case {"mode": "auto" | "required" as mode, "tools": list(listed)}:
            return [tool["function"]["name"] for tool in listed if _names_a_function(tool)], mode
    raise InvalidRequest(
        "allowed_tools needs a mode (auto or required) and tools", param="tool_choice.allowed_tools"
    )


def _names_a_function(tool: object) -> bool:
    match tool:
        case {"function": {"name": str()}}:
            return True
    return False
