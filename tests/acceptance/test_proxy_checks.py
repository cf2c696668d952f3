"""Acceptance checks of what passes between client and upstream, each named after its number.

Against a bridge in a process of its own. What must not pass (36 to 39, 43) is in
test_security_checks.py, what operators ask for (46 to 49) in test_operations_checks.py.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hostile import HostileUpstream, hang, reply, status, stream
from people import wait_for
from till import GPT, Till, error_of
from torture.real_bridge import RealBridge

HELLO: Any = [{"role": "user", "content": "Hello"}]
TOTAL_SECONDS = 3


@pytest.fixture(scope="module")
def hasty(
    tmp_path_factory: pytest.TempPathFactory, hostile_process: HostileUpstream
) -> Iterator[RealBridge]:
    """A bridge that waits a second for the first byte, and three seconds for all of an answer."""
    bridge = RealBridge(
        tmp_path_factory.mktemp("hasty"),
        hostile_process,
        MODELBRIDGE_FIRST_BYTE_SECONDS="1",
        MODELBRIDGE_TOTAL_SECONDS=str(TOTAL_SECONDS),
        MODELBRIDGE_HOLD_GRACE_SECONDS="0",
    )
    bridge.start()
    yield bridge
    wait_for(lambda: bridge.open_nanos() == 0, 30)
    bridge.stop()
    assert bridge.problems() == []


@pytest.mark.parametrize("streamed", [False, True])
def test_check_40_a_byte_every_half_minute_ends_at_the_total_deadline(
    hasty: RealBridge, upstream: HostileUpstream, streamed: bool
) -> None:
    upstream.will(stream(5, piece_bytes=1, spacing_seconds=30))
    started = time.monotonic()
    answer = hasty.call(stream=streamed)
    assert TOTAL_SECONDS - 0.5 < time.monotonic() - started < TOTAL_SECONDS + 10
    if answer.status_code == 200:
        assert '"error"' in answer.text
        assert "[DONE]" not in answer.text
    else:
        assert error_of(answer) == (504, "upstream_timeout")
    assert len(upstream.seen()) == 1


def test_check_41_comments_reach_the_client_of_an_upstream_that_is_silent(
    till: Till, upstream: HostileUpstream
) -> None:
    upstream.will(stream(3, gate_after=(2, "silence")))
    begun = time.monotonic()
    answer = till.call(till.live_key(), model=GPT, stream=True, max_tokens=9)
    heard: list[float] = []
    for line in answer.iter_lines():
        if line.startswith(b":"):
            heard.append(time.monotonic() - begun)
            if len(heard) == 2:  # the third and fourth would come like the second
                upstream.open("silence")
    assert line == b"data: [DONE]" or not line
    assert len(heard) == 2
    assert heard[0] < 20
    assert heard[1] - heard[0] < 20


def test_check_42_the_providers_429_keeps_its_retry_after(
    till: Till, upstream: HostileUpstream
) -> None:
    upstream.will(status(429, headers={"Retry-After": "7"}))
    answer = till.call(till.live_key(), model=GPT)
    assert error_of(answer) == (429, "upstream_rate_limited")
    assert answer.headers["retry-after"] == "7"


def test_check_42_geminis_delay_in_the_body_is_a_retry_after(
    till: Till, upstream: HostileUpstream
) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    said = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Slow down", "details": [info]}
    upstream.will(status(429, {"error": said}))
    answer = till.call(till.live_key(), model="gemini-2.5-flash")
    assert error_of(answer) == (429, "upstream_rate_limited")
    assert answer.headers["retry-after"] == "35"


def test_check_44_each_frame_is_at_the_client_within_50_ms_and_whole(
    till: Till, upstream: HostileUpstream
) -> None:
    late = []
    for number in range(15):
        upstream.reset()
        upstream.will(stream(4, gate_after=(3, str(number))))
        answer = till.call(till.live_key(), model=GPT, stream=True, max_tokens=9)
        pieces = answer.raw.stream(decode_content=False)
        seen = b""
        while b"w1" not in seen:  # three frames, and the gate is shut
            seen += next(pieces)
        upstream.open(str(number))
        opened = time.monotonic()
        piece = next(pieces)
        late.append(time.monotonic() - opened)
        assert piece.startswith(b"data: ")
        rest = piece + b"".join(pieces)
        assert rest.endswith(b"data: [DONE]\n\n")
    assert statistics.median(late) < 0.05


def test_check_45_after_a_timeout_the_upstream_has_seen_one_request(
    hasty: RealBridge, upstream: HostileUpstream
) -> None:
    upstream.will(hang(), reply())
    client = openai.OpenAI(api_key=hasty.key.secret, base_url=f"{hasty.url}/v1")
    with client, pytest.raises(openai.APIStatusError) as told:
        client.chat.completions.create(model="gpt-test", messages=HELLO)
    assert (told.value.status_code, told.value.code) == (504, "upstream_timeout")
    assert told.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.seen()) == 1
