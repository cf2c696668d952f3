"""Gemini, upstream half: canonical messages into `systemInstruction` and `contents`.

Shapes: https://ai.google.dev/api/caching#Content and the types of Google's SDK (google-genai
3.4.0). Rules of the format that shape this file:

- Only `user` and `model` turns, of parts; consecutive messages of one side become one turn.
- The results of a round of tool calls are as many `functionResponse` parts as there were calls, in
  one turn of their own. They name the function, which is looked up by the call's id.
- System and developer messages all move into `systemInstruction`, in their order; those that
  nothing but they ask for an answer become the user's turn (see `asking_from`). Models that have no
  place for them read them at the head of the first user turn.
- Signatures go back to the parts they came from (gemini_signatures). A round of tools that no
  Gemini made gets the word that Google has for that, or newer models would refuse it.
- There is no field for a participant's name: on user and system messages it is put before the
  text, as `name: text`; on assistant messages it is dropped, since the model would imitate it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import urlsplit

from modelbridge.dialects.gemini_models import Generation
from modelbridge.dialects.gemini_signatures import (
    END,
    THOUGHT,
    UNCHECKED,
    place_of,
    signed_calls,
    signed_places,
)
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

_IMAGES = {"image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"}
_SUFFIXES = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp",
    "heic": "image/heic", "heif": "image/heif", "pdf": "application/pdf", "txt": "text/plain",
    "md": "text/markdown", "csv": "text/csv", "html": "text/html", "xml": "text/xml",
    "json": "application/json", "wav": "audio/wav", "mp3": "audio/mp3", "m4a": "audio/m4a",
    "aac": "audio/aac", "ogg": "audio/ogg", "flac": "audio/flac", "aiff": "audio/aiff",
    "mp4": "video/mp4", "mov": "video/mov", "webm": "video/webm", "mpeg": "video/mpeg",
    "mpg": "video/mpg", "avi": "video/avi", "wmv": "video/wmv", "3gp": "video/3gpp",
}  # fmt: skip
_ADDRESSES = ("http://", "https://", "gs://")
# Addresses at which Gemini finds films and whatever was uploaded, whatever type we say.
_FILMS = ("youtube.com", "youtu.be")
_UPLOADED = "generativelanguage.googleapis.com"
_PART_FIELDS = {"type", "text", "refusal", "image_url", "input_audio", "file", "cache_control"}


@dataclass(slots=True)
class Turns:
    """`system` parts, `contents` in Gemini's form, and what could not be said.

    `names`: the functions of the calls so far, by their ids. `shown`: pictures out of results that
    the user shows after them.
    """

    generation: Generation
    signatures: dict[str, str] = field(default_factory=dict)
    system: list[JSONDict] = field(default_factory=list)
    contents: list[JSONDict] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    shown: list[JSONDict] = field(default_factory=list)

    def add(self, role: Literal["user", "model"], parts: list[JSONDict]) -> None:
        """Append to the last turn if it is of the same side and kind, else begin a turn."""
        if not parts:
            return
        last = self.contents[-1] if self.contents else None
        if last and last["role"] == role and _is_result(last["parts"][0]) == _is_result(parts[0]):
            last["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    def show(self) -> None:
        """The pictures that wait are the user's next words."""
        self.add("user", self.shown)
        self.shown = []


def _is_result(part: JSONDict) -> bool:
    return "functionResponse" in part


def build_turns(messages: Sequence[Message], generation: Generation) -> Turns:
    """The whole conversation.

    Raises InvalidRequest naming the message or part; UnsupportedParameter for what a Gemini model
    cannot be shown.
    """
    check_messages(messages)
    turns = Turns(generation, signed_calls(messages))
    asking = asking_from(messages)
    for index, message in enumerate(messages):
        _add(message, f"messages[{index}]", turns, asks=index >= asking)
    turns.show()
    if not turns.contents:
        turns.add("user", turns.system)
        turns.system = []
    if not turns.contents:
        raise InvalidRequest(
            "messages holds no text to answer: add a user message", param="messages"
        )
    if turns.system and not generation.takes_system:
        turns.contents.insert(0, {"role": "user", "parts": turns.system})
        turns.system = []
    return turns


def _add(message: Message, where: str, turns: Turns, *, asks: bool) -> None:
    role = message.get("role")
    if role != "tool" and (role not in SYSTEM_ROLES or asks):
        turns.show()
    if role in SYSTEM_ROLES:
        parts = _named(_parts(message, where, ("text",), turns), message)
        if asks:
            turns.add("user", parts)
        else:
            turns.system += parts
    elif role == "user":
        turns.add("user", _named(_parts(message, where, _SHOWN, turns), message))
    elif role == "tool":
        turns.add("user", [_result(message, where, turns)])
    elif role == "assistant":
        turns.add("model", _assistant(message, where, turns))
    else:
        raise bad_role(role, where)


# Content


def _parts(message: Message, where: str, allowed: tuple[str, ...], turns: Turns) -> list[JSONDict]:
    content, where = cast(Any, message.get("content")), f"{where}.content"
    if content is None:
        return []
    if isinstance(content, dict):  # seen from clients that forget to serialise
        content = dumps(content).decode()
    if isinstance(content, str):
        return [{"text": content}] if content else []
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
        if "cache_control" in part:
            turns.dropped.append("cache_control")
        turns.dropped += [f"{kind}.{name}" for name in part if name not in _PART_FIELDS]
        found += _READERS[kind](part, at, turns)
    return found


def _named(parts: list[JSONDict], message: Message) -> list[JSONDict]:
    name = message.get("name")
    if not name or not parts:
        return parts
    if "text" in parts[0]:
        parts[0]["text"] = f"{name}: {parts[0]['text']}"
        return parts
    return [{"text": f"{name}:"}, *parts]


def _text_part(part: JSONDict, where: str, turns: Turns) -> list[JSONDict]:
    text = string(part, part["type"], where)
    return [{"text": text}] if text else []


def _image_part(part: JSONDict, where: str, turns: Turns) -> list[JSONDict]:
    """A picture, and nothing else: it was priced as one."""
    where = f"{where}.image_url"
    image = part.get("image_url")
    image = {"url": image} if isinstance(image, str) else image
    url = string(image, "url", where)
    if isinstance(image, dict) and image.get("detail") not in (None, "auto"):
        turns.dropped.append("image_url.detail")
    where = f"{where}.url"
    if url.startswith(_ADDRESSES):
        media = _media_of(url) or "image/jpeg"
        if not media.startswith("image/") or _may_be_a_film(url):
            raise UnsupportedParameter("image_url takes images: send a 'file' part", param=where)
        return [{"fileData": {"fileUri": url, "mimeType": media}}]
    media, payload = read_data_url(url, where)
    if media not in _IMAGES:
        raise UnsupportedParameter(
            f"a picture of type {media or 'unknown'} cannot be sent to this model: it sees PNG, "
            "JPEG, WebP, HEIC and HEIF; send documents, sound and films as a 'file' part",
            param=where,
        )
    return [_inline(media, payload)]


def _audio_part(part: JSONDict, where: str, turns: Turns) -> list[JSONDict]:
    where = f"{where}.input_audio"
    audio = part.get("input_audio")
    data, kind = string(audio, "data", where), string(audio, "format", where)
    if data[:5].lower() == "data:":
        data = read_data_url(data, f"{where}.data")[1]
    return [_inline(f"audio/{kind}", data)]


def _file_part(part: JSONDict, where: str, turns: Turns) -> list[JSONDict]:
    """A document, sound or film; the model's whole window was held for it."""
    where = f"{where}.file"
    file = part.get("file")
    if isinstance(file, dict) and file.get("file_id"):
        raise UnsupportedParameter(
            "files uploaded to another provider cannot be read: send file_data",
            param=f"{where}.file_id",
        )
    data = string(file, "file_data", where)
    name = file.get("filename") if isinstance(file, dict) else None
    named = _media_of(name) if isinstance(name, str) else None
    if data.startswith(_ADDRESSES):
        media = named or _media_of(data)
        address = {"fileUri": data}
        return [{"fileData": {**address, "mimeType": media} if media else address}]
    if data[:5].lower() != "data:":  # what SDKs that leave the prefix out mean
        return [_inline(named or "application/pdf", data)]
    media, payload = read_data_url(data, f"{where}.file_data")
    return [_inline(media or named or "application/octet-stream", payload)]


def _inline(media: str, payload: str) -> JSONDict:
    return {"inlineData": {"mimeType": media, "data": payload}}


def _media_of(name: str) -> str | None:
    """The media type that the end of a name or address tells, or None."""
    path = name.split("?")[0].split("#")[0]
    return _SUFFIXES.get(path.rpartition(".")[2].lower())


def _may_be_a_film(url: str) -> bool:
    try:
        host = (urlsplit(url).hostname or "").lower()
    except ValueError:
        return True
    return host == _UPLOADED or any(host == film or host.endswith(f".{film}") for film in _FILMS)


_READERS: dict[str, Callable[[JSONDict, str, Turns], list[JSONDict]]] = {
    "text": _text_part,
    "refusal": _text_part,
    "image_url": _image_part,
    "input_audio": _audio_part,
    "file": _file_part,
}
_SHOWN = ("text", "image_url", "input_audio", "file")


# The assistant and its tools


def _assistant(message: Message, where: str, turns: Turns) -> list[JSONDict]:
    """Thinking that was signed, then text, then tool calls: the order in which they were made."""
    refuse_in_assistant(message, where)
    signed = signed_places(message)
    if not signed:
        fields = ("thinking_blocks", "reasoning_content")
        turns.dropped += [name for name in fields if message.get(name)][:1]
    if message.get("name"):
        turns.dropped.append("messages.name")
    parts = [
        {"text": one.thinking, "thought": True, "thoughtSignature": one.signature}
        for one in signed
        if one.place == THOUGHT
    ]
    text = _parts(message, where, ("text", "refusal"), turns)
    refusal = message.get("refusal")
    if not text and isinstance(refusal, str) and refusal:
        text = [{"text": refusal}]
    parts += text
    parts += [{"text": "", "thoughtSignature": one.signature} for one in signed if one.place == END]
    calls = tool_calls(message, where)
    return parts + [
        _call(calls[i], f"{where}.tool_calls[{i}]", turns, i) for i in range(len(calls))
    ]


def _call(call: Any, where: str, turns: Turns, number: int) -> JSONDict:
    function = called_function(call, where)
    id_, name = string(call, "id", where), string(function, "name", f"{where}.function")
    turns.names[id_] = name
    if "cache_control" in call:
        turns.dropped.append("cache_control")
    made: JSONDict = {"name": name, "args": arguments_object(function.get("arguments"))}
    part: JSONDict = {"functionCall": {"id": id_, **made} if id_ else made}
    signature = turns.signatures.get(place_of(id_)) or _own_signature(call)
    if not signature and number == 0 and turns.generation.since(3):
        signature = UNCHECKED
    return {**part, "thoughtSignature": signature} if signature else part


def _own_signature(call: JSONDict) -> str:
    """The signature as Google's OpenAI-compatible endpoint puts it on a call.

    Conversations that began there go on here.
    """
    match call.get("extra_content"):
        case {"google": {"thought_signature": str(signature)}}:
            return signature
    return ""


def _result(message: Message, where: str, turns: Turns) -> JSONDict:
    """One result. `is_error`, where a client says so, is kept."""
    id_ = string(message, "tool_call_id", where)
    name = turns.names.get(id_)
    if name is None:
        raise InvalidRequest(
            "answers no tool call before it: the id must be that of a call in 'tool_calls'",
            param=f"{where}.tool_call_id",
        )
    parts = _parts(message, where, _SHOWN, turns)
    text = "\n\n".join(part["text"] for part in parts if "text" in part)
    key = "error" if cast(JSONDict, message).get("is_error") is True else "output"
    told: JSONDict = {"name": name, "response": {key: text}}
    media = [part for part in parts if "text" not in part]
    if turns.generation.reads_pictures_in_results:
        if inline := [part for part in media if "inlineData" in part]:
            told["parts"] = inline
        media = [part for part in media if "inlineData" not in part]
    turns.shown += media
    return {"functionResponse": {"id": id_, **told} if id_ else told}
