"""What a request that came in another format must lose before an OpenAI-compatible server.

Only such requests are touched: they have `anthropic_fields` or `responses_fields`. Compatible
servers answer 400 to words that they don't know, so everything of the other format is said
otherwise, or left out and named.
"""

from base64 import b64decode
from typing import Any

from modelbridge.dialects.openai_responses_request import FIELDS as RESPONSES
from modelbridge.dialects.openai_responses_request import unsaid_fields
from modelbridge.jsonio import JSONDict

_ANTHROPIC = "anthropic_fields"
# What stands beside a message, a part, a call or a tool, and whether losing it has to be told.
_MARKS = {
    "cache_control": True, "phase": True, "namespace": False, "own_name": False, "custom": False,
}  # fmt: skip
_LONGEST_USER = 64  # "Invalid 'user': string too long. Expected … maximum length 64"
_PLAIN = "data:text/plain;base64,"
_HINTS = ("thinking", "top_k")


def without_foreign(body: JSONDict) -> tuple[JSONDict, list[str]]:
    """The request in words of chat completions, and the names of what it lost."""
    if RESPONSES not in body:
        return without_anthropic(body)
    dropped = unsaid_fields(body)
    found = {name: value for name, value in body.items() if name != RESPONSES}
    return _plain(found, dropped)


def without_anthropic(body: JSONDict) -> tuple[JSONDict, list[str]]:
    """The request in words of OpenAI's, and the names of what it lost. The given one is kept."""
    fields = body.get(_ANTHROPIC)
    if not isinstance(fields, dict):
        return body, []
    dropped = list(fields)
    found = {name: value for name, value in body.items() if name not in (_ANTHROPIC, *_HINTS)}
    for name in _HINTS:
        if body.get(name) not in (None, {"type": "disabled"}):
            dropped.append(name)
    if len(found.get("user") or "") > _LONGEST_USER:
        del found["user"]
        dropped.append("metadata.user_id")
    return _plain(found, dropped)


def _plain(found: JSONDict, dropped: list[str]) -> tuple[JSONDict, list[str]]:
    """Tools and messages without the other format's marks."""
    if found.get("tools"):
        found["tools"] = [_unmarked(tool, dropped) for tool in found["tools"]]
    found["messages"] = _messages(found["messages"], dropped)
    return found, list(dict.fromkeys(dropped))


def _unmarked(holder: JSONDict, dropped: list[str]) -> JSONDict:
    if not any(name in holder for name in _MARKS):
        return holder
    dropped += [name for name, is_told in _MARKS.items() if is_told and name in holder]
    return {name: value for name, value in holder.items() if name not in _MARKS}


def _messages(messages: list[JSONDict], dropped: list[str]) -> list[JSONDict]:
    """Pictures in tools' results are shown by the user after them: a `tool` message is text."""
    found: list[JSONDict] = []
    shown: list[JSONDict] = []
    for message in messages:
        if shown and message["role"] != "tool":
            found.append({"role": "user", "content": shown})
            shown = []
        found.append(_message(message, shown, dropped))
    return [*found, {"role": "user", "content": shown}] if shown else found


def _message(message: JSONDict, shown: list[JSONDict], dropped: list[str]) -> JSONDict:
    found = dict(_unmarked(message, dropped))
    if found.pop("is_error", None):
        dropped.append("messages.is_error")
    if "tool_calls" in found:
        found["tool_calls"] = [_unmarked(call, dropped) for call in found["tool_calls"]]
    content = found.get("content")
    if not isinstance(content, list):
        return found
    parts = [_part(part, dropped) for part in content]
    if found["role"] == "tool":
        shown += [part for part in parts if part["type"] != "text"]
        parts = [part for part in parts if part["type"] == "text"]
    if all(part["type"] == "text" for part in parts):
        found["content"] = "\n\n".join(part["text"] for part in parts)
    else:
        found["content"] = parts
    return found


def _part(part: JSONDict, dropped: list[str]) -> JSONDict:
    """The part without what only Anthropic reads; documents of plain text become text."""
    if part["type"] != "file":
        return _unmarked(part, dropped)
    part = _unmarked(part, dropped)
    dropped += [f"document.{name}" for name in part if name not in ("type", "file")]
    file: dict[str, Any] = part["file"]
    if file.get("file_data", "").startswith(_PLAIN):
        text = b64decode(file["file_data"].removeprefix(_PLAIN)).decode("utf-8", "replace")
        title = file.get("filename")
        return {"type": "text", "text": f"{title}\n\n{text}" if title else text}
    return {"type": "file", "file": file}
