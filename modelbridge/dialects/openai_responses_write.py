"""Canonical replies and events as OpenAI's response and the events of its stream.

Source: OpenAI's OpenAPI document, Response and ResponseStreamEvent. Thoughts are told as summaries,
which every client of this format shows; a signature is kept in `encrypted_content`. Ours beside
theirs, in the usage that ends a stream: `cost`, a bare decimal in AUD.

A stream and a plain reply are made of the same items, so that the last event has the whole reply.
"""

from dataclasses import dataclass, field

from modelbridge.dialects.openai_responses_echo import names_of, response_object
from modelbridge.dialects.openai_responses_errors import event_frame, write_stream_error
from modelbridge.dialects.openai_responses_reasoning import REDACTED, sealed
from modelbridge.dialects.openai_responses_tools import free_text
from modelbridge.dialects.openai_responses_usage import write_usage
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

_PREFIXES = {"reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def write_reply(reply: Reply, head: ReplyHead) -> JSONDict:
    """The response that says this reply."""
    output = _Output(head)
    for block in reply.thinking or ([{"thinking": reply.reasoning}] if reply.reasoning else []):
        item = output.begin("reasoning")
        item.pieces.append(block.get("thinking", ""))
        item.seal = _seal_of(block)
    if reply.text or not (reply.tool_calls or output.items or reply.refusal):
        output.begin("message").pieces.append(reply.text)
    if reply.refusal:
        output.begin("refusal").pieces.append(reply.refusal)
    for call in reply.tool_calls:
        item = output.begin("function_call", call_id=call.id, name=call.name)
        item.pieces.append(call.arguments)
    usage = write_usage(reply.usage) if reply.usage is not None else None
    return output.response(_incomplete(reply.finish_reason or "", bool(reply.refusal)), usage)


def write_stream(head: ReplyHead, *, include_usage: bool) -> "ResponseWriter":
    """A writer for one stream; clients of this format always see the usage."""
    del include_usage
    return ResponseWriter(head)


def _incomplete(reason: str, refused: bool) -> str | None:
    """Why the response is incomplete; a refusal in words is a complete one."""
    found = _INCOMPLETE.get(reason)
    return None if refused and found == "content_filter" else found


def _seal_of(block: dict[str, str]) -> JSONDict:
    if "data" in block:
        return {"encrypted_content": REDACTED + block["data"]}
    return sealed(block["signature"]) if block.get("signature") else {}


@dataclass(slots=True)
class _Item:
    """An item of the output, under way or done. A `refusal` is a message of another kind."""

    kind: str
    id: str
    place: int
    name: JSONDict = field(default_factory=dict)
    call_id: str = ""
    pieces: list[str] = field(default_factory=list)
    seal: JSONDict = field(default_factory=dict)
    done: bool = False

    @property
    def text(self) -> str:
        """What was said in it so far; a call without arguments has none, which is `{}`."""
        said = "".join(self.pieces)
        if self.kind == "custom_tool_call":
            return free_text(said) if self.done else ""
        return "{}" if self.kind == "function_call" and self.done and not said else said

    def told(self, status: str) -> JSONDict:
        """The item as it stands."""
        kind = "message" if self.kind == "refusal" else self.kind
        item: JSONDict = {"id": self.id, "type": kind}
        if self.kind == "reasoning":
            return item | {"summary": [self.part()] if self.text else []} | self.seal
        item["status"] = status
        if self.kind == "function_call":
            return item | {"call_id": self.call_id, **self.name, "arguments": self.text}
        if self.kind == "custom_tool_call":
            return item | {"call_id": self.call_id, **self.name, "input": self.text}
        begun = self.pieces or status != "in_progress"
        return item | {"role": "assistant", "content": [self.part()] if begun else []}

    def part(self, text: str | None = None) -> JSONDict:
        """The one part of a message or of a thought."""
        said = self.text if text is None else text
        if self.kind == "reasoning":
            return {"type": "summary_text", "text": said}
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": said}
        return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


class _Output:
    """The items of one response, in their order."""

    __slots__ = ("_head", "_names", "items")

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._names = names_of(head)
        self.items: list[_Item] = []

    def begin(self, kind: str, *, call_id: str = "", name: str = "") -> _Item:
        """A new item; a call is that of a function, or of a custom tool if its name is one's."""
        kind, named = self._names.get(name, (kind, {"name": name}))
        place = len(self.items)
        id_ = f"{_PREFIXES.get(kind, 'msg')}_{self._head.id.removeprefix('chatcmpl-')}_{place}"
        self.items.append(_Item(kind, id_, place, named, call_id))
        return self.items[-1]

    def response(self, incomplete: str | None, usage: JSONDict | None) -> JSONDict:
        """The whole response; every item is done."""
        status = "incomplete" if incomplete else "completed"
        for item in self.items:
            item.done = True
        last = len(self.items) - 1
        told = [item.told(status if item.place == last else "completed") for item in self.items]
        return response_object(
            self._head,
            status=status,
            output=told,
            incomplete_details={"reason": incomplete} if incomplete else None,
            usage=usage,
        )


class ResponseWriter:
    """Canonical events into those of a response; one stream each. Nothing follows a failure.

    A thought or a text is done when something else begins. Calls stay open until the end, since
    upstreams may tell several of them by turns.
    """

    __slots__ = (
        "_calls",
        "_failed",
        "_head",
        "_incomplete",
        "_number",
        "_open",
        "_output",
        "_refused",
    )

    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._output = _Output(head)
        self._calls: list[_Item] = []
        self._open: _Item | None = None  # a thought or a text
        self._incomplete: str | None = None
        self._number = 0  # the next event's
        self._failed = self._refused = False

    def write(self, event: StreamEvent) -> bytes:
        """The events that say this one; the usage is for `end`."""
        if self._failed:
            return b""
        if isinstance(event, StreamFailed):
            self._failed = True
            return write_stream_error(event.error, self._head.id.removeprefix("chatcmpl-"))
        return self._start() + self._write(event)

    def end(self, usage: Usage | None, cost: str | None) -> bytes:
        """What is open is done, and the whole response with its usage; nothing after a failure."""
        if self._failed:
            return b""
        out = self._start()
        if not self._output.items:
            out += self._begin("message")[0]
        out += self._close()
        for call in self._calls:
            out += self._finish_call(call)
        told = write_usage(usage or Usage())
        if cost is not None:
            told["cost"] = cost
        response = self._output.response(self._incomplete, told)
        kind = "response.incomplete" if self._incomplete else "response.completed"
        return out + self._event(kind, response=response)

    def _event(self, kind: str, **fields: object) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return event_frame(kind, data)

    def _start(self) -> bytes:
        if self._number:
            return b""
        response = response_object(self._head, status="in_progress", output=[])
        out = self._event("response.created", response=response)
        return out + self._event("response.in_progress", response=response)

    def _write(self, event: StreamEvent) -> bytes:
        match event:
            case TextDelta(text, refusal) if text:
                return self._say(text, refusal)
            case ReasoningDelta():
                return self._think(event)
            case ToolCallStart(_, id_, name):
                return self._call(id_, name)
            case ToolCallDelta(index, arguments) if arguments:
                item = self._calls[index]
                item.pieces.append(arguments)
                if item.kind == "custom_tool_call":
                    return b""  # its text is known when its JSON is whole
                kind = "response.function_call_arguments.delta"
                place = {"item_id": item.id, "output_index": item.place}
                return self._event(kind, **place, delta=arguments)
            case Finish(reason):
                self._incomplete = _incomplete(reason, self._refused)
        return b""

    def _say(self, text: str, refusal: bool) -> bytes:
        out, item = self._begin("refusal" if refusal else "message")
        place = {"item_id": item.id, "output_index": item.place, "content_index": 0}
        item.pieces.append(text)
        if not refusal:
            kind = "response.output_text.delta"
            return out + self._event(kind, **place, delta=text, logprobs=[])
        self._refused = True
        return out + self._event("response.refusal.delta", **place, delta=text)

    # Items

    def _begin(self, kind: str) -> tuple[bytes, _Item]:
        """An item of that kind is open: the one at hand, or a new one."""
        if self._open is not None and self._open.kind == kind:
            return b"", self._open
        out = self._close()
        item = self._open = self._output.begin(kind)
        told = item.told("in_progress")
        out += self._event("response.output_item.added", output_index=item.place, item=told)
        return out + self._part("added", item, item.part("")), item

    def _part(self, what: str, item: _Item, part: JSONDict) -> bytes:
        kind, index = ("content_part", "content_index")
        if item.kind == "reasoning":
            kind, index = ("reasoning_summary_part", "summary_index")
        place = {"item_id": item.id, "output_index": item.place, index: 0}
        return self._event(f"response.{kind}.{what}", **place, part=part)

    def _close(self) -> bytes:
        """The open thought or text is done."""
        item, self._open = self._open, None
        if item is None:
            return b""
        place = {"item_id": item.id, "output_index": item.place}
        if item.kind == "reasoning":
            kind = "response.reasoning_summary_text.done"
            out = self._event(kind, **place, summary_index=0, text=item.text)
        elif item.kind == "refusal":
            kind = "response.refusal.done"
            out = self._event(kind, **place, content_index=0, refusal=item.text)
        else:
            kind = "response.output_text.done"
            out = self._event(kind, **place, content_index=0, text=item.text, logprobs=[])
        return out + self._part("done", item, item.part()) + self._done(item)

    def _done(self, item: _Item) -> bytes:
        item.done = True
        status = "incomplete" if self._incomplete and self._is_last(item) else "completed"
        told = item.told(status)
        return self._event("response.output_item.done", output_index=item.place, item=told)

    def _is_last(self, item: _Item) -> bool:
        return item is self._output.items[-1]

    def _think(self, event: ReasoningDelta) -> bytes:
        if event.redacted:
            return self._sealed({"encrypted_content": REDACTED + event.redacted})
        if event.signature and not event.text and not self._is_thinking():
            return self._sealed(sealed(event.signature))
        out = b""
        if event.text:
            out, item = self._begin("reasoning")
            item.pieces.append(event.text)
            place = {"item_id": item.id, "output_index": item.place, "summary_index": 0}
            kind = "response.reasoning_summary_text.delta"
            out += self._event(kind, **place, delta=event.text)
        if event.signature and self._open is not None:
            self._open.seal = sealed(event.signature)
            out += self._close()
        return out

    def _is_thinking(self) -> bool:
        return self._open is not None and self._open.kind == "reasoning"

    def _sealed(self, seal: JSONDict) -> bytes:
        """A thought of which nothing can be read, whole."""
        out = self._close()
        item = self._output.begin("reasoning")
        place, told = item.place, item.told("in_progress")
        out += self._event("response.output_item.added", output_index=place, item=told)
        item.seal = seal
        return out + self._done(item)

    def _call(self, id_: str, name: str) -> bytes:
        out = self._close()
        item = self._output.begin("function_call", call_id=id_, name=name)
        self._calls.append(item)
        told = item.told("in_progress")
        return out + self._event("response.output_item.added", output_index=item.place, item=told)

    def _finish_call(self, item: _Item) -> bytes:
        item.done = True
        place = {"item_id": item.id, "output_index": item.place}
        if item.kind == "custom_tool_call":
            kind = "response.custom_tool_call_input"
            out = self._event(f"{kind}.delta", **place, delta=item.text) if item.text else b""
            return out + self._event(f"{kind}.done", **place, input=item.text) + self._done(item)
        kind = "response.function_call_arguments.done"
        out = self._event(kind, **place, **item.name, arguments=item.text)
        return out + self._done(item)
