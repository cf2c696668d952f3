"""Canonical replies and events as Anthropic's messages and their events.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming. Ours beside theirs: the
usage that ends a stream has `cost`, a bare decimal in AUD. Thoughts of models that sign nothing
have the empty signature.
"""

from dataclasses import dataclass, field
from typing import Any

from modelbridge import jsonio
from modelbridge.dialects.anthropic_front_errors import event_frame, write_stream_error
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
    UsageReported,
)

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


def write_reply(reply: Reply, head: ReplyHead) -> JSONDict:
    """The message that says this reply."""
    content: list[JSONDict] = [dict(block) for block in reply.thinking]
    if reply.reasoning and not content:
        content.append({"type": "thinking", "thinking": reply.reasoning, "signature": ""})
    if reply.said:
        content.append({"type": "text", "text": reply.said})
    for call in reply.tool_calls:
        made = {"id": call.id, "name": call.name, "input": _input(call.arguments)}
        content.append({"type": "tool_use", **made})
    reason = _stop_reason(reply.finish_reason, called=bool(reply.tool_calls))
    message = _message(head, content, reply.usage or Usage())
    return {**message, "stop_reason": reason}


def write_usage(usage: Usage) -> JSONDict:
    """The `usage` object that says these counts."""
    return {
        "input_tokens": usage.input + usage.audio_input,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.total_output,
        "service_tier": "standard",
    }


def write_stream(head: ReplyHead, *, include_usage: bool) -> "MessageWriter":
    """A writer for one stream; Anthropic's clients always see the usage."""
    del include_usage
    return MessageWriter(head)


@dataclass(slots=True)
class _Call:
    """A tool call; `block` is its content block's index once it has begun."""

    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    block: int = -1

    def is_complete(self) -> bool:
        """Whether its arguments are JSON already."""
        try:
            jsonio.loads("".join(self.pieces))
        except ValueError:
            return False
        return True


class MessageWriter:
    """Canonical events into Anthropic's; one stream each. Nothing follows a failure.

    One block is open at a time. A tool call that begins before the arguments of the one before it
    are complete waits for them, since clients run a tool as soon as its block has stopped.
    """

    __slots__ = ("_blocks", "_calls", "_failed", "_head", "_open", "_reason", "_started")

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._blocks = 0  # how many have begun
        self._open = ""  # the type of the last one, while it is open
        self._calls: list[_Call] = []
        self._reason: str | None = None
        self._started = self._failed = False

    def write(self, event: StreamEvent) -> bytes:
        """The events that say this one; the last usage is for `end`."""
        if self._failed:
            return b""
        if isinstance(event, StreamFailed):
            self._failed = True
            return write_stream_error(event.error, "")
        usage = event.usage if isinstance(event, UsageReported) else Usage()
        return self._start(usage) + self._write(event)

    def end(self, usage: Usage | None, cost: str | None) -> bytes:
        """The stop reason, the usage with its cost and `message_stop`; nothing after a failure."""
        if self._failed:
            return b""
        out = self._start(Usage()) + self._finish_calls() + self._close()
        told = write_usage(usage or Usage())
        if cost is not None:
            told["cost"] = cost
        reason = _stop_reason(self._reason, called=bool(self._calls))
        delta = {"stop_reason": reason, "stop_sequence": None}
        last = {"type": "message_delta", "delta": delta, "usage": told}
        out += event_frame("message_delta", last)
        return out + event_frame("message_stop", {"type": "message_stop"})

    def _start(self, usage: Usage) -> bytes:
        if self._started:
            return b""
        self._started = True
        message = _message(self._head, [], usage)
        return event_frame("message_start", {"type": "message_start", "message": message})

    def _write(self, event: StreamEvent) -> bytes:
        match event:
            case TextDelta(text) if text:
                opening = self._begin("text", {"text": ""})
                return opening + self._delta({"type": "text_delta", "text": text})
            case ReasoningDelta():
                return self._think(event)
            case ToolCallStart(_, id_, name):
                self._calls.append(_Call(id_, name))
                return self._next_call()
            case ToolCallDelta(index, arguments) if arguments:
                return self._argue(self._calls[index], arguments)
            case Finish(reason):
                self._reason = reason
        return b""

    # Blocks

    def _begin(self, kind: str, content: JSONDict) -> bytes:
        """A block of that type is open; a new one if it was another."""
        if self._open == kind and kind != "tool_use":
            return b""
        out = (b"" if kind == "tool_use" else self._finish_calls()) + self._close()
        block = {"type": kind, **content}
        self._open, index = kind, self._blocks
        self._blocks += 1
        data = {"type": "content_block_start", "index": index, "content_block": block}
        return out + event_frame("content_block_start", data)

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        data = {"type": "content_block_stop", "index": self._blocks - 1}
        return event_frame("content_block_stop", data)

    def _delta(self, delta: JSONDict, index: int | None = None) -> bytes:
        at = self._blocks - 1 if index is None else index
        data = {"type": "content_block_delta", "index": at, "delta": delta}
        return event_frame("content_block_delta", data)

    def _think(self, event: ReasoningDelta) -> bytes:
        if event.redacted:
            return self._begin("redacted_thinking", {"data": event.redacted}) + self._close()
        out = b""
        if event.text or (event.signature and self._open != "thinking"):
            out += self._begin("thinking", {"thinking": "", "signature": ""})
        if event.text:
            out += self._delta({"type": "thinking_delta", "thinking": event.text})
        if event.signature:
            out += self._delta({"type": "signature_delta", "signature": event.signature})
            out += self._close()
        return out

    # Tool calls

    def _argue(self, call: _Call, arguments: str) -> bytes:
        call.pieces.append(arguments)
        if call.block >= 0:
            return self._arguments(call, arguments) + self._next_call()
        return b""

    def _arguments(self, call: _Call, arguments: str) -> bytes:
        return self._delta({"type": "input_json_delta", "partial_json": arguments}, call.block)

    def _next_call(self) -> bytes:
        """Begin the calls that wait, as far as those before them are complete."""
        out = b""
        while waiting := self._waiting():
            begun = [call for call in self._calls if call.block >= 0]
            if self._open == "tool_use" and not begun[-1].is_complete():
                break
            out += self._begin_call(waiting)
        return out

    def _finish_calls(self) -> bytes:
        out = b""
        while waiting := self._waiting():
            out += self._begin_call(waiting)
        return out

    def _waiting(self) -> _Call | None:
        return next((call for call in self._calls if call.block < 0), None)

    def _begin_call(self, call: _Call) -> bytes:
        call.block = self._blocks
        out = self._begin("tool_use", {"id": call.id, "name": call.name, "input": {}})
        return out + (self._arguments(call, "".join(call.pieces)) if call.pieces else b"")


def _message(head: ReplyHead, content: list[JSONDict], usage: Usage) -> JSONDict:
    return {
        "id": "msg_" + head.id.removeprefix("chatcmpl-"),
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": write_usage(usage),
    }


def _stop_reason(reason: str | None, *, called: bool) -> str:
    if called and reason in (None, "stop"):  # what some servers say of a round of tools
        return "tool_use"
    return _STOP_REASONS.get(reason or "stop", "end_turn")


def _input(arguments: str) -> Any:
    """The arguments as the object that clients expect; what is none is shown as it was."""
    if not arguments.strip():
        return {}
    try:
        value = jsonio.loads(arguments)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": arguments}
