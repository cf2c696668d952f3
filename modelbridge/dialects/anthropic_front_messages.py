"""The conversation of a Messages request, read into canonical messages.

- A user's turn with tool results becomes one `tool` message each, then a `user` message with the
  rest: the way back to Anthropic's format puts them into one turn again.
- An assistant's turn becomes one message; another one begins where thinking follows text or a tool
  call, since a canonical message says thinking first. Consecutive ones are one turn again upstream.
- `cache_control` stays at the part, the tool call or the message that it marks.
"""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any, NoReturn

from modelbridge.dialects.openai_chat_messages import (
    objects,
    optional_object,
    optional_text,
    refuse,
    required_text,
)
from modelbridge.errors import UnsupportedParameter
from modelbridge.jsonio import JSONDict, dumps

_IN_USER = ("text", "image", "document", "tool_result")
_IN_ASSISTANT = ("text", "thinking", "redacted_thinking", "tool_use")
_IN_RESULT = ("text", "image", "document")
_DOCUMENT_EXTRAS = ("citations", "context")


def read_system(system: object) -> list[JSONDict]:
    """The system prompt as a message, or none."""
    if system is None or system in ("", []):
        return []
    if isinstance(system, str):
        return [{"role": "system", "content": system}]
    blocks = [_part(*one, ("text",)) for one in _blocks(system, "system")]
    return [{"role": "system", "content": blocks}]


def read_messages(messages: object) -> list[JSONDict]:
    """Every message. Raises InvalidRequest naming the message, block or field."""
    if messages is None:
        refuse("messages", "is required")
    if messages == []:
        refuse("messages", "must have at least one message")
    found: list[JSONDict] = []
    for place, message in objects(messages, "messages"):
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            refuse(f"{place}.role", "must be 'user' or 'assistant'")
        if isinstance(content, str):
            found.append({"role": role, "content": content})
            continue
        blocks = list(_blocks(content, f"{place}.content"))
        if not blocks and role != "assistant":
            refuse(f"{place}.content", "must have at least one content block")
        if role == "user":
            found += _user(blocks)
        elif role == "assistant":
            found += _assistant(blocks)
        else:
            found.append({"role": role, "content": [_part(*one, ("text",)) for one in blocks]})
    if not found:
        refuse("messages", "must have something in at least one message")
    return found


def _blocks(content: object, place: str) -> Iterator[tuple[str, JSONDict]]:
    """Each content block with its place; its type and cache mark are sound."""
    if not isinstance(content, list):
        refuse(place, "is required: a string or a list of content blocks")
    for at, block in objects(content, place):
        required_text(block, "type", f"{at}.type")
        optional_object(block, "cache_control", f"{at}.cache_control")
        yield at, block


def _marked(found: JSONDict, block: JSONDict) -> JSONDict:
    mark = block.get("cache_control")
    return {**found, "cache_control": mark} if mark else found


# The user's side


def _user(blocks: list[tuple[str, JSONDict]]) -> Iterator[JSONDict]:
    rest = []
    for place, block in blocks:
        if block["type"] == "tool_result":
            yield _tool_result(place, block)
        else:
            rest.append(_part(place, block, _IN_USER))
    if rest:
        yield {"role": "user", "content": rest}


def _tool_result(place: str, block: JSONDict) -> JSONDict:
    answered = required_text(block, "tool_use_id", f"{place}.tool_use_id")
    content = block.get("content")
    if content is None:
        content = ""
    if not isinstance(content, str):
        inner = _blocks(content, f"{place}.content")
        content = [_part(*one, _IN_RESULT) for one in inner] or ""
    found: JSONDict = {"role": "tool", "tool_call_id": answered, "content": content}
    if block.get("is_error") is True:
        found["is_error"] = True
    return _marked(found, block)


def _part(place: str, block: JSONDict, allowed: tuple[str, ...]) -> JSONDict:
    """A text, image or document as a canonical content part."""
    kind = block["type"]
    if kind not in allowed:
        _unsupported(f"{place}.type", f"is {kind!r}; here it can be {', '.join(allowed)}")
    if kind == "text":
        text = required_text(block, "text", f"{place}.text", empty=True)
        return _marked({"type": "text", "text": text}, block)
    source = block.get("source")
    if not isinstance(source, dict):
        refuse(f"{place}.source", "must be an object")
    if kind == "image":
        image = {"url": _address(source, f"{place}.source")}
        return _marked({"type": "image_url", "image_url": image}, block)
    file = {"file_data": _document(source, f"{place}.source")}
    optional_text(block, "title", f"{place}.title")
    if block.get("title"):
        file["filename"] = block["title"]
    extras = {name: block[name] for name in _DOCUMENT_EXTRAS if block.get(name)}
    return _marked({"type": "file", "file": file, **extras}, block)


def _address(source: JSONDict, place: str) -> str:
    """The data URL, or the web address, of what a source holds."""
    kind = source.get("type")
    if kind == "base64":
        media = required_text(source, "media_type", f"{place}.media_type")
        return f"data:{media};base64,{required_text(source, 'data', f'{place}.data')}"
    if kind != "url":
        _unsupported(f"{place}.type", f"is {kind!r}; send 'base64' or 'url'")
    url = required_text(source, "url", f"{place}.url")
    if not url.startswith(("http://", "https://")):
        refuse(f"{place}.url", "must begin with https://")
    return url


def _document(source: JSONDict, place: str) -> str:
    kind = source.get("type")
    if kind == "text":
        return _plain(required_text(source, "data", f"{place}.data", empty=True))
    if kind != "content":
        return _address(source, place)
    content = source.get("content")
    if isinstance(content, str):
        return _plain(content)
    inner = _blocks(content, f"{place}.content")
    return _plain("\n\n".join(_part(*one, ("text",))["text"] for one in inner))


def _plain(text: str) -> str:
    return f"data:text/plain;base64,{b64encode(text.encode()).decode()}"


# The assistant's side


def _assistant(blocks: list[tuple[str, JSONDict]]) -> list[JSONDict]:
    found: list[JSONDict] = []
    now: JSONDict = {}
    for place, block in blocks:
        kind = block["type"]
        if kind not in _IN_ASSISTANT:
            _unsupported(f"{place}.type", f"is {kind!r}; here it can be {', '.join(_IN_ASSISTANT)}")
        thinks = kind in ("thinking", "redacted_thinking")
        if not now or (thinks and ("tool_calls" in now or now["content"])):
            now = {"role": "assistant", "content": []}
            found.append(now)
        if thinks:
            _think(now, place, block)
        elif kind == "text":
            now["content"].append(_part(place, block, ("text",)))
        else:
            now.setdefault("tool_calls", []).append(_call(place, block))
    for message in found:
        message["content"] = message["content"] or None
    return found


def _think(message: JSONDict, place: str, block: JSONDict) -> None:
    """Keep the block for its round trip; thoughts that nobody signed are text for other models."""
    if block["type"] == "redacted_thinking":
        data = required_text(block, "data", f"{place}.data", empty=True)
        kept: JSONDict = {"type": "redacted_thinking", "data": data}
    else:
        thought = required_text(block, "thinking", f"{place}.thinking", empty=True)
        optional_text(block, "signature", f"{place}.signature")
        if not block.get("signature"):
            message["reasoning_content"] = message.get("reasoning_content", "") + thought
            return
        kept = {"type": "thinking", "thinking": thought, "signature": block["signature"]}
    message.setdefault("thinking_blocks", []).append(kept)


def _call(place: str, block: JSONDict) -> JSONDict:
    given: Any = block.get("input")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        refuse(f"{place}.input", "must be an object")
    function = {
        "name": required_text(block, "name", f"{place}.name"),
        "arguments": dumps(given).decode(),
    }
    id_ = required_text(block, "id", f"{place}.id")
    return _marked({"id": id_, "type": "function", "function": function}, block)


def _unsupported(name: str, reason: str) -> NoReturn:
    raise UnsupportedParameter(f"'{name}' {reason}.", param=name)
