"""The canonical reply: a closed set of events, and what they fold into.

Folding the events of a recorded stream gives the same `Reply` as reading the recorded reply.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from modelbridge.errors import BridgeError
from modelbridge.money import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer."""

    text: str


@dataclass(slots=True)
class ReasoningDelta:
    """A piece of thinking. `signature` and `redacted` close a block (Anthropic's round trip)."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


@dataclass(slots=True)
class ToolCallStart:
    """The model begins tool call number `index` (from 0, in order of appearance)."""

    index: int
    id: str
    name: str


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of the JSON arguments of tool call `index`."""

    index: int
    arguments: str


@dataclass(slots=True)
class Finish:
    """The model stopped, and why."""

    reason: FinishReason


@dataclass(slots=True)
class UsageReported:
    """The upstream's own count so far; the last one stands. `final` when nothing can follow it."""

    usage: Usage
    final: bool = True


@dataclass(slots=True)
class StreamFailed:
    """The stream broke after it began: an error event, malformed bytes or a missing end."""

    error: BridgeError


StreamEvent = (
    TextDelta
    | ReasoningDelta
    | ToolCallStart
    | ToolCallDelta
    | Finish
    | UsageReported
    | StreamFailed
)


@dataclass(slots=True)
class ToolCallMade:
    """A complete tool call; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Reply:
    """A complete answer with one choice. `thinking` are Anthropic's blocks, for a round trip."""

    text: str = ""
    reasoning: str = ""
    thinking: list[dict[str, str]] = field(default_factory=list)
    tool_calls: list[ToolCallMade] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: BridgeError | None = None


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """What a reply or every chunk of it says of itself. `created` is in seconds since 1970."""

    id: str
    model: str
    created: int


def fold(events: Iterable[StreamEvent]) -> Reply:
    """The reply that a stream adds up to."""
    reply = Reply()
    block: dict[str, str] | None = None
    for event in events:
        match event:
            case TextDelta(text):
                reply.text += text
            case ReasoningDelta():
                block = _fold_thinking(reply, block, event)
            case ToolCallStart(_, id_, name):
                reply.tool_calls.append(ToolCallMade(id_, name))
            case ToolCallDelta(index, arguments):
                reply.tool_calls[index].arguments += arguments
            case Finish(reason):
                reply.finish_reason = reason
            case UsageReported(usage):
                reply.usage = usage
            case StreamFailed(error):
                reply.error = error
    return reply


def _fold_thinking(
    reply: Reply, block: dict[str, str] | None, event: ReasoningDelta
) -> dict[str, str] | None:
    """Add one piece; returns the block that is still open, if any."""
    reply.reasoning += event.text
    if event.redacted:
        reply.thinking.append({"type": "redacted_thinking", "data": event.redacted})
        return None
    if block is None:
        block = {"type": "thinking", "thinking": "", "signature": ""}
        reply.thinking.append(block)
    block["thinking"] += event.text
    block["signature"] += event.signature
    return None if event.signature else block
