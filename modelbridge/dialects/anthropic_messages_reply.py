"""Anthropic Messages, upstream half: replies, streams, usage and errors into canonical form.

Sources: https://platform.claude.com/docs/en/build-with-claude/streaming (events),
/handling-stop-reasons, /api/errors; the types of Anthropic's SDK (anthropic 2.12.0).
A reply and a stream are read into the same events, so that folding a stream gives the reply.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from modelbridge.dialects.openai_errors import read_retry_after
from modelbridge.errors import (
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
)
from modelbridge.jsonio import JSONDict, dumps, loads
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    Finish,
    FinishReason,
    ReasoningDelta,
    Reply,
    StreamEvent,
    StreamFailed,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    UsageReported,
    fold,
)
from modelbridge.wire.sse import Frame
from modelbridge.wire.target import Target

# `pause_turn` and a full context window leave the answer unfinished, which "length" says and "stop"
# would hide. An unknown reason is a finished answer as far as anybody can tell.
_FINISH_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
}
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError)
_MAX_TOKENS = 2**53
_LONGEST_MESSAGE = 4_000


def read_reply(body: JSONDict) -> Reply:
    """The canonical reply. Raises UpstreamError if the body is not a message."""
    if isinstance(body, dict) and body.get("type") == "error":
        raise failure_of(body)
    try:
        return fold(_events_of(body))
    except _MALFORMED:
        raise UpstreamError(
            "The upstream answered with something that is no message.", may_have_billed=True
        ) from None


def read_stream() -> "Reader":
    """A reader for one stream."""
    return Reader()


def _events_of(body: JSONDict) -> list[StreamEvent]:
    """A whole message as the events that a stream of it would give."""
    events: list[StreamEvent] = []
    calls = 0
    content = body["content"]
    if not isinstance(content, list):
        raise TypeError("content")
    for block in content:
        match block["type"]:
            case "text":
                events.append(TextDelta(_text(block["text"])))
            case "thinking":
                signature = _text(block.get("signature") or "")
                events.append(ReasoningDelta(_text(block["thinking"]), signature=signature))
            case "redacted_thinking":
                events.append(ReasoningDelta(redacted=_text(block["data"])))
            case "tool_use":
                events.append(ToolCallStart(calls, _text(block["id"]), _text(block["name"])))
                events.append(ToolCallDelta(calls, _arguments(block.get("input")) or "{}"))
                calls += 1
    if body.get("stop_reason") is not None:
        events.append(Finish(_finish_reason(body["stop_reason"])))
    usage = usage_of(counts_of(body.get("usage")))
    return [*events, UsageReported(usage)] if usage else events


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _arguments(value: object) -> str:
    """The JSON of a tool's input, "" for none."""
    return dumps(value).decode() if value else ""


def _finish_reason(reason: object) -> FinishReason:
    return _FINISH_REASONS.get(_text(reason), "stop")


# Usage


def counts_of(usage: object) -> dict[str, int]:
    """The counts that are there: whole numbers from 0 to 2**53. null is not 0.

    None of them if one is absurd: what it counts would be free, and nobody would be told.
    """
    if not isinstance(usage, dict):
        return {}
    split, details = usage.get("cache_creation"), usage.get("output_tokens_details")
    if not isinstance(split, dict | None) or not isinstance(details, dict | None):
        return {}
    found = {
        "input": usage.get("input_tokens"),
        "output": usage.get("output_tokens"),
        "cache_read": usage.get("cache_read_input_tokens"),
        "cache_writes": usage.get("cache_creation_input_tokens"),
    }
    if split:
        found["cache_write_5m"] = split.get("ephemeral_5m_input_tokens")
        found["cache_write_1h"] = split.get("ephemeral_1h_input_tokens")
    if details:
        found["reasoning"] = details.get("thinking_tokens")
    told = {name: count for name, count in found.items() if count is not None}
    return told if all(map(_is_sane, told.values())) else {}


def _is_sane(count: object) -> TypeGuard[int]:
    return isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _MAX_TOKENS


def usage_of(counts: Mapping[str, int]) -> Usage | None:
    """Usage in disjoint classes; None unless both input and output are known.

    `input_tokens` leaves the cached tokens out already. The later events of a stream have the
    cache writes as one number: what the first one said of their lifetimes still holds for those.
    """
    if "input" not in counts or "output" not in counts:
        return None
    one_hour = counts.get("cache_write_1h", 0)
    writes = max(counts.get("cache_writes", 0), counts.get("cache_write_5m", 0) + one_hour)
    return Usage(
        input=counts["input"],
        cache_read=counts.get("cache_read", 0),
        cache_write=writes - one_hour,
        cache_write_1h=one_hour,
        output=counts["output"],
        reasoning=min(counts.get("reasoning", 0), counts["output"]),
    )


# Streams


@dataclass(slots=True)
class _Block:
    """A content block that has begun. `call`: its number among the tool calls, if it is one."""

    kind: str
    call: int = -1
    whole_input: str = ""
    has_arguments: bool = False
    signature: str = ""


class Reader:
    """Reads one stream; after an error or the end, further frames say nothing."""

    __slots__ = ("_blocks", "_calls", "_counts", "_ended", "_settled", "_unsettled")

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._counts: dict[str, int] = {}
        self._ended = False
        self._settled = False  # the final usage was reported
        self._unsettled: Usage | None = None  # a later count than the first, not yet final

    def feed(self, frame: Frame) -> Iterable[StreamEvent]:
        """The events of one frame. Never raises: what is broken becomes StreamFailed."""
        if self._ended or frame.data is None or frame.data.strip() == b"[DONE]":
            return []
        try:
            return self._read(loads(frame.data), frame.event)
        except _MALFORMED:
            return self._fail(
                UpstreamError("The upstream sent a malformed event.", may_have_billed=True)
            )

    def end(self) -> Iterable[StreamEvent]:
        """StreamFailed unless `message_stop` or a failure came."""
        if self._ended:
            return []
        return self._fail(
            UpstreamError("The upstream's stream broke off before its end.", may_have_billed=True)
        )

    def _fail(self, error: UpstreamError) -> list[StreamEvent]:
        self._ended = True
        return [StreamFailed(error)]

    def _read(self, data: JSONDict, event: str) -> list[StreamEvent]:
        match data.get("type") or event:
            case "message_start":
                return self._message_start(data["message"])
            case "content_block_start":
                return self._block_start(data["index"], data["content_block"])
            case "content_block_delta":
                return self._block_delta(self._blocks.get(data["index"]), data["delta"])
            case "content_block_stop":
                return self._close(data["index"])
            case "message_delta":
                return self._message_delta(data.get("delta") or {}, data.get("usage"))
            case "message_stop":
                return self._message_stop()
            case "error":
                return self._fail(failure_of(data))
        return []  # ping, and what is yet to be invented

    def _message_start(self, message: JSONDict) -> list[StreamEvent]:
        self._counts = counts_of(message.get("usage"))
        usage = usage_of(self._counts)
        return [UsageReported(usage, final=False)] if usage else []

    def _block_start(self, index: int, content: JSONDict) -> list[StreamEvent]:
        events = self._close(index)
        block = self._blocks[index] = _Block(_text(content["type"]))
        match block.kind:
            case "text" if content.get("text"):
                events.append(TextDelta(_text(content["text"])))
            case "thinking":
                block.signature = _text(content.get("signature") or "")
                if content.get("thinking"):
                    events.append(ReasoningDelta(_text(content["thinking"])))
            case "redacted_thinking":
                events.append(ReasoningDelta(redacted=_text(content["data"])))
            case "tool_use":
                block.whole_input = _arguments(content.get("input"))
                block.call, self._calls = self._calls, self._calls + 1
                start = ToolCallStart(block.call, _text(content["id"]), _text(content["name"]))
                events.append(start)
        return events

    def _block_delta(self, block: _Block | None, delta: JSONDict) -> list[StreamEvent]:
        match delta["type"]:
            case "text_delta":
                return [TextDelta(_text(delta["text"]))]
            case "thinking_delta":
                return [ReasoningDelta(_text(delta["thinking"]))]
            case "signature_delta" if block:
                block.signature += _text(delta["signature"])
            case "input_json_delta":
                piece = _text(delta["partial_json"])
                if block is None:
                    raise ValueError("arguments without a tool call")
                if piece and block.call >= 0:
                    block.has_arguments = True
                    return [ToolCallDelta(block.call, piece)]
        return []  # citations, input of the provider's own tools, and what is yet to be invented

    def _close(self, index: int) -> list[StreamEvent]:
        """What is known of a block only when it is complete: its signature, empty arguments."""
        block = self._blocks.pop(index, None)
        if block is None:
            return []
        if block.signature:
            return [ReasoningDelta(signature=block.signature)]
        if block.call >= 0 and not block.has_arguments:
            return [ToolCallDelta(block.call, block.whole_input or "{}")]
        return []

    def _close_all(self) -> list[StreamEvent]:
        return [event for index in sorted(self._blocks) for event in self._close(index)]

    def _message_delta(self, delta: JSONDict, usage: object) -> list[StreamEvent]:
        """Counts are cumulative; classes that the delta does not name keep what was said before."""
        events: list[StreamEvent] = []
        reason = delta.get("stop_reason")
        if reason is not None:
            events = [*self._close_all(), Finish(_finish_reason(reason))]
        news = counts_of(usage)
        self._counts |= news
        found = usage_of(self._counts) if "output" in news else None
        if found:
            final = reason is not None and not self._settled
            self._settled |= final
            self._unsettled = None if final else found
            events.append(UsageReported(found, final=final))
        return events

    def _message_stop(self) -> list[StreamEvent]:
        events = self._close_all()
        self._ended = True
        if self._unsettled and not self._settled:
            events.append(UsageReported(self._unsettled))
        return events


# Errors

_OPERATORS_TYPES = {"authentication_error", "billing_error", "permission_error"}
# 400s that are about the operator's money: Anthropic has no error type for them.
_OPERATORS_WORDS = ("credit balance is too low", "reached your specified api usage limits")


def read_error(status: int, headers: dict[str, str], body: bytes, target: Target) -> UpstreamError:
    """What an answer that is no success means; header names are in lower case.

    What is about our credential, our bill or our rate is told without the provider's words, which
    name the operator's organisation.
    """
    name = target.upstream
    kind, message = _kind_and_message(_json(body))
    if status in (401, 402, 403) or (400 <= status < 500 and _is_operators(kind, message)):
        return UpstreamAuthFailed(
            f"The upstream {name!r} does not accept the credential that ModelBridge has for it, or "
            "has no money left there. Nothing is wrong with your key: tell your administrator.",
            refused=True,
        )
    if status == 429:
        return UpstreamRateLimited(
            f"The upstream {name!r} is limiting its rate: try again later.",
            refused=True,
            retry_after=read_retry_after(headers),
        )
    if status in (503, 529):
        return UpstreamError(
            f"The upstream {name!r} is overloaded or down for now (HTTP {status}).",
            refused=True,
            retry_after=read_retry_after(headers),
        )
    if status in (400, 404, 413, 422):
        words = _bounded(message) or f"The upstream {name!r} rejected the request (HTTP {status})."
        return UpstreamRejected(words, status=status, code=kind or None)
    if status == 504:
        return UpstreamTimeout(f"The upstream {name!r} timed out.", may_have_billed=True)
    refused = 400 <= status < 500 and status not in (408, 499)
    return UpstreamError(
        f"The upstream {name!r} failed (HTTP {status}).",
        refused=refused,
        may_have_billed=not refused,
    )


def _json(body: bytes) -> object:
    try:
        return loads(body)
    except ValueError:
        return None


def _kind_and_message(data: object) -> tuple[str, str]:
    """`error.type` and `error.message` of Anthropic's envelope; "" for what is not there."""
    error = data.get("error") if isinstance(data, dict) else None
    if not isinstance(error, dict):
        return "", ""
    kind, message = error.get("type"), error.get("message")
    return kind if isinstance(kind, str) else "", message if isinstance(message, str) else ""


def _bounded(message: str) -> str:
    return message[:_LONGEST_MESSAGE]


def _is_operators(kind: str, message: str) -> bool:
    return kind in _OPERATORS_TYPES or any(words in message.lower() for words in _OPERATORS_WORDS)


def failure_of(data: JSONDict) -> UpstreamError:
    """An error event after the 200, or an error instead of a message."""
    kind, message = _kind_and_message(data)
    if kind == "invalid_request_error" and message and not _is_operators(kind, message):
        return UpstreamError(_bounded(message), may_have_billed=True)
    if kind == "rate_limit_error":
        return UpstreamRateLimited("The upstream's rate limit was reached.", may_have_billed=True)
    what = "is overloaded" if kind == "overloaded_error" else "failed"
    return UpstreamError(f"The upstream {what} while it was answering.", may_have_billed=True)
