"""Anthropic Messages, upstream half: canonical messages into `system` and turns.

Shapes: https://platform.claude.com/docs/en/api/messages and the SDK's types (anthropic 2.12.0,
`message_param.py` and the block params beside it). Rules of the format that shape this file:

- Only `user` and `assistant` turns; consecutive messages of one side become one turn; all results
  of a round of tool calls stand in one user turn.
- Text blocks that are empty or only white space are refused, so they are left out. So is white
  space at the end of a last assistant turn.
- Anthropic's mid-conversation `system` entries exist for some models only, under placement rules,
  and one model accepts and ignores them. So system and developer messages all move into `system`,
  in their order: they keep their authority and lose only their place. The exception are those that
  nothing but they ask for an answer (at the end, after an assistant message, or with no other
  message at all): these become the user turn.
- There is no field for a participant's name: on user and system messages it is put before the
  text, as `name: text`; on assistant messages it is dropped, since the model would imitate it.
"""

import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import Any, Literal, cast

from modelbridge.dialects.gemini_signatures import is_geminis
from modelbridge.dialects.openai_responses_reasoning import is_openais
from modelbridge.dialects.translating import (
    SYSTEM_ROLES,
    arguments_object,
    asking_from,
    bad_role,
    called_function,
    check_messages,
    read_data_url,
    refuse_in_assistant,
    string,
    tool_calls,
)
from modelbridge.errors import InvalidRequest, UnsupportedParameter
from modelbridge.jsonio import JSONDict, dumps
from modelbridge.wire.chat import Message

_IMAGES = {"image/jpeg", "image/png", "image/gif", "image/webp"}
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(slots=True)
class Turns:
    """`system` blocks, `messages` in Anthropic's form, and what could not be said."""

    system: list[JSONDict] = field(default_factory=list)
    messages: list[JSONDict] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def add(self, role: Literal["user", "assistant"], blocks: list[JSONDict]) -> None:
        """Append to the last turn if it is of the same side, else begin a turn."""
        if not blocks:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": role, "content": blocks})


def build_turns(messages: Sequence[Message], *, keep_thinking: bool) -> Turns:
    """The whole conversation. Thinking blocks go back only with `keep_thinking`.

    Raises InvalidRequest naming the message or part; UnsupportedParameter for what a Claude model
    cannot be shown.
    """
    check_messages(messages)
    turns = Turns()
    asking = asking_from(messages)
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = message.get("role")
        if role in SYSTEM_ROLES:
            blocks = _named(_content(message, where, ("text",), turns), message)
            if index >= asking:
                turns.add("user", blocks)
            else:
                turns.system += blocks
        elif role == "user":
            turns.add("user", _named(_content(message, where, _SHOWN, turns), message))
        elif role == "tool":
            turns.add("user", [_tool_result(message, where, turns)])
        elif role == "assistant":
            turns.add("assistant", _assistant(message, where, turns, keep_thinking))
        else:
            raise bad_role(role, where)
    if not turns.messages:
        turns.add("user", turns.system)
        turns.system = []
    if not turns.messages:
        raise InvalidRequest(
            "messages holds no text to answer: add a user message", param="messages"
        )
    _trim_end(turns.messages[-1])
    return turns


def signed_thinking(message: Message) -> list[JSONDict]:
    """The message's thinking blocks that Anthropic will take back: signed, or redacted."""
    found = []
    blocks = message.get("thinking_blocks")
    for block in blocks if isinstance(blocks, list) else []:
        match block:
            case {"type": "thinking", "thinking": str(text), "signature": str(signature)} if (
                signature and not is_geminis(signature) and not is_openais(signature)
            ):
                found.append({"type": "thinking", "thinking": text, "signature": signature})
            case {"type": "redacted_thinking", "data": str(data)} if data:
                found.append({"type": "redacted_thinking", "data": data})
    return found


def _trim_end(turn: JSONDict) -> None:
    """Anthropic refuses white space at the end of a last assistant turn."""
    block = turn["content"][-1]
    if turn["role"] == "assistant" and block["type"] == "text":
        block["text"] = block["text"].rstrip()


# Content


def _content(
    message: Message, where: str, allowed: tuple[str, ...], turns: Turns
) -> list[JSONDict]:
    """The blocks of a message's `content`, with the message's own cache mark on the last."""
    blocks = _blocks(message.get("content"), f"{where}.content", allowed, turns)
    return _marked(blocks, cast(JSONDict, message))


def _blocks(content: object, where: str, allowed: tuple[str, ...], turns: Turns) -> list[JSONDict]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    if not isinstance(content, list):
        raise InvalidRequest("content must be text or a list of parts", param=where)
    found = []
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            raise InvalidRequest("every part of content needs a type", param=at)
        if kind not in allowed:
            raise UnsupportedParameter(
                f"a part of type {kind!r} cannot be sent to this model here", param=f"{at}.type"
            )
        blocks = _marked(_PARTS[kind](part, at, turns), part)
        if kind == "file" and blocks:
            blocks[-1] |= {name: part[name] for name in ("citations", "context") if name in part}
        found += blocks
    return found


def _marked(blocks: list[JSONDict], source: JSONDict) -> list[JSONDict]:
    """The blocks, the last one carrying the source's `cache_control`, if it has one."""
    mark = source.get("cache_control")
    if isinstance(mark, dict) and blocks and "thinking" not in blocks[-1]["type"]:
        blocks[-1].setdefault("cache_control", mark)
    return blocks


def _named(blocks: list[JSONDict], message: Message) -> list[JSONDict]:
    name = message.get("name")
    if not name or not blocks:
        return blocks
    if blocks[0]["type"] == "text":
        blocks[0]["text"] = f"{name}: {blocks[0]['text']}"
        return blocks
    return [{"type": "text", "text": f"{name}:"}, *blocks]


def _text_part(part: JSONDict, where: str, turns: Turns) -> list[JSONDict]:
    text = string(part, part["type"], where)
    return [{"type": "text", "text": text}] if text.strip() else []


def _image_part(part: JSONDict, where: str, turns: Turns) -> list[JSONDict]:
    where = f"{where}.image_url"
    image = part.get("image_url")
    image = {"url": image} if isinstance(image, str) else image
    url = string(image, "url", where)
    if isinstance(image, dict) and image.get("detail") not in (None, "auto"):
        turns.dropped.append("image_url.detail")
    if url.startswith(("http://", "https://")):
        return [{"type": "image", "source": {"type": "url", "url": url}}]
    block = _from_data_url(url, f"{where}.url", title=None)
    if block["type"] != "image":  # priced as one image, which a document is not
        raise UnsupportedParameter("image_url takes images: send a 'file' part", param=where)
    return [block]


def _file_part(part: JSONDict, where: str, turns: Turns) -> list[JSONDict]:
    where = f"{where}.file"
    file = part.get("file")
    if isinstance(file, dict) and file.get("file_id"):
        raise UnsupportedParameter(
            "files uploaded to another provider cannot be read: send file_data",
            param=f"{where}.file_id",
        )
    data = string(file, "file_data", where)
    title = file.get("filename") if isinstance(file, dict) else None
    if data.startswith(("http://", "https://")):
        return [_titled({"type": "document", "source": {"type": "url", "url": data}}, title)]
    if data[:5].lower() != "data:":
        data = f"data:application/pdf;base64,{data}"  # what SDKs that leave the prefix out mean
    return [_from_data_url(data, f"{where}.file_data", title)]


def _from_data_url(url: str, where: str, title: object) -> JSONDict:
    """An image or document block from a data URL (RFC 2397), base64 or not."""
    media, payload = read_data_url(url, where)
    if media in _IMAGES:
        return {"type": "image", "source": _base64(media, payload)}
    if media == "application/pdf":
        return _titled({"type": "document", "source": _base64(media, payload)}, title)
    if media == "text/plain":
        source = {"type": "text", "media_type": media, "data": _plain_text(payload, where)}
        return _titled({"type": "document", "source": source}, title)
    raise UnsupportedParameter(
        f"data of type {media or 'unknown'} cannot be sent to this model: it reads JPEG, PNG, GIF,"
        " WebP, PDF and plain text",
        param=where,
    )


def _base64(media: str, payload: str) -> JSONDict:
    return {"type": "base64", "media_type": media, "data": payload}


def _titled(block: JSONDict, title: object) -> JSONDict:
    return {**block, "title": title} if isinstance(title, str) and title else block


def _plain_text(payload: str, where: str) -> str:
    try:
        return b64decode(payload).decode()
    except ValueError:
        raise InvalidRequest("is not base64 of UTF-8 text", param=where) from None


_PARTS: dict[str, Callable[[JSONDict, str, Turns], list[JSONDict]]] = {
    "text": _text_part,
    "refusal": _text_part,
    "image_url": _image_part,
    "file": _file_part,
}
_SHOWN = ("text", "image_url", "file")


# The assistant and its tools


def _assistant(message: Message, where: str, turns: Turns, keep_thinking: bool) -> list[JSONDict]:
    """Thinking, then text, then tool calls: the order in which the model makes them."""
    refuse_in_assistant(message, where)
    thinking = signed_thinking(message) if keep_thinking else []
    if not thinking:
        fields = ("thinking_blocks", "reasoning_content")
        turns.dropped += [name for name in fields if message.get(name)][:1]
    if message.get("name"):
        turns.dropped.append("messages.name")
    text = _blocks(message.get("content"), f"{where}.content", ("text", "refusal"), turns)
    refusal = message.get("refusal")
    if not text and isinstance(refusal, str) and refusal.strip():
        text = [{"type": "text", "text": refusal}]
    calls = enumerate(tool_calls(message, where))
    uses = [_tool_use(call, f"{where}.tool_calls[{i}]") for i, call in calls]
    return _marked(thinking + text + uses, cast(JSONDict, message))


def _tool_use(call: Any, where: str) -> JSONDict:
    function = called_function(call, where)
    use = {
        "type": "tool_use",
        "id": tool_id(string(call, "id", where), f"{where}.id"),
        "name": string(function, "name", f"{where}.function"),
        "input": arguments_object(function.get("arguments")),
    }
    return _marked([use], call)[0]


def tool_id(given: str, where: str) -> str:
    """The id in the alphabet that Anthropic takes, `^[a-zA-Z0-9_-]+$`; the same for the same."""
    if not given:
        raise InvalidRequest("the id of a tool call must not be empty", param=where)
    clean = _NOT_IN_IDS.sub("_", given)
    if clean == given:
        return given
    # The digest keeps apart what the alphabet would make alike; it is short, as text is priced.
    return f"{clean}_{blake2s(given.encode(), digest_size=4).hexdigest()}"


def _tool_result(message: Message, where: str, turns: Turns) -> JSONDict:
    """One result. `is_error`, where a client says so, is kept."""
    given = string(message, "tool_call_id", where)
    result: JSONDict = {
        "type": "tool_result",
        "tool_use_id": tool_id(given, f"{where}.tool_call_id"),
    }
    content = message.get("content")
    if isinstance(content, dict):  # seen from clients that forget to serialise
        content = dumps(content).decode()
    if blocks := _blocks(content, f"{where}.content", _SHOWN, turns):
        result["content"] = content if isinstance(content, str) else blocks
    if cast(JSONDict, message).get("is_error") is True:
        result["is_error"] = True
    return _marked([result], cast(JSONDict, message))[0]
