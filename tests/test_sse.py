"""Server-sent events arrive in any pieces, with any line ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbridge.wire import sse
from modelbridge.wire.sse import Frame, FrameReader, FrameTooLarge, data_frame, parse_frame

# Bytes that make trouble, often: line ends, field names, colons, halves of characters, marks.
PIECES = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"data", b"data: ", b"event: ", b":", b" ", b"x"]
    + [
        b"\xef\xbb\xbf",
        b"\xf0\x9f",
        b"\x98\x80",
        b"data: {}\n\n",
        b": ping\n\n",
        b"id: 7\n",
        b"\x00",
    ]
)
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)


def read_all(chunks: list[bytes]) -> list[Frame]:
    reader = FrameReader()
    frames = [frame for chunk in chunks for frame in reader.feed(chunk)]
    rest = reader.rest()
    return [*frames, rest] if rest else frames


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


def by_the_book(data: bytes) -> list[tuple[str, bytes]]:
    """WHATWG 9.2.6, word for word: line by line; an event whose data is empty is not told."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    told: list[tuple[str, bytes]] = []
    event, buffer, has_data = "", b"", False
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    for line in lines:
        if not line:
            if has_data:
                told.append((event, buffer[:-1]))
            event, buffer, has_data = "", b"", False
            continue
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            buffer, has_data = buffer + value + b"\n", True
        elif name == b"event":
            event = value.decode("utf-8", "replace")
    if has_data:  # the end of the bytes ends the last event, too
        told.append((event, buffer[:-1]))
    return told


@given(STREAMS, st.lists(st.integers(0, 500), max_size=12))
def test_frames_do_not_depend_on_how_the_bytes_were_cut(data: bytes, places: list[int]) -> None:
    whole = read_all([data])
    assert read_all(cut(data, places)) == whole
    assert read_all([bytes([byte]) for byte in data]) == whole


@given(STREAMS)
def test_frames_say_what_the_standard_says(data: bytes) -> None:
    frames = [(f.event, f.data) for f in read_all([data]) if f.data is not None]
    assert frames == by_the_book(data)


@given(STREAMS, st.lists(st.integers(0, 500), max_size=12))
def test_no_byte_is_lost_or_invented(data: bytes, places: list[int]) -> None:
    passed_on = b"".join(frame.raw for frame in read_all(cut(data, places)))
    expected = data.removeprefix(b"\xef\xbb\xbf")
    assert expected.startswith(passed_on)
    assert not expected[len(passed_on) :].strip()


@given(st.lists(st.binary(max_size=40), max_size=5), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_several_data_lines_are_one_event(lines: list[bytes], end: bytes) -> None:
    lines = [line.replace(b"\r", b"").replace(b"\n", b"") for line in lines] or [b""]
    raw = b"".join(b"data: " + line + end for line in lines) + end
    assert parse_frame(raw).data == b"\n".join(lines)


def test_comments_are_frames_without_data_and_keep_their_bytes() -> None:
    assert read_all([b": OPENROUTER PROCESSING\n\n"]) == [
        Frame(b": OPENROUTER PROCESSING\n\n", None)
    ]


def test_an_emoji_in_two_chunks_arrives_whole() -> None:
    data = data_frame("{“😀”}".encode())
    for place in range(len(data)):
        assert [f.data for f in read_all([data[:place], data[place:]])] == ["{“😀”}".encode()]


def test_a_frame_is_told_as_soon_as_its_empty_line_is_there() -> None:
    reader = FrameReader()
    assert reader.feed(b"data: a\r\n\r") == []
    assert [f.data for f in reader.feed(b"\n")] == [b"a"]
    assert [f.data for f in reader.feed(b"data: b\n\ndata: c")] == [b"b"]
    assert reader.rest() == Frame(b"data: c", b"c")
    assert reader.rest() is None


def test_a_carriage_return_inside_ends_a_line_also_on_the_fast_path() -> None:
    assert parse_frame(b"data: a\rdata: b\n\n").data == b"a\nb"
    assert parse_frame(b"data: a\r\n\n").data == b"a"


def test_an_event_has_its_name() -> None:
    assert parse_frame(b"event: error\ndata: {}\n\n").event == "error"


def test_an_event_without_an_end_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "MAX_FRAME_BYTES", 1000)
    reader = FrameReader()
    reader.feed(b"data: small\n\n")
    for _ in range(10):
        reader.feed(b"x" * 100)
    with pytest.raises(FrameTooLarge):
        reader.feed(b"x")


def test_frames_before_a_giant_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_FRAME_BYTES", 1000)
    reader = FrameReader()
    assert [f.data for f in reader.feed(b"data: small\n\n" + b"x" * 2000)] == [b"small"]
    with pytest.raises(FrameTooLarge):
        reader.feed(b"x")
