"""Streams as no honest server sends them, through the reader of frames and every dialect.

Each input is made of pieces that make trouble: halves of characters, every kind of line end,
comments, fields without a colon, several data lines, lines larger than the bound, whole gzip files
that nobody asked for, the providers' own events, and events with something in them replaced. It
arrives cut at random. What must hold: no exception but the one for an event that is too large,
which whoever reads streams expects; no more bytes kept than the bound and one piece; every dialect
answers with events that fold into a reply and that every client's format can say, and nothing else;
what is passed on untouched is looked at without a fault, too.
"""

import gzip
import random
from collections.abc import Iterator, Mapping
from unittest.mock import patch

from modelbridge.dialects.registry import FRONTS, UPSTREAM_DIALECTS
from modelbridge.jsonio import dumps
from modelbridge.wire import sse
from modelbridge.wire.reply import ReplyHead, StreamEvent, fold
from modelbridge.wire.sse import Frame, FrameReader, FrameTooLarge

BOUND = 2_000
_HEAD = ReplyHead("chatcmpl-1", "m", 1)
_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\n", b"\r", b"")
_CHAT = {"id": "c", "choices": [{"index": 0, "delta": {"content": "h"}, "finish_reason": None}]}
_PART = {"text": "😀", "thoughtSignature": "s"}
_CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
_EVENTS: tuple[object, ...] = (
    _CHAT,
    {"choices": [{"delta": {"tool_calls": [_CALL]}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"error": {"message": "m", "status": "INTERNAL", "type": "overloaded_error"}},
    {"type": "message_start", "message": {"usage": {"input_tokens": 1, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "f"},
    },
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "input_json_delta", "partial_json": "{"},
    },
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
    {"candidates": [{"content": {"parts": [_PART]}}], "usageMetadata": {"promptTokenCount": 3}},
    {
        "candidates": [
            {
                "content": {"parts": [{"functionCall": {"name": "f", "args": {}}}]},
                "finishReason": "STOP",
            }
        ]
    },
    {"promptFeedback": {"blockReason": "SAFETY"}},
    {"type": "response.created", "response": {"id": "r"}},
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"type": "function_call", "call_id": "c", "name": "f"},
    },
    {"type": "response.output_text.delta", "output_index": 0, "delta": "h"},
    {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"},
    {
        "type": "response.completed",
        "response": {"output": [], "usage": {"input_tokens": 1, "output_tokens": 1}},
    },
)
_JUNK: tuple[object, ...] = (None, True, -1, 2**60, 1.5, "", "x", [], {}, [None], [[]], {"": {}})


def _clean() -> list[bytes]:
    events = [dumps(event) for event in _EVENTS]
    framed = [b"data: " + event + b"\n\n" for event in events]
    return [*framed, b"event: error\ndata: {}\n\n", b"data: [DONE]\n\n", b"data:[DONE]\r\n\r\n"]


_CLEAN = _clean()
_TROUBLE = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b":",
    b": ping\n\n",
    b"data",
    b"data:",
    b"data: ",
    b"event: ",
    b"event: error\n",
    b"id: 7\n",
    b"retry: x\n",
    b"\xef\xbb\xbf",
    b"\xf0\x9f",
    b"\x98\x80",
    b"\x00",
    b"\xff",
    b"{",
    b'{"a":',
    b"[" * 40,
    b"data: a\ndata: b\n\n",
    b"x" * (BOUND // 3),
    b"data: " + b"y" * (BOUND + 9),
    gzip.compress(b"".join(_CLEAN[:4])),
    gzip.compress(b"0" * 9_999),
)


def _replaced(rng: random.Random, event: object) -> object:
    """The event with something in it, anywhere, replaced by junk."""
    if rng.random() < 0.25 or not isinstance(event, dict | list) or not event:
        return rng.choice(_JUNK)
    if isinstance(event, dict):
        key = rng.choice(list(event))
        return {**event, key: _replaced(rng, event[key])}
    at = rng.randrange(len(event))
    return [*event[:at], _replaced(rng, event[at]), *event[at + 1 :]]


def _pieces(rng: random.Random) -> Iterator[bytes]:
    for _ in range(rng.randint(1, 9)):
        kind = rng.random()
        if kind < 0.35:
            yield rng.choice(_CLEAN)
        elif kind < 0.65:
            event = dumps(_replaced(rng, rng.choice(_EVENTS)))
            yield b"data: " + event + rng.choice(_ENDS)
        else:
            yield rng.choice(_TROUBLE)


def _cut(rng: random.Random, data: bytes) -> list[bytes]:
    edges = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(0, 6)))
    return [data[a:b] for a, b in zip([0, *edges], [*edges, len(data)], strict=True)]


def _frames(pieces: list[bytes]) -> tuple[list[Frame], bool]:
    """The frames, and whether one was too large: then nothing after it is read."""
    reader = FrameReader()
    found: list[Frame] = []
    for piece in pieces:
        try:
            found += reader.feed(piece)
        except FrameTooLarge:
            return found, True
        kept = len(reader._buffer)
        assert kept <= BOUND + len(piece), f"{kept} bytes are kept"
    rest = reader.rest()
    assert not reader._buffer
    return [*found, *([rest] if rest else [])], False


def _events(name: str, frames: list[Frame]) -> list[StreamEvent]:
    reader = UPSTREAM_DIALECTS[name].read_stream()
    events = [event for frame in frames for event in reader.feed(frame)]
    return [*events, *reader.end()]


def _tell(name: str, frames: list[Frame], events: list[StreamEvent]) -> None:
    """The frames passed on to a client of this format, and the events written for it."""
    front = FRONTS[name]
    mender, writer = front.mend_stream(), front.write_stream(_HEAD, include_usage=True)
    for frame in frames:
        front.inspect(mender.mend(frame))
    for event in events:
        writer.write(event)
    writer.end(None, "0.01")


def streams(count: int, seed: int = 0) -> Mapping[str, object]:
    """Try that many; what was seen. Raises AssertionError naming the input's number."""
    told = dict.fromkeys(UPSTREAM_DIALECTS, 0)
    fronts = list(FRONTS)
    frames_read = too_large = 0
    with patch.object(sse, "MAX_FRAME_BYTES", BOUND):
        for number in range(count):
            rng = random.Random(f"{seed}/{number}")
            data = b"".join(_pieces(rng))
            try:
                frames, was_too_large = _frames(_cut(rng, data))
                for name in UPSTREAM_DIALECTS:
                    events = _events(name, frames)
                    fold(events)
                    _tell(fronts[number % len(fronts)], frames, events)
                    told[name] += len(events)
            except Exception as error:
                raise AssertionError(f"input {number}: {data[:300]!r}: {error!r}") from error
            frames_read += len(frames)
            too_large += was_too_large
    return {
        "exceptions that escaped": 0,
        "frames": frames_read,
        "inputs with an event above the bound, refused": too_large,
    } | {f"events of {name}": number for name, number in told.items()}
