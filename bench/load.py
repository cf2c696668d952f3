"""One measurement: a load on a target, what came back, and what its processes used meanwhile."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from peers import PLACE, ROOT, Target

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SECONDS = 3
# Name of the load: the case of the upstream, and how many connections or streams at once.
CALLS = {"calls-1": ("fast", 1), "calls-16": ("fast", 16), "calls-64": ("fast", 64),
         "slow-16": ("slow", 16)}  # fmt: skip
STREAMS = {"streams-200": 200, "streams-500": 500, "streams-1000": 1000}
PIECES = 100


def measure(target: Target, load: str, *, translated: bool = False) -> dict[str, Any]:
    """The load's figures (times in ms), with `cpu_ms` per call or piece and `rss_mb` at its end.

    `errors` counts whatever was not answered in full with status 200.
    """
    assert target.process is not None
    before = _used(target.process.pid)
    if load in CALLS:
        case, connections = CALLS[load]
        found = _calls(target, case, connections)
        units = found["calls"]
        found["errors"] = found.pop("wrong_status") + found.pop("broken")
    else:
        found = _streams(target, STREAMS[load], "translated" if translated else "stream")
        units = found["pieces"]
        found["errors"] = found.pop("failed") + found.pop("unfinished")
        found.pop("wrong_status")
    after = _used(target.process.pid)
    found["cpu_ms"] = (after[0] - before[0]) * 1000 / max(units, 1)
    found["rss_mb"] = after[1] / 2**20
    return found


def wait_for_rest(target: Target, seconds: float = 600) -> None:
    """Until its processes have used less than a twentieth of a core for two seconds.

    Raises TimeoutError.
    """
    assert target.process is not None
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before, _ = _used(target.process.pid)
        time.sleep(2)
        if _used(target.process.pid)[0] - before < 0.1:
            return
    raise TimeoutError(f"{target.name} does not come to rest")


def _calls(target: Target, case: str, connections: int) -> dict[str, Any]:
    environ = {
        **os.environ,
        "KEY": target.key,
        "MODEL": target.model(case),
        "HEADERS": "|".join(target.headers.get(case, ())),
    }
    command = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "--timeout", "10s"]
    script = str(ROOT / "bench" / "calls.lua")
    url = f"http://127.0.0.1:{target.port}{target.path(case)}"
    said = _run([*command, "-s", script, url], environ)
    lines = [line for line in said.splitlines() if line.startswith("JSON ")]
    figures: dict[str, Any] = json.loads(lines[0].removeprefix("JSON "))
    return figures


def _streams(target: Target, streams: int, case: str) -> dict[str, Any]:
    wanted = [str(target.port), target.path(case), str(streams), target.model(case), target.key]
    more = target.headers.get(case, ())
    said = _run([str(PLACE / "streams"), *wanted, str(PIECES), *more], dict(os.environ))
    figures: dict[str, Any] = json.loads(said)
    return figures


def _run(command: list[str], environ: dict[str, str]) -> str:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr}")
    return done.stdout


def _used(root: int) -> tuple[float, int]:
    """Seconds of processor time so far and bytes resident, of a process and all below it."""
    parents: dict[int, list[str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
    wanted, grew = {root}, True
    while grew:
        more = {pid for pid, words in parents.items() if int(words[1]) in wanted} - wanted
        wanted |= more
        grew = bool(more)
    seen = [parents[pid] for pid in wanted if pid in parents]
    ticks = sum(int(words[11]) + int(words[12]) for words in seen)
    return ticks / TICK, sum(int(words[21]) for words in seen) * PAGE
