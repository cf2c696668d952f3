"""What an OpenAI-compatible upstream answers, into canonical events.

A message and a delta have the same shape, so that reading a reply is reading a stream of one
piece. The quirks of compatible servers that were recorded are noted where they are met.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from modelbridge import jsonio
from modelbridge.dialects.openai_chat_calls import Calls, arguments_text
from modelbridge.dialects.openai_errors import find_error
from modelbridge.dialects.openai_usage import read_usage, usage_object
from modelbridge.errors import UpstreamError
from modelbridge.jsonio import JSONDict
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

# Whatever is not here ("eos", "stop_sequence") means that the model had said what it wanted to.
_FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "model_length": "length",  # Mistral
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
}
# Mistral and OpenRouter; DeepSeek, which ran out of machines.
_FAILURES = frozenset({"error", "insufficient_system_resource"})


def read_reply(body: JSONDict) -> Reply:
    """The canonical reply: its first choice.

    One that failed has its `error` beside the usage, which is billed. Raises UpstreamError if the
    body is not a reply, and tells no usage.
    """
    error = find_error(body)
    choices = body.get("choices")
    if error is None and not (
        isinstance(choices, list)
        and choices
        and isinstance(choices[0], dict)
        and isinstance(choices[0].get("message"), dict)
    ):
        error = _broken("sent a body that is not a chat completion")
    if error is not None:
        reply = Reply(error=error, usage=read_usage(usage_object(body)))
    else:
        reply = fold(ChatReader(whole=True).read(body))
    if reply.error is not None and reply.usage is None:
        raise reply.error
    return reply


def read_stream() -> "ChatReader":
    """A reader for one stream."""
    return ChatReader()


def texts(content: object) -> Iterator[tuple[bool, str]]:
    """The texts of a content: a string, or Mistral's parts. True marks thinking."""
    if isinstance(content, str):
        yield False, content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield False, part["text"]
            elif isinstance(part, dict) and "thinking" in part:
                yield from ((True, text) for _, text in texts(part["thinking"]))


def reasoning_text(part: JSONDict) -> str:
    """The thinking in a message or delta: DeepSeek's word for it, or OpenRouter's and Groq's."""
    found = part.get("reasoning_content") or part.get("reasoning")
    return found if isinstance(found, str) else ""


def first_choices(body: JSONDict) -> Iterator[JSONDict]:
    """The pieces of choice 0. Several choices exist only where bytes are passed on untouched."""
    choices = body.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and not choice.get("index"):
            yield choice


class ChatReader:
    """An upstream's frames into canonical events; one stream each, or one `whole` body."""

    __slots__ = ("_calls", "_ended", "_finished", "_refused", "_whole")

    def __init__(self, *, whole: bool = False) -> None:
        self._whole = whole
        self._calls = Calls()
        self._refused = self._finished = self._ended = False

    def feed(self, frame: Frame) -> Iterable[StreamEvent]:
        """The events of one frame. Never raises: what is broken becomes StreamFailed."""
        if self._ended or not frame.data:
            return ()
        if frame.data == b"[DONE]":
            self._ended = True
            return ()
        try:
            chunk = jsonio.loads(frame.data)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            return self._fail(_broken("sent an event that is not a JSON object"))
        error = find_error(chunk, frame.event)
        if error is not None:
            usage = read_usage(usage_object(chunk))
            told = [UsageReported(usage)] if usage else []
            return [*told, *self._fail(error)]
        return list(self.read(chunk))

    def end(self) -> Iterable[StreamEvent]:
        """StreamFailed if neither a finish reason nor `[DONE]` ever came."""
        if self._finished or self._ended:
            return ()
        return self._fail(_broken("ended its stream before the answer was complete"))

    def read(self, body: JSONDict) -> Iterator[StreamEvent]:
        """The events of one chunk, or of a whole body; a failure comes after what it costs."""
        failed: StreamEvent | None = None
        for choice in first_choices(body):
            part = choice.get("message" if self._whole else "delta")
            if isinstance(part, dict):
                yield from self._read_part(part, body)
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and reason and not self._finished:
                event = self._finish(reason)
                if isinstance(event, StreamFailed):
                    failed = event
                else:
                    yield event
        usage = read_usage(usage_object(body))
        if usage is not None:
            yield UsageReported(usage, final=self._finished or not body.get("choices"))
        if failed is not None:
            yield failed

    def _fail(self, error: UpstreamError) -> list[StreamEvent]:
        self._ended = True
        return [StreamFailed(error)]

    def _finish(self, reason: str) -> StreamEvent:
        self._finished = True
        if reason in _FAILURES:
            self._ended = True
            return StreamFailed(_broken(f"gave up in mid-answer ({reason})"))
        # Gemini adds its reason: "content_filter: RECITATION".
        found = _FINISH_REASONS.get(reason.split(":")[0].lower(), "stop")
        if found == "stop" and self._refused:
            found = "content_filter"
        elif found == "stop" and self._calls:
            found = "tool_calls"  # Gemini's compatible endpoint and others say "stop" here
        return Finish(found)

    def _read_part(self, part: JSONDict, body: JSONDict) -> Iterator[StreamEvent]:
        yield from self._read_thinking(part)
        for is_thinking, text in texts(part.get("content")):
            if text:
                yield ReasoningDelta(text) if is_thinking else TextDelta(text)
        refusal = part.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._refused = True
            yield TextDelta(refusal, refusal=True)
        calls = part.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict) and isinstance(call.get("function"), dict):
                yield from self._read_call(call, call["function"], body)

    def _read_thinking(self, part: JSONDict) -> Iterator[StreamEvent]:
        """Text as it comes; blocks for their signatures, and in a whole body for their text."""
        blocks = part.get("thinking_blocks")
        blocks = [b for b in blocks if isinstance(b, dict)] if isinstance(blocks, list) else []
        text = reasoning_text(part)
        if text and not (self._whole and blocks):
            yield ReasoningDelta(text)
        for block in blocks:
            thought = _string(block, "thinking") if self._whole else ""
            delta = ReasoningDelta(thought, _string(block, "signature"), _string(block, "data"))
            if delta.text or delta.signature or delta.redacted:
                yield delta

    def _read_call(
        self, call: JSONDict, function: JSONDict, body: JSONDict
    ) -> Iterator[StreamEvent]:
        id_, name = _string(call, "id"), _string(function, "name")
        index, arguments = call.get("index"), arguments_text(function)
        known = None if self._whole else self._calls.find(index, id_, bool(name and arguments))
        if known is None:
            known = self._calls.begin(id_)
            yield ToolCallStart(known.number, id_ or _made_id(body, known.number), name)
        self._calls.add(known, index, arguments)
        if arguments:
            yield ToolCallDelta(known.number, arguments)


def _broken(what: str) -> UpstreamError:
    return UpstreamError(f"The upstream {what}.", may_have_billed=True)


def _string(holder: dict[str, Any], name: str) -> str:
    found = holder.get(name)
    return found if isinstance(found, str) else ""


def _made_id(body: JSONDict, number: int) -> str:
    """An id for a call that came without: the same whenever the same reply is read."""
    seed = f"{body.get('id')} {body.get('created')} {number}"
    return "call_" + hashlib.sha256(seed.encode()).hexdigest()[:24]
