"""Where the interpreter's time goes: a flame graph of the path of calls, or of streams.

    .venv/bin/python bench/flame.py calls     # one after the other, on one thread, no server
    .venv/bin/python bench/flame.py streams   # 200 streams of 20 pieces a second, by the server

py-spy takes 50 samples a second of the threads that are not asleep. With many callers it sees
little but the writer, and waiting for a disk counts as work: so calls are made without a server, as
instructions are counted, and the database lies in memory. The graph goes to
build/bench/flame-NAME.svg, and the share of each part is printed: the first part of which a sign
stands on the stack. Another checkout can be looked at: `--root FOLDER`.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

import peers  # noqa: E402
from peers import PLACE, QUESTION, Target  # noqa: E402

PY_SPY = "py-spy==0.4.1"
SECONDS = 20
RATE = 50
STREAMS = 200
THREADS = "216"  # each sample reads the stacks of all
IN_MEMORY = "/dev/shm"
PARTS = {
    "the writer: statements and commits": ("store/writer.py",),
    "the pump: receiving": ("(modelbridge/upstream/",),
    "the pump: writing to clients": ("waitress/channel.py", "(modelbridge/listener.py"),
    "the pump: reading what it relays": ("(modelbridge/gateway/pump.py", "streaming.py"),
    "who calls": ("authenticate (", "find_caller ("),
    "the body: read and checked": ("read_body (", "_read (modelbridge/gateway/pipeline.py"),
    "admission: route, quote, hold": ("admit (",),
    "settlement: cost, journal, metrics": ("_settle_whole (",),
    "sending: the request, the answer's head": ("send (modelbridge/gateway/sending.py",),
    "the relay": ("complete (modelbridge/gateway/pipeline.py",),
    "the answer, and what is around a view": ("wsgi_app (",),
}
ONLY_STREAMS = "the pump"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("load", choices=("calls", "streams"))
    parser.add_argument("--root", type=Path, default=peers.ROOT, help="a checkout of ModelBridge")
    wanted = parser.parse_args()
    peers.compile_tools()
    peers.ROOT = wanted.root.resolve()
    under = _calls if wanted.load == "calls" else _streams
    raw = PLACE / f"flame-{wanted.load}.raw"
    os.environ["MODELBRIDGE_THREADS"] = THREADS
    with (
        tempfile.TemporaryDirectory(dir=IN_MEMORY) as place,
        peers.direct(),
        under(Path(place)) as process,
    ):
        _record(process.pid, "raw", raw, wanted.load)
        _record(process.pid, "flamegraph", raw.with_suffix(".svg"), wanted.load)
    print(f"{raw.with_suffix('.svg')}\n{_table(raw.read_text(), wanted.load == 'streams')}")


def _record(pid: int, form: str, path: Path, load: str) -> None:
    program = str(peers.installed("py-spy", PY_SPY) / "py-spy")
    options = ["--pid", str(pid), "--format", form, "--output", str(path), "--rate", str(RATE)]
    command = [program, "record", *options, "--duration", str(SECONDS)]
    if load == "streams":  # two hundred stacks take too long to read for all to stand still
        command.append("--nonblocking")
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def _streams(place: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A bridge that relays streams, all the time."""
    with peers.modelbridge("flame", place, 9300) as bridge:
        words = [str(bridge.port), bridge.path("stream"), str(STREAMS), bridge.model("stream")]
        command = [str(PLACE / "streams"), *words, bridge.key, "100"]
        again = 'while :; do "$@" >/dev/null || exit; done'
        with peers.running(["sh", "-c", again, "sh", *command], "flame-load"):
            assert bridge.process is not None
            yield bridge.process


@contextmanager
def _calls(place: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that calls the app, all the time."""
    with peers.modelbridge("flame", place, 9300) as bridge:
        key = bridge.key
    environ = {"MODELBRIDGE_DATA_DIR": str(place), "PYTHONPATH": str(peers.ROOT), "KEY": key}
    command = [
        sys.executable,
        "-c",
        f"import flame; flame.call_for_ever({Target.model(bridge, 'fast')!r})",
    ]
    environ["PYTHONPATH"] += f":{Path(__file__).parent}"
    with peers.running(command, "flame-calls", **environ) as process:
        yield process


def call_for_ever(model: str) -> None:
    """Calls of one thread, each with its hold and its settlement."""
    from modelbridge import config  # of the checkout that is looked at
    from modelbridge.factory import create_app

    app = create_app(config.load())
    app.extensions["modelbridge"].start()
    body = json.dumps({"model": model, **QUESTION}).encode()
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/v1/chat/completions",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_AUTHORIZATION": f"Bearer {os.environ['KEY']}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
    }
    told: list[str] = []
    while True:
        answer = app(
            environ | {"wsgi.input": io.BytesIO(body)}, lambda status, *_: told.append(status)
        )
        b"".join(answer)
        if told.pop() != "200 OK":
            raise RuntimeError(answer)


def _table(raw: str, streams: bool) -> str:
    """Each line of `raw` is a stack, from its root on, and how often it was seen."""
    found: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        found[_part(stack, streams)] += int(count)
    total = sum(found.values())
    rows = [f"| {name} | {100 * count / total:.1f} |" for name, count in found.most_common()]
    return "\n".join([f"| part | % of {total} samples |", "|---|---:|", *rows])


def _part(stack: str, streams: bool) -> str:
    is_pump = streams and "(modelbridge/gateway/pump.py" in stack
    for name, signs in PARTS.items():
        if name.startswith(ONLY_STREAMS) and not is_pump:
            continue
        if any(sign in stack for sign in signs):
            return name
    return "the rest"


if __name__ == "__main__":
    main()
