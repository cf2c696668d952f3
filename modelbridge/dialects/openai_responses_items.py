"""The `input` of a Responses request, read into canonical messages.

- Messages keep their role. What the assistant did in a row (reasoning, text, function calls)
  becomes one message; another begins where reasoning or text follows a text or a call, since a
  canonical message says reasoning first and calls last.
- A function's output becomes a `tool` message. A call of a custom tool is that of a function with
  one argument (see `openai_responses_tools`); it and its output are marked as `custom`.
- What one agent wrote to another is what a user said, with the name of who wrote it.
- A reasoning item that OpenAI encrypted is kept whole among the `thinking_blocks`, for its way
  back; one that carries another model's signature becomes that model's block again.
- The name of a function in a namespace is `namespace__name`; both stay at the call's side.

Source: OpenAI's OpenAPI document, InputItem.
"""

from collections.abc import Callable
from typing import Any, NoReturn

from modelbridge.dialects.openai_chat_messages import (
    objects,
    optional_text,
    refuse,
    required_text,
)
from modelbridge.dialects.openai_responses_reasoning import thinking_block
from modelbridge.dialects.openai_responses_tools import ADDED, joined_name, wrapped_text
from modelbridge.errors import UnsupportedParameter
from modelbridge.jsonio import JSONDict

_ROLES = ("user", "assistant", "system", "developer")
_IN_INPUT = ("input_text", "input_image", "input_file")
_IN_SYSTEM = ("input_text",)
_IN_ASSISTANT = ("output_text", "refusal", "input_text")


def read_input(given: object) -> list[JSONDict]:
    """The conversation. Raises InvalidRequest or UnsupportedParameter naming the item or field."""
    if given is None:
        refuse("input", "is required")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if given == []:
        refuse("input", "must have at least one item")
    if not isinstance(given, list):
        refuse("input", "must be a string or a list of items")
    messages: list[JSONDict] = []
    for place, item in objects(given, "input"):
        kind = item.get("type")
        if kind is None and "role" in item:
            kind = "message"
        read = _ITEMS.get(kind) if isinstance(kind, str) else None
        if read is None:
            _unsupported(f"{place}.type", f"is {kind!r}, which cannot be sent here: {_why(kind)}")
        read(item, place, messages)
    for message in messages:
        if message["role"] == "assistant" and not message.get("content"):
            message["content"] = None if message.get("tool_calls") else ""
    return messages


def _why(kind: object) -> str:
    if kind == "item_reference":
        return "nothing is stored, so send the item itself (many SDKs do it with 'store': false)"
    return f"send {', '.join(_ITEMS)}"


# Messages


def _message(item: JSONDict, place: str, messages: list[JSONDict]) -> None:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        refuse(f"{place}.role", f"must be one of {', '.join(_ROLES)}")
    if role == "assistant":
        _say(_parts(content, f"{place}.content", _IN_ASSISTANT), item, messages)
        return
    allowed = _IN_INPUT if role == "user" else _IN_SYSTEM
    messages.append({"role": role, "content": _parts(content, f"{place}.content", allowed)})


def _say(content: str | list[JSONDict], item: JSONDict, messages: list[JSONDict]) -> None:
    message = _assistant(messages, before=("content", "tool_calls"))
    message["content"] = content
    if item.get("phase"):  # newer models want it back: "commentary" or "final_answer"
        message["phase"] = item["phase"]


def _assistant(messages: list[JSONDict], before: tuple[str, ...]) -> JSONDict:
    """The assistant's message under way; a new one if it has any of these already."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or any(last.get(name) for name in before):
        last = {"role": "assistant", "content": None}
        messages.append(last)
    return last


def _parts(content: object, place: str, allowed: tuple[str, ...]) -> str | list[JSONDict]:
    """The content as text or as canonical parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        refuse(place, "is required: a string or a list of parts")
    found = []
    for at, part in objects(content, place):
        kind = part.get("type")
        if not isinstance(kind, str) or kind not in allowed:
            refuse(f"{at}.type", f"is {kind!r}; here it can be {', '.join(allowed)}")
        found.append(_PARTS[kind](part, at))
    return found


def _text_part(part: JSONDict, place: str) -> JSONDict:
    return {"type": "text", "text": required_text(part, "text", f"{place}.text", empty=True)}


def _refusal_part(part: JSONDict, place: str) -> JSONDict:
    refusal = required_text(part, "refusal", f"{place}.refusal", empty=True)
    return {"type": "refusal", "refusal": refusal}


def _image_part(part: JSONDict, place: str) -> JSONDict:
    if part.get("file_id"):
        _unsupported(
            f"{place}.file_id", "is a picture at the provider; send 'image_url' with a data URL"
        )
    image = {"url": required_text(part, "image_url", f"{place}.image_url")}
    optional_text(part, "detail", f"{place}.detail")
    if part.get("detail"):
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file_part(part: JSONDict, place: str) -> JSONDict:
    """A file; an address stands where its data would."""
    for name in ("file_id", "file_data", "file_url", "filename"):
        optional_text(part, name, f"{place}.{name}")
    file = {name: part[name] for name in ("filename", "file_data", "file_id") if part.get(name)}
    if url := part.get("file_url"):
        if not url.startswith(("http://", "https://")):
            refuse(f"{place}.file_url", "must begin with https://")
        file.setdefault("file_data", url)
    if not (file.get("file_data") or file.get("file_id")):
        refuse(place, "must have 'file_data', 'file_url' or 'file_id'")
    return {"type": "file", "file": file}


_PARTS: dict[str, Callable[[JSONDict, str], JSONDict]] = {
    "input_text": _text_part,
    "output_text": _text_part,
    "refusal": _refusal_part,
    "input_image": _image_part,
    "input_file": _file_part,
}


# Reasoning, calls and their outputs


def _reasoning(item: JSONDict, place: str, messages: list[JSONDict]) -> None:
    for name in ("summary", "content"):
        for at, part in objects(item.get(name), f"{place}.{name}"):
            required_text(part, "text", f"{at}.text", empty=True)
    for name in ("id", "encrypted_content"):
        optional_text(item, name, f"{place}.{name}")
    message = _assistant(messages, before=("content", "tool_calls"))
    block, thought = thinking_block(item)
    if block is not None:
        message.setdefault("thinking_blocks", []).append(block)
    elif thought:
        message["reasoning_content"] = message.get("reasoning_content", "") + thought


def _call(item: JSONDict, place: str, messages: list[JSONDict]) -> None:
    _add_call(item, place, messages)["function"]["arguments"] = required_text(
        item, "arguments", f"{place}.arguments", empty=True
    )


def _custom_call(item: JSONDict, place: str, messages: list[JSONDict]) -> None:
    call = _add_call(item, place, messages)
    text = required_text(item, "input", f"{place}.input", empty=True)
    call["function"]["arguments"] = wrapped_text(text)
    call["custom"] = True


def _add_call(item: JSONDict, place: str, messages: list[JSONDict]) -> JSONDict:
    optional_text(item, "namespace", f"{place}.namespace")
    name = required_text(item, "name", f"{place}.name")
    namespace: Any = item.get("namespace")
    call: JSONDict = {
        "id": required_text(item, "call_id", f"{place}.call_id"),
        "type": "function",
        "function": {"name": joined_name(namespace, name)},
    }
    if namespace:
        call |= {"namespace": namespace, "own_name": name}
    _assistant(messages, before=()).setdefault("tool_calls", []).append(call)
    return call


def _output(item: JSONDict, place: str, messages: list[JSONDict]) -> None:
    answered = required_text(item, "call_id", f"{place}.call_id")
    output = _parts(item.get("output"), f"{place}.output", _IN_INPUT)
    message: JSONDict = {"role": "tool", "tool_call_id": answered, "content": output}
    if item["type"] == "custom_tool_call_output":
        message["custom"] = True
    messages.append(message)


def _agent_message(item: JSONDict, place: str, messages: list[JSONDict]) -> None:
    author = required_text(item, "author", f"{place}.author")
    content = _parts(item.get("content"), f"{place}.content", ("input_text", "input_image"))
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    said = [{"type": "text", "text": f"{author}:"}, *parts]
    messages.append({"role": "user", "content": said})


_ITEMS: dict[str, Callable[[JSONDict, str, list[JSONDict]], None]] = {
    "message": _message,
    "reasoning": _reasoning,
    "function_call": _call,
    "function_call_output": _output,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _output,
    "agent_message": _agent_message,
    ADDED: lambda item, place, messages: None,  # openai_responses_tools reads them
}


def _unsupported(name: str, reason: str) -> NoReturn:
    raise UnsupportedParameter(f"'{name}' {reason}.", param=name)
