"""Small parts of the upstream client: where a body ends, who is having a rest, who is watched."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as some

from modelbridge import clock
from modelbridge.errors import BridgeError
from modelbridge.upstream.framing import Chunked, FramingError, Length, UntilClose
from modelbridge.upstream.health import Health
from modelbridge.upstream.watch import Watch

CHUNKS = some.lists(some.binary(min_size=1, max_size=40), max_size=12)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


@given(CHUNKS, some.lists(some.integers(min_value=0)), some.sampled_from([b"", b"A: b\r\n"]))
def test_a_chunked_body_comes_out_however_it_arrives(
    chunks: list[bytes], cuts: list[int], trailer: bytes
) -> None:
    wire = b"".join(b"%X;x=y\r\n%b\r\n" % (len(one), one) for one in chunks)
    wire += b"0\r\n" + trailer + b"\r\n"
    body = Chunked()
    got = b""
    for piece in pieces_of(wire, cuts):
        assert not body.ended
        got += body.feed(piece)
    assert got == b"".join(chunks)
    assert body.ended
    assert not body.stray
    body.eof()


@given(CHUNKS, some.data())
def test_a_chunked_body_that_is_cut_anywhere_is_an_error(
    chunks: list[bytes], data: some.DataObject
) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in chunks) + b"0\r\n\r\n"
    body = Chunked()
    body.feed(wire[: data.draw(some.integers(0, len(wire) - 1))])
    with pytest.raises(FramingError):
        body.eof()


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"5\nhello\r\n",
        b"5\r\nhello!\r\n",
        b"1" * 5000,
        b"ffffffffffffffff\r\n",
        b"0\r\n" + b"A: bbbbbbbbbbbb\r\n" * 6000,
    ],
)
def test_what_is_not_chunked_as_it_should_be_is_an_error(wire: bytes) -> None:
    with pytest.raises(FramingError):
        Chunked().feed(wire)


@given(some.binary(max_size=50), some.binary(max_size=5), some.lists(some.integers(0)))
def test_a_body_of_known_length_ends_there(body: bytes, more: bytes, cuts: list[int]) -> None:
    framing = Length(len(body))
    assert b"".join(framing.feed(one) for one in pieces_of(body + more, cuts)) == body
    assert framing.ended
    assert framing.stray == bool(more)
    framing.eof()


def test_a_body_of_known_length_that_ends_early_is_an_error() -> None:
    framing = Length(3)
    framing.feed(b"ab")
    with pytest.raises(FramingError, match="1 bytes early"):
        framing.eof()


def test_an_unframed_body_ends_with_its_connection() -> None:
    framing = UntilClose(may_be_empty=False)
    assert framing.feed(b"abc") == b"abc"
    assert not framing.ended
    framing.eof()
    assert framing.ended
    with pytest.raises(FramingError):
        UntilClose(may_be_empty=False).eof()
    UntilClose(may_be_empty=True).eof()


def test_an_upstream_that_failed_rests_until_it_is_time_or_it_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    health = Health()
    assert not health.resting("up_1")
    health.failed("up_1", 10)
    health.failed("up_1", 1)
    assert health.resting("up_1")
    assert not health.resting("up_2")
    told = health.snapshot()["up_1"]
    assert (told["failures"], told["rest_seconds"], told["worked_at"]) == (2, 10.0, None)
    now += 10
    assert not health.resting("up_1")
    health.failed("up_1", 10)
    health.worked("up_1")
    assert not health.resting("up_1")
    assert health.snapshot()["up_1"]["failures"] == 0


def test_the_watch_survives_what_it_watches() -> None:
    class Broken:
        def overdue(self, now: float) -> BridgeError | None:
            raise RuntimeError("broken")

        def cut(self, error: BridgeError) -> None:
            raise AssertionError

    class Late:
        done = threading.Event()

        def overdue(self, now: float) -> BridgeError | None:
            return BridgeError("late")

        def cut(self, error: BridgeError) -> None:
            self.done.set()

    watch: Watch[Broken | Late] = Watch(lambda: None)
    broken, late = [Broken() for _ in range(20)], Late()
    for one in broken:
        watch.add(one)
    watch.add(late)
    assert late.done.wait(5)
    watch.discard(late)
    assert set(watch.close()) == set(broken)
