"""The canonical reply: a closed set of events, and what they fold into.

Folding the events of a recorded stream gives the same `Reply` as reading the recorded reply.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from modelbridge.errors import BridgeError
from modelbridge.jsonio import JSONDict
from modelbridge.money import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer; `refusal`: of the words that stand in the place of one."""

    text: str
    refusal: bool = False


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
    """A complete answer with one choice. `thinking` are Anthropic's blocks, for a round trip.

    `refusal`: what it said instead of an answer, where the format tells the two apart.
    """

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    thinking: list[dict[str, str]] = field(default_factory=list)
    tool_calls: list[ToolCallMade] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    error: BridgeError | None = None

    @property
    def said(self) -> str:
        """Text and refusal, for formats that know no difference."""
        return self.text + self.refusal


@dataclass(frozen=True, slots=True)
class ReplyHead:
    """What a reply or every chunk of it says of itself. `created` is in seconds since 1970.

    `asked` is the client's body, for formats whose answers repeat it.
    """

    id: str
    model: str
    created: int
    asked: JSONDict = field(default_factory=dict, compare=False, repr=False)


def fold(events: Iterable[StreamEvent]) -> Reply:
    """The reply that a stream adds up to; its pieces are joined once, however many they are."""
    reply = Reply()
    texts: list[str] = []
    refusals: list[str] = []
    thoughts: list[str] = []
    blocks: list[_Block] = []
    arguments: list[list[str]] = []
    for event in events:
        match event:
            case TextDelta(text, refusal):
                (refusals if refusal else texts).append(text)
            case ReasoningDelta(text):
                thoughts.append(text)
                _fold_thinking(blocks, event)
            case ToolCallStart(_, id_, name):
                reply.tool_calls.append(ToolCallMade(id_, name))
                arguments.append([])
            case ToolCallDelta(index, piece):
                arguments[index].append(piece)
            case Finish(reason):
                reply.finish_reason = reason
            case UsageReported(usage):
                reply.usage = usage
            case StreamFailed(error):
                reply.error = error
    reply.text, reply.reasoning = "".join(texts), "".join(thoughts)
    reply.refusal = "".join(refusals)
    reply.thinking = [block.told() for block in blocks]
    for call, pieces in zip(reply.tool_calls, arguments, strict=True):
        call.arguments = "".join(pieces)
    return reply


@dataclass(slots=True)
class _Block:
    """A thinking block under way, or a redacted one, which comes whole."""

    thoughts: list[str] = field(default_factory=list)
    signature: str = ""
    redacted: str = ""

    def told(self) -> dict[str, str]:
        """The block in Anthropic's form."""
        if self.redacted:
            return {"type": "redacted_thinking", "data": self.redacted}
        thinking = "".join(self.thoughts)
        return {"type": "thinking", "thinking": thinking, "signature": self.signature}


def _fold_thinking(blocks: list[_Block], event: ReasoningDelta) -> None:
    """Add one piece to the block that is still open, or to a new one."""
    if event.redacted:
        blocks.append(_Block(redacted=event.redacted))
        return
    if not blocks or blocks[-1].redacted or blocks[-1].signature:
        blocks.append(_Block())
    blocks[-1].thoughts.append(event.text)
    blocks[-1].signature += event.signature
