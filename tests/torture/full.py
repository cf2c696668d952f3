"""A disk that is really full, to the last byte, while calls come in and others are under way.

The database, its log of writes and the bridge's own log lie on a small mounted file system. Once
nothing can be committed any more the upstream must hear of no new call; what it had answered by
then is charged when there is room again, without a restart.
"""

import tempfile
import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import requests
from hostile import HostileUpstream, reply, stream
from people import HELLO, wait_for
from small_disk import MIB, CannotMountError, SmallDisk, small_disk

from torture.callers import Callers, compare
from torture.real_bridge import RealBridge, new_name, quiet

KINDS = ("tmpfs", "ext4")
UNDER_WAY = 4  # calls, half of them streams, that the upstream keeps waiting
REFUSALS = 200
OVERLOADED = "503 overloaded"


def full(rounds: int, directory: Path, upstream: HostileUpstream) -> Mapping[str, object]:
    """Fill a disk of each kind that often; what callers were told. Raises AssertionError."""
    found = Counter[str]()
    try:
        for kind in KINDS * rounds:
            with (
                tempfile.TemporaryDirectory(dir=directory) as place,
                small_disk(Path(place), kind) as disk,
            ):
                found += filled(disk, upstream)
    except CannotMountError as error:
        return {**found, "NOT DONE": f"it takes root and a right to mount: {error}"}
    return found


def filled(disk: SmallDisk, upstream: HostileUpstream) -> Counter[str]:
    """One disk is filled and freed under load; what callers were told. Raises AssertionError."""
    bridge = RealBridge(disk.path, upstream, MODELBRIDGE_MIN_FREE_BYTES=str(MIB))
    upstream.reset()
    upstream.for_model("gpt-test", *[reply(delay=0.02), stream(5, 0.01)] * 500)
    bridge.start()
    found = Counter[str]()
    try:
        with Callers(bridge) as callers, ThreadPoolExecutor(UNDER_WAY) as pool:
            callers.wait_for_answers(50)
            assert _reasons(bridge) == []
            waiting = _under_way(bridge, upstream, pool)
            found += callers.told_when("before")
            wait_for(lambda: _is_stuck(disk, callers, found), 60)
            found += _while_full(bridge, upstream, callers, waiting)
            disk.free()
            callers.wait_for_answers(50)
            wait_for(lambda: _reasons(bridge) == [], 30)
            found += callers.told_when("after")
        wait_for(lambda: bridge.open_nanos() == 0, 30)
        found += compare(bridge, quiet(upstream))
    finally:
        bridge.stop()
    assert bridge.problems() == []
    assert found["after: 200"] >= 50, found
    return found


def _is_stuck(disk: SmallDisk, callers: Callers, found: Counter[str]) -> bool:
    """Half a second has passed on the full disk in which nothing but refusals was told.

    It takes a while: the database may still overwrite what it had taken before.
    """
    disk.fill()
    found += callers.told_when("until it was stuck")
    threading.Event().wait(0.5)
    told = callers.told()
    found += Counter({f"until it was stuck: {what}": count for what, count in told.items()})
    return told.keys() == {OVERLOADED}


def _while_full(
    bridge: RealBridge, upstream: HostileUpstream, callers: Callers, waiting: list[Future[str]]
) -> Counter[str]:
    """Nothing can be committed: the upstream hears nothing, /readyz says why, streams end."""
    heard = len(upstream.seen())
    assert "disk_low" in _reasons(bridge)
    upstream.open("door")
    found = Counter(f"under way when it was full: {call.result(60)}" for call in waiting)
    callers.wait_for_told(OVERLOADED, REFUSALS)
    assert "disk_low" in _reasons(bridge)
    told = callers.told_when("full")
    assert told.keys() == {f"full: {OVERLOADED}"}, told
    assert len(upstream.seen()) == heard, "the upstream was called without a hold on the disk"
    return found + told


def _reasons(bridge: RealBridge) -> list[str]:
    """What /readyz says against sending calls here; it asks anew once a second."""
    answer = requests.get(f"{bridge.url}/readyz", timeout=30)
    codes = [reason["code"] for reason in answer.json().get("reasons", [])]
    assert answer.status_code == (503 if codes else 200), answer.text
    return codes


def _under_way(
    bridge: RealBridge, upstream: HostileUpstream, pool: ThreadPoolExecutor
) -> list[Future[str]]:
    """Calls that the upstream has begun to answer, and goes on with when its door opens."""
    waiting: list[Future[str]] = []
    for streamed, step in (
        (True, stream(6, prompt_tokens=70, gate_after=(3, "door"))),
        (False, reply(prompt_tokens=80, gate="door")),
    ):
        upstream.for_model("gpt-stops", step)
        for _ in range(UNDER_WAY // 2):
            waiting.append(pool.submit(_call, bridge, streamed))
        upstream.wait(lambda seen: _slow(seen) == len(waiting), 30)
    return waiting


def _slow(seen: list[dict[str, object]]) -> int:
    return sum(one["model"] == "gpt-stops" for one in seen)


def _call(bridge: RealBridge, streamed: bool) -> str:
    """What a caller is told who sends one call and does not repeat it."""
    name = new_name()
    answer = requests.post(
        f"{bridge.url}/v1/chat/completions",
        headers={"Authorization": f"Bearer {bridge.key.secret}", "Idempotency-Key": name},
        json={
            "model": "gpt-stops",
            "messages": HELLO,
            "max_tokens": 100,
            "user": name,
            "stream": streamed,
        },
        timeout=120,
    )
    if answer.status_code != 200:
        assert answer.headers["x-should-retry"] == "false", answer.headers
        return f"{answer.status_code} {answer.json()['error']['code']}"
    if streamed and b"[DONE]" not in answer.content:
        assert b'"overloaded"' in answer.content, answer.content
        return "an error at the end of the stream"
    return "200"
