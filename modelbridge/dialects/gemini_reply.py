"""Gemini, upstream half: replies, streams and usage into canonical form.

Source: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse, and the types of
Google's SDK (google-genai 3.4.0). A chunk of a stream has the shape of a whole reply, so that
reading a reply is reading a stream of one chunk. Function calls come whole.
"""

from collections.abc import Iterable
from hashlib import blake2s
from typing import Any

from modelbridge.dialects.gemini_errors import failure_of
from modelbridge.dialects.gemini_signatures import END, THOUGHT, mark, place_of
from modelbridge.errors import UpstreamError
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

_FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "TOO_MANY_TOOL_CALLS": "length",
}
# The model's answer cannot be read, or must not be: there is nothing to show for it.
_FAILURES = {
    "MALFORMED_FUNCTION_CALL": "wrote a tool call that cannot be read",
    "UNEXPECTED_TOOL_CALL": "called a tool that it was not given",
    "MALFORMED_RESPONSE": "wrote an answer that cannot be read",
    "MISSING_THOUGHT_SIGNATURE": "missed a thought signature in the conversation",
}
_UNSPECIFIED = (
    "FINISH_REASON_UNSPECIFIED",
    "BLOCKED_REASON_UNSPECIFIED",
    "BLOCK_REASON_UNSPECIFIED",
)
_MALFORMED = (ValueError, TypeError, KeyError, AttributeError)
_MOST = 2**53


def read_reply(body: JSONDict) -> Reply:
    """The canonical reply: its first candidate.

    One that cannot be shown has its `error` beside the usage, which is billed. Raises UpstreamError
    if the body is not a reply, or such a one without usage.
    """
    if isinstance(body, dict) and body.get("error") is not None:
        raise failure_of(body)
    try:
        if not (body.get("candidates") or body.get("promptFeedback")):
            raise KeyError("candidates")
        reply = fold(Reader().read(body))
    except _MALFORMED:
        raise UpstreamError(
            "The upstream answered with something that is no reply of Gemini's.",
            may_have_billed=True,
        ) from None
    if reply.error is not None and reply.usage is None:
        raise reply.error
    return reply


def read_stream() -> "Reader":
    """A reader for one stream."""
    return Reader()


class Reader:
    """Reads one stream; after an error, further frames say nothing."""

    __slots__ = ("_calls", "_ended", "_finished")

    def __init__(self) -> None:
        self._calls = 0
        self._ended = self._finished = False

    def feed(self, frame: Frame) -> Iterable[StreamEvent]:
        """The events of one frame. Never raises: what is broken becomes StreamFailed."""
        if self._ended or not frame.data or frame.data.strip() == b"[DONE]":
            return []
        try:
            data = loads(frame.data)
            if data.get("error") is not None:
                return self._fail(failure_of(data))
            return self.read(data)
        except _MALFORMED:
            return self._fail(
                UpstreamError("The upstream sent a malformed event.", may_have_billed=True)
            )

    def end(self) -> Iterable[StreamEvent]:
        """StreamFailed unless a finish reason or a failure came: there is no other end mark."""
        if self._ended or self._finished:
            return []
        return self._fail(
            UpstreamError("The upstream's stream broke off before its end.", may_have_billed=True)
        )

    def read(self, body: JSONDict) -> list[StreamEvent]:
        """The events of one chunk, or of a whole reply. Raises ValueError and its like."""
        events: list[StreamEvent] = []
        reason = None
        for candidate in body.get("candidates") or ():
            if candidate.get("index"):
                continue  # only one was asked for
            for part in (candidate.get("content") or {}).get("parts") or ():
                events += self._part(part, body)
            reason = candidate.get("finishReason")
        failure = _FAILURES.get(reason) if isinstance(reason, str) else None
        reason = reason or (body.get("promptFeedback") or {}).get("blockReason")
        if reason and failure is None and reason not in _UNSPECIFIED and not self._finished:
            events.append(self._finish(_text(reason)))
        usage = read_usage(body.get("usageMetadata"))
        if usage is not None:
            final = self._finished or failure is not None
            events.append(UsageReported(usage, final=final))
        if failure is not None:
            events += self._fail(UpstreamError(f"The model {failure}.", may_have_billed=True))
        return events

    def _fail(self, error: UpstreamError) -> list[StreamEvent]:
        self._ended = True
        return [StreamFailed(error)]

    def _finish(self, reason: str) -> Finish:
        """What is in no table is one of Google's many words for a filter, old or new."""
        self._finished = True
        found = _FINISH_REASONS.get(reason, "content_filter")
        return Finish("tool_calls" if found == "stop" and self._calls else found)

    def _part(self, part: JSONDict, body: JSONDict) -> list[StreamEvent]:
        signature = _text(part.get("thoughtSignature") or "")
        if "functionCall" in part:
            return self._call(part["functionCall"], signature, body)
        if "text" not in part:
            return []  # code that ran at Google, pictures: nobody could ask for them
        text = _text(part["text"])
        if part.get("thought"):
            if not (text or signature):
                return []
            return [ReasoningDelta(text, mark(THOUGHT, signature) if signature else "")]
        events: list[StreamEvent] = [TextDelta(text)] if text else []
        return [*events, ReasoningDelta(signature=mark(END, signature))] if signature else events

    def _call(self, call: JSONDict, signature: str, body: JSONDict) -> list[StreamEvent]:
        number, self._calls = self._calls, self._calls + 1
        name = _text(call["name"])
        id_ = _text(call.get("id") or "") or _made_id(body, number, name)
        arguments = call.get("args") or {}
        if not isinstance(arguments, dict):
            raise TypeError("args")
        events: list[StreamEvent] = []
        if signature:
            events.append(ReasoningDelta(signature=mark(place_of(id_), signature)))
        events.append(ToolCallStart(number, id_, name))
        return [*events, ToolCallDelta(number, dumps(arguments).decode())]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _made_id(body: JSONDict, number: int, name: str) -> str:
    """An id for a call that came without, as those of Gemini 2 do; the same for the same reply."""
    seed = f"{body.get('responseId')} {number} {name}"
    return "call_" + blake2s(seed.encode("utf-8", "replace"), digest_size=12).hexdigest()


# Usage


class _AbsurdError(ValueError):
    """A count that no upstream can mean: the whole report is then worth nothing."""


def read_usage(value: object) -> Usage | None:
    """Usage in disjoint classes; None if there is no count of the prompt, or an absurd one.

    `promptTokenCount` includes what was read from the cache. Thoughts stand outside
    `candidatesTokenCount` and are billed as output; what a provider's own tool put into the
    prompt is billed as input.
    """
    if not isinstance(value, dict):
        return None
    try:
        return _read_usage(value)
    except _AbsurdError:
        return None


def _read_usage(value: JSONDict) -> Usage:
    if value.get("promptTokenCount") is None:
        raise _AbsurdError
    prompt, of_tools = _count(value, "promptTokenCount"), _count(value, "toolUsePromptTokenCount")
    cached = _count(value, "cachedContentTokenCount")
    if cached > prompt:
        raise _AbsurdError
    heard = max(0, _audio(value, "promptTokensDetails") - _audio(value, "cacheTokensDetails"))
    audio = min(heard, prompt - cached)
    output, thoughts = _read_output(value, prompt + of_tools)
    spoken = min(_audio(value, "candidatesTokensDetails"), output - thoughts)
    return Usage(
        input=prompt - cached - audio + of_tools,
        cache_read=cached,
        audio_input=audio,
        output=output - spoken,
        audio_output=spoken,
        reasoning=thoughts,
    )


def _read_output(value: JSONDict, inputs: int) -> tuple[int, int]:
    """All output tokens, and how many of them were thoughts.

    Where the total says that the candidates' count has the thoughts in it, they are not counted
    twice; what the total has beyond the parts is billed as output.
    """
    candidates, thoughts = (
        _count(value, "candidatesTokenCount"),
        _count(value, "thoughtsTokenCount"),
    )
    total = _count(value, "totalTokenCount")
    if thoughts and thoughts <= candidates and total == inputs + candidates:
        return candidates, thoughts
    return max(candidates + thoughts, total - inputs), thoughts


def _audio(value: JSONDict, name: str) -> int:
    """Tokens of sound in a breakdown by modality."""
    rows: Any = value.get(name) or ()
    if not isinstance(rows, list | tuple):
        raise _AbsurdError
    found = 0
    for row in rows:
        if not isinstance(row, dict):
            raise _AbsurdError
        found += _count(row, "tokenCount") if row.get("modality") == "AUDIO" else 0
    return found


def _count(value: JSONDict, name: str) -> int:
    """A token count; 0 when it is not there."""
    found = value.get(name)
    if found is None:
        return 0
    if type(found) is not int or not 0 <= found <= _MOST:
        raise _AbsurdError
    return found
