"""Canonical replies and events as OpenAI's text completion and its chunks; and what passes by.

Source: OpenAI's OpenAPI document, CreateCompletionResponse; its chunks have the same form.
"""

from modelbridge import jsonio
from modelbridge.dialects.base import Seen
from modelbridge.dialects.openai_errors import find_error, write_stream_error
from modelbridge.dialects.openai_usage import read_usage, usage_object, write_usage
from modelbridge.errors import UpstreamError
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    Reply,
    ReplyHead,
    StreamEvent,
    StreamFailed,
    TextDelta,
)
from modelbridge.wire.sse import Frame, data_frame

_DONE = data_frame(b"[DONE]")
_CHAT_ID, _ID = "chatcmpl-", "cmpl-"
_REASONS = ("stop", "length", "content_filter")


def write_reply(reply: Reply, head: ReplyHead) -> JSONDict:
    """The text completion that says this reply; thinking has no place in it."""
    body = {**_head(head), "choices": [_choice(reply.said, reply.finish_reason or "stop")]}
    if reply.usage is not None:
        body["usage"] = write_usage(reply.usage)
    return body


def write_stream(head: ReplyHead, *, include_usage: bool) -> "CompletionWriter":
    """A writer for one stream."""
    return CompletionWriter(head, include_usage=include_usage)


class CompletionWriter:
    """Canonical events into chunks; one stream each. Nothing follows a failure."""

    def __init__(self, head: ReplyHead, *, include_usage: bool) -> None:
        self._head = _head(head)
        self._common = {**self._head, "usage": None} if include_usage else self._head
        self._include_usage = include_usage
        self._failed = False

    def write(self, event: StreamEvent) -> bytes:
        """The chunk that says this event; none for what has no place in a completion."""
        if self._failed:
            return b""
        match event:
            case TextDelta(text):
                return self._chunk(_choice(text, None)) if text else b""
            case Finish(reason):
                return self._chunk(_choice("", reason))
            case StreamFailed(error):
                self._failed = True
                return write_stream_error(error, "")
            case _:
                return b""

    def end(self, usage: Usage | None, cost: str | None) -> bytes:
        """The usage with its cost, if it was asked for, and `[DONE]`; nothing after a failure."""
        if self._failed:
            return b""
        if not (self._include_usage and usage is not None):
            return _DONE
        told = write_usage(usage)
        if cost is not None:
            told["cost"] = cost
        return data_frame(jsonio.dumps({**self._head, "choices": [], "usage": told})) + _DONE

    def _chunk(self, choice: JSONDict) -> bytes:
        return data_frame(jsonio.dumps({**self._common, "choices": [choice]}))


def read_reply(body: JSONDict) -> Reply:
    """What a reply that passes by says, all its choices together: for an estimate."""
    texts = [str(choice.get("text") or "") for choice in _choices(body)]
    return Reply(text="".join(texts), finish_reason="stop", usage=read_usage(usage_object(body)))


def inspect(frame: Frame) -> Seen:
    """What a frame that passes by says. Never raises."""
    if not frame.data:
        return Seen()
    if frame.data == b"[DONE]":
        return Seen(done=True)
    try:
        chunk = jsonio.loads(frame.data)
    except ValueError:
        chunk = None
    if not isinstance(chunk, dict):
        return Seen(
            error=UpstreamError(
                "The upstream sent an event that is not a JSON object.", may_have_billed=True
            )
        )
    if (error := find_error(chunk, frame.event)) is not None:
        return Seen(error=error, usage=read_usage(usage_object(chunk)))
    choices = _choices(chunk)
    seen = Seen(finished=any(choice.get("finish_reason") for choice in choices))
    seen.text_bytes = sum(len(str(choice.get("text") or "").encode()) for choice in choices)
    usage = usage_object(chunk)
    if isinstance(usage, dict):
        seen.usage = read_usage(usage)
        seen.final = seen.finished or not choices
    return seen


def _choices(body: JSONDict) -> list[JSONDict]:
    choices = body.get("choices")
    return [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []


def _choice(text: str, reason: str | None) -> JSONDict:
    told = reason if reason is None or reason in _REASONS else "stop"
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": told}


def _head(head: ReplyHead) -> JSONDict:
    return {
        "id": _ID + head.id.removeprefix(_CHAT_ID),
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
    }
