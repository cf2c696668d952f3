"""ModelBridge beside its peers: the same body, the same box, in turn, and medians of all rounds.

    make bench          # 5 rounds, with a second ModelBridge that holds a million keys and calls
    make bench-quick    # 2 rounds of the calls and of 200 streams

Needs Debian's gcc, wrk, nginx and npm. Peers are installed into build/bench on the first run.
Every figure is printed, errors too; the table goes to bench/RESULTS.md between its marks.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import peers  # noqa: E402
from load import CALLS, STREAMS, measure, wait_for_rest  # noqa: E402
from peers import PLACE, ROOT, Target  # noqa: E402

Figures = dict[tuple[str, str], list[dict[str, Any]]]
OURS, FULL, TRANSLATED = "ModelBridge", "ModelBridge (full)", "ModelBridge, translated"
SLOW_PEERS = {"LiteLLM", "MLflow"}  # more streams than 200 only time out there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--quick", action="store_true", help="no full house, no MLflow, no large streams"
    )
    parser.add_argument("--only", help="names of targets, with commas between")
    parser.add_argument("--loads", help="names of loads, with commas between")
    wanted = parser.parse_args()
    peers.compile_tools()
    with tempfile.TemporaryDirectory(dir=PLACE) as place, ExitStack() as stack:
        targets = _start(stack, Path(place), quick=wanted.quick, only=wanted.only)
        loads = [*CALLS, *STREAMS] if not wanted.quick else [*CALLS, "streams-200"]
        if wanted.loads:
            loads = wanted.loads.split(",")
        figures: Figures = defaultdict(list)
        for number in range(wanted.rounds):
            for load in loads:
                _round(targets, load, figures, number)
        table = _report(targets, loads, figures, wanted.rounds)
    (PLACE / "figures.json").write_text(
        json.dumps({f"{name}/{load}": rows for (name, load), rows in figures.items()}, indent=1)
    )
    print(table)
    if not wanted.only and not wanted.loads:
        _write(table, "quick" if wanted.quick else "whole")


def _start(stack: ExitStack, place: Path, *, quick: bool, only: str | None) -> list[Target]:
    names = None if only is None else {"direct", *only.split(",")}
    starts = {
        "direct": peers.direct,
        "nginx": peers.nginx,
        OURS: lambda: peers.modelbridge(OURS, place / "new", 9110),
        FULL: lambda: peers.modelbridge(FULL, _full_house(), 9111),
        "Portkey": peers.portkey,
        "MLflow": peers.mlflow,
        "LiteLLM": peers.litellm,
    }
    if quick:
        del starts[FULL], starts["MLflow"]
    targets = [
        stack.enter_context(start())
        for name, start in starts.items()
        if names is None or name in names
    ]
    for target in targets:  # a first backup, for one: no figure pays for it
        wait_for_rest(target)
    return targets


def _full_house() -> Path:
    """A copy of a data directory with a million calls and a million keys; made on the first run."""
    seeded, copy = PLACE / "full", PLACE / "full-copy"
    if not (seeded / "ready").exists():
        shutil.rmtree(seeded, ignore_errors=True)
        command = [sys.executable, str(ROOT / "bench" / "seed_calls.py"), str(seeded)]
        subprocess.run([*command, "--keys", "1000000"], check=True)
        (seeded / "ready").touch()
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(seeded, copy)
    return copy


def _round(targets: list[Target], load: str, figures: Figures, number: int) -> None:
    for target in targets[:: -1 if number % 2 else 1]:  # nobody is always the one who comes after
        if target.name in SLOW_PEERS and load in ("streams-500", "streams-1000"):
            continue
        found = measure(target, load)
        figures[target.name, load].append(found)
        print(f"{number + 1} {load:<13}{target.name:<24}{json.dumps(found)}", flush=True)
        if target.name == OURS and load in STREAMS:
            found = measure(target, load, translated=True)
            figures[TRANSLATED, load].append(found)
            print(f"{number + 1} {load:<13}{TRANSLATED:<24}{json.dumps(found)}", flush=True)


def _report(targets: list[Target], loads: list[str], figures: Figures, rounds: int) -> str:
    """Tables in Markdown: the medians of all rounds, and errors counted over all of them."""
    named = ", ".join(f"{target.name} {target.version}" for target in targets)
    out = [
        f"{rounds} rounds in turn, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"Linux {platform.release()}; {named}.",
        "",
    ]
    for target in targets:
        if target.first_answer_s:
            out += [
                f"{target.name}: first answer {target.first_answer_s:.2f} s after the start.",
                "",
            ]
    calls = [load for load in loads if load in CALLS]
    streams = [load for load in loads if load in STREAMS]
    if calls:
        out += _calls_table([target.name for target in targets], calls, figures)
    if streams:
        out += _streams_table(streams, figures)
    return "\n".join(out)


def _calls_table(names: list[str], loads: list[str], figures: Figures) -> list[str]:
    out = [
        "| target | load | calls/s | ours is × | added p50 ms | added p99 ms "
        "| CPU ms | RSS MB | errors |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for load in loads:
        ours = _median(figures, OURS, load, "per_s")
        for name in names:
            rate = _median(figures, name, load, "per_s")
            added = [
                _median(figures, name, load, part) - _median(figures, "direct", load, part)
                for part in ("p50", "p99")
            ]
            cpu, rss = (_median(figures, name, load, part) for part in ("cpu_ms", "rss_mb"))
            errors = sum(row["errors"] for row in figures[name, load])
            times = f"{ours / rate:.1f}" if rate and ours else "–"
            out.append(
                f"| {name} | {load} | {rate:,.0f} | {times} | {added[0]:.2f} | {added[1]:.2f} "
                f"| {cpu:.2f} | {rss:.0f} | {errors} |"
            )
    return [*out, ""]


def _streams_table(loads: list[str], figures: Figures) -> list[str]:
    out = [
        "| target | load | in full | pieces/s | first p50 / p99 ms | lag p50 / p99 / max ms "
        "| CPU ms a piece | RSS MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for load in loads:
        for name in [name for name, of in figures if of == load]:
            found = {part: _median(figures, name, load, part) for part in figures[name, load][0]}
            out.append(
                f"| {name} | {load} | {found['done']:.0f} | {found['pieces_per_s']:,.0f} "
                f"| {found['first_p50']:.1f} / {found['first_p99']:.1f} "
                f"| {found['lag_p50']:.2f} / {found['lag_p99']:.1f} / {found['lag_max']:.0f} "
                f"| {found['cpu_ms']:.3f} | {found['rss_mb']:.0f} |"
            )
    return [*out, ""]


def _median(figures: Figures, name: str, load: str, part: str) -> float:
    rows = figures.get((name, load))
    return statistics.median(row[part] for row in rows) if rows else 0.0


def _write(table: str, mark: str) -> None:
    """The table stands in RESULTS.md between its two marks."""
    path = ROOT / "bench" / "RESULTS.md"
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    head, _, rest = path.read_text().partition(begin)
    path.write_text(f"{head}{begin}\n\n{table}\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main()
