"""Canonical replies and events as OpenAI's chat completion and its chunks.

Source: OpenAI's OpenAPI document, CreateChatCompletionResponse and
CreateChatCompletionStreamResponse. Ours beside theirs: `reasoning_content`, `thinking_blocks`
and, in the usage that ends a stream, `cost`.
"""

from typing import Any

from modelbridge import jsonio
from modelbridge.dialects.openai_errors import write_stream_error
from modelbridge.dialects.openai_usage import write_usage
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    ReasoningDelta,
    Reply,
    ReplyHead,
    StreamEvent,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
)
from modelbridge.wire.sse import data_frame

_DONE = data_frame(b"[DONE]")


def write_reply(reply: Reply, head: ReplyHead) -> JSONDict:
    """The chat completion that says this reply."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": reply.text or (None if reply.tool_calls or reply.refusal else ""),
        "refusal": reply.refusal or None,
    }
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if any(block.get("signature") or block.get("data") for block in reply.thinking):
        message["thinking_blocks"] = reply.thinking
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for call in reply.tool_calls
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _reason(reply.finish_reason or "stop", refused=bool(reply.refusal)),
    }
    body = {**_head(head, "chat.completion"), "choices": [choice]}
    if reply.usage is not None:
        body["usage"] = write_usage(reply.usage)
    return body


def write_stream(head: ReplyHead, *, include_usage: bool) -> "ChatWriter":
    """A writer for one stream."""
    return ChatWriter(head, include_usage=include_usage)


class ChatWriter:
    """Canonical events into chunks; one stream each. Nothing follows a failure."""

    __slots__ = (
        "_argumentless",
        "_failed",
        "_head",
        "_include_usage",
        "_left",
        "_refused",
        "_right",
        "_started",
        "_thought",
    )

    def __init__(self, head: ReplyHead, *, include_usage: bool) -> None:
        self._head = _head(head, "chat.completion.chunk")
        self._include_usage = include_usage
        # Most of a chunk is the same in the whole stream: it is rendered once.
        common = {**self._head, "usage": None} if include_usage else self._head
        self._left = b"data: " + jsonio.dumps(common)[:-1] + b',"choices":[{"index":0,"delta":'
        self._right = b',"logprobs":null,"finish_reason":null}]}\n\n'
        self._started = self._failed = self._refused = False
        self._thought = ""
        self._argumentless: set[int] = set()

    def write(self, event: StreamEvent) -> bytes:
        """The chunks that say this event; none for usage, which `end` writes."""
        if self._failed:
            return b""
        if self._started:
            return self._write(event)
        self._started = True
        opening = {"role": "assistant", "content": "", "refusal": None}
        if isinstance(event, ToolCallStart):
            opening["content"] = None
        return self._chunk(opening) + self._write(event)

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

    def _write(self, event: StreamEvent) -> bytes:
        match event:
            case TextDelta(text, refusal):
                self._refused = self._refused or refusal
                return self._chunk({"refusal" if refusal else "content": text}) if text else b""
            case ReasoningDelta():
                return self._write_thinking(event)
            case ToolCallStart(index, id_, name):
                self._argumentless.add(index)
                function = {"name": name, "arguments": ""}
                call = {"index": index, "id": id_, "type": "function", "function": function}
                return self._chunk({"tool_calls": [call]})
            case ToolCallDelta(index, arguments):
                return self._write_arguments(index, arguments) if arguments else b""
            case Finish(reason):
                return self._write_finish(reason)
            case StreamFailed(error):
                self._failed = True
                return write_stream_error(error, "")
            case _:
                return b""

    def _chunk(self, delta: JSONDict) -> bytes:
        return self._left + jsonio.dumps(delta) + self._right

    def _write_thinking(self, event: ReasoningDelta) -> bytes:
        """Text as it comes; a block, whole, once its signature is there."""
        delta: JSONDict = {}
        if event.text:
            self._thought += event.text
            delta["reasoning_content"] = event.text
        if event.redacted:
            delta["thinking_blocks"] = [{"type": "redacted_thinking", "data": event.redacted}]
        elif event.signature:
            block = {"type": "thinking", "thinking": self._thought, "signature": event.signature}
            delta["thinking_blocks"] = [block]
            self._thought = ""
        return self._chunk(delta) if delta else b""

    def _write_arguments(self, index: int, arguments: str) -> bytes:
        self._argumentless.discard(index)
        return self._chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})

    def _write_finish(self, reason: str) -> bytes:
        """A call without arguments gets `{}` first: clients read the arguments as JSON."""
        empty = b"".join(self._write_arguments(index, "{}") for index in sorted(self._argumentless))
        told = _reason(reason, refused=self._refused)
        right = b',"logprobs":null,"finish_reason":"' + told.encode() + b'"}]}\n\n'
        return empty + self._left + b"{}" + right


def _reason(reason: str, *, refused: bool) -> str:
    """A model that refuses in words has stopped by itself: the words stand in `refusal`."""
    return "stop" if refused and reason == "content_filter" else reason


def _head(head: ReplyHead, kind: str) -> JSONDict:
    return {"id": head.id, "object": kind, "created": head.created, "model": head.model}
