"""Clients that leave at random points: charged what the upstream counted, or evidence, flagged."""

import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from hostile import HostileUpstream, stream
from people import wait_for

from torture.real_bridge import RealBridge, cost_nanos, new_name, quiet

AT_ONCE = 40


def hang_ups(count: int, directory: Path, upstream: HostileUpstream, seed: int = 0) -> Counter[str]:
    """That many clients leave; what was found, counted. Raises AssertionError."""
    chance = random.Random(seed)
    bridge = RealBridge(directory, upstream)
    upstream.reset()
    for model, runs_on in (("gpt-test", True), ("gpt-stops", False)):
        steps = [
            stream(
                chance.randint(1, 30),
                chance.choice([0.0, 0.005, 0.03]),
                prompt_tokens=chance.randint(1, 500),
                stops_when_client_leaves=not runs_on,
            )
            for _ in range(count)
        ]
        upstream.for_model(model, *steps)
    bridge.start()
    try:
        seeds = chance.sample(range(10**9), count)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda one: _leave(bridge, random.Random(one)), seeds))
        started = time.monotonic()
        wait_for(lambda: bridge.open_nanos() == 0, 90)
        seconds = round(time.monotonic() - started)
        found = _compare(bridge, quiet(upstream))
        found["clients that left"] = count
        found["seconds after the last of them until no hold was open"] = seconds
    finally:
        bridge.stop()
    assert bridge.problems() == []
    return found


def _leave(bridge: RealBridge, chance: random.Random) -> None:
    name, address = new_name(), urlsplit(bridge.url)
    streamed = chance.random() < 0.85
    body = json.dumps(
        {
            "model": chance.choice(["gpt-test", "gpt-stops"]),
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 100,
            "user": name,
            "stream": streamed,
        }
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {name}\r\n"
        f"Authorization: Bearer {bridge.key.secret}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=30) as line:
        line.sendall((head + body).encode())
        leave_at, read = chance.choice([0, 0, 1, 300, 700, 1_500, 4_000]), 0
        while read < leave_at and (piece := line.recv(min(2_048, leave_at - read))):
            read += len(piece)
        threading.Event().wait(chance.choice([0, 0, 0.01, 0.1, 0.3]))
        if chance.random() < 0.5:
            with suppress(OSError):  # a reset in place of a proper end
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _compare(bridge: RealBridge, seen: list[dict[str, object]]) -> Counter[str]:
    fates, found = bridge.fates(), Counter[str]()
    called = set()
    for one in seen:
        body, usage = one["body"], one["usage"]
        assert isinstance(body, dict)
        called.add(body["user"])
        fate = fates[body["user"]]
        if fate.state == "posted" and not fate.flagged:
            assert isinstance(usage, dict)
            assert fate.charged_nanos == cost_nanos(usage), f"{fate}, {usage}"
            found["charged what the upstream counted"] += 1
        elif fate.state == "posted":
            assert body["model"] == "gpt-stops", f"heard out, but estimated: {fate}, {one}"
            assert fate.charged_nanos is not None
            assert 0 < fate.charged_nanos <= fate.amount_nanos
            found["cut, and charged by the evidence, flagged"] += 1
        else:
            raise AssertionError(f"the upstream was called, the books say {fate}: {one}")
    for name, fate in fates.items():
        if name not in called:
            assert fate.state == "void", f"{fate} without a call"
            found["left before the upstream was called"] += 1
    return found
