"""A little of `make torture ARGS="streams=…"`: no stream breaks the reader or a dialect."""

import gzip
import tracemalloc

import pytest
from torture.streams import streams

from modelbridge.dialects.registry import UPSTREAM_DIALECTS
from modelbridge.wire.reply import StreamFailed
from modelbridge.wire.sse import MAX_FRAME_BYTES, FrameReader, FrameTooLarge


def test_three_thousand_broken_streams_break_nothing() -> None:
    found = streams(3_000, seed=1)
    assert found["exceptions that escaped"] == 0
    assert found["inputs with an event above the bound, refused"]
    assert all(found[f"events of {name}"] for name in UPSTREAM_DIALECTS)


def test_a_line_without_an_end_takes_no_more_memory_than_its_bound() -> None:
    reader, piece = FrameReader(), b"x" * 65_536
    tracemalloc.start()
    try:
        for _ in range(MAX_FRAME_BYTES // len(piece)):
            reader.feed(piece)
        with pytest.raises(FrameTooLarge):
            reader.feed(piece)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 3 * MAX_FRAME_BYTES  # a growing buffer is copied once in a while


@pytest.mark.parametrize("name", UPSTREAM_DIALECTS)
def test_gzip_that_nobody_asked_for_is_no_answer(name: str) -> None:
    squeezed = gzip.compress(b'data: {"choices":[]}\n\ndata: [DONE]\n\n' * 99)
    frames, reader = FrameReader(), UPSTREAM_DIALECTS[name].read_stream()
    events = [event for frame in frames.feed(squeezed) for event in reader.feed(frame)]
    rest = frames.rest()
    events += reader.feed(rest) if rest else []
    assert isinstance([*events, *reader.end()][-1], StreamFailed)
