"""The gateways that are measured side by side, each started as its own documentation says.

Every one speaks OpenAI's format in front, has one process, and forwards to the same upstream with
the same body. Whatever a peer can leave out it leaves out: LiteLLM runs without its database,
Portkey and MLflow have no keys at all, nginx only copies bytes. ModelBridge has everything on:
keys, holds, books with synchronous=FULL, the journal.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "bench"
LITELLM, MLFLOW, PORTKEY = "litellm[proxy]==1.106.2", "mlflow[gateway]==3.17.2", "1.15.2"
# What the upstream does is in its path (upstream.c).
CASES = {"fast": "", "slow": "/d50", "stream": "/n100-i50"}
UPSTREAM_PORT = 9100
QUESTION = {
    "max_tokens": 20,
    "messages": [{"role": "user", "content": "Say hello to the benchmark."}],
}


@dataclass
class Target:
    """Something to measure: for each case (`fast`, `slow`, `stream`) a path, model and headers."""

    name: str
    port: int
    version: str
    process: subprocess.Popen[bytes] | None = None
    key: str = "none"
    first_answer_s: float = 0.0
    paths: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def path(self, case: str) -> str:
        return self.paths.get(case, "/v1/chat/completions")

    def model(self, case: str) -> str:
        return self.models.get(case, "bench")

    def wait(self, seconds: float = 90) -> float:
        """Seconds until the first whole answer. Raises TimeoutError."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            if self.process and self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}")
            try:
                answer = requests.post(
                    f"http://127.0.0.1:{self.port}{self.path('fast')}",
                    json={"model": self.model("fast"), **QUESTION},
                    headers={"Authorization": f"Bearer {self.key}"}
                    | dict(line.split(": ", 1) for line in self.headers.get("fast", ())),
                    timeout=20,
                )
            except requests.RequestException:
                time.sleep(0.02)
                continue
            if answer.ok:
                return time.monotonic() - begun
            time.sleep(0.05)
        raise TimeoutError(f"{self.name} did not answer within {seconds:.0f} s")


def compile_tools() -> None:
    """The upstream and the load generator for streams lie in build/bench."""
    PLACE.mkdir(parents=True, exist_ok=True)
    for name in ("upstream", "streams"):
        source = ROOT / "bench" / f"{name}.c"
        subprocess.run(["cc", "-O2", "-o", str(PLACE / name), str(source)], check=True)


@contextmanager
def running(command: list[str], log: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to build/bench/LOG.log; ended at the end."""
    with (PLACE / f"{log}.log").open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=PLACE, env={**os.environ, **environ}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def direct() -> Iterator[Target]:
    """The upstream itself."""
    command = [str(PLACE / "upstream"), str(UPSTREAM_PORT)]
    with running(command, "upstream") as process:
        target = Target("direct", UPSTREAM_PORT, "upstream.c", process, paths=_upstream_paths())
        target.wait()
        yield target


@contextmanager
def nginx() -> Iterator[Target]:
    """One worker, connections kept alive, no buffering: the physical yardstick."""
    port, place = 9101, PLACE / "nginx"
    place.mkdir(exist_ok=True)
    (place / "nginx.conf").write_text(
        f"worker_processes 1; daemon off; pid {place}/pid; error_log {place}/error.log;\n"
        "events { worker_connections 8192; }\n"
        "http { access_log off; upstream up { server 127.0.0.1:%d; keepalive 256; }\n"
        "server { listen %d backlog=4096; location / { proxy_pass http://up; proxy_buffering off;\n"
        'proxy_http_version 1.1; proxy_set_header Connection ""; } } }\n' % (UPSTREAM_PORT, port)
    )
    found = shutil.which("nginx") or "/usr/sbin/nginx"
    version = subprocess.run([found, "-v"], capture_output=True, text=True, check=True).stderr
    with running([found, "-c", str(place / "nginx.conf"), "-p", str(place)], "nginx") as process:
        target = Target(
            "nginx", port, version.split("/")[-1].strip(), process, paths=_upstream_paths()
        )
        target.wait()
        yield target


@contextmanager
def litellm() -> Iterator[Target]:
    """LiteLLM's proxy: a master key, no database, so neither keys of its own nor money."""
    port = 9102
    config = {
        "model_list": [
            {
                "model_name": case,
                "litellm_params": {
                    "model": "openai/bench",
                    "api_base": f"http://127.0.0.1:{UPSTREAM_PORT}{path}/v1",
                    "api_key": "none",
                },
            }
            for case, path in CASES.items()
        ],
        "general_settings": {"master_key": "sk-bench"},
    }
    (PLACE / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    program = installed("litellm", LITELLM) / "litellm"
    command = [str(program), "--config", "litellm.yaml", "--port", str(port), "--host", "127.0.0.1"]
    with running(command, "litellm", LITELLM_TELEMETRY="False", LITELLM_LOG="ERROR") as process:
        target = Target(
            "LiteLLM",
            port,
            LITELLM.split("==")[1],
            process,
            "sk-bench",
            models={c: c for c in CASES},
        )
        target.wait()
        yield target


@contextmanager
def mlflow() -> Iterator[Target]:
    """MLflow's gateway, one worker."""
    port = 9103
    endpoints = [
        {
            "name": case,
            "endpoint_type": "llm/v1/chat",
            "model": {
                "provider": "openai",
                "name": "bench",
                "config": {
                    "openai_api_key": "none",
                    "openai_api_base": f"http://127.0.0.1:{UPSTREAM_PORT}{path}/v1",
                },
            },
        }
        for case, path in CASES.items()
    ]
    (PLACE / "mlflow.yaml").write_text(json.dumps({"endpoints": endpoints}))
    program = installed("mlflow", MLFLOW) / "mlflow"
    command = [
        str(program),
        "gateway",
        "start",
        "--config-path",
        "mlflow.yaml",
        "--port",
        str(port),
    ]
    path = f"{program.parent}:{os.environ['PATH']}"
    with running([*command, "--workers", "1"], "mlflow", PATH=path) as process:
        target = Target(
            "MLflow", port, MLFLOW.split("==")[1], process, models={c: c for c in CASES}
        )
        target.wait()
        yield target


@contextmanager
def portkey() -> Iterator[Target]:
    """Portkey's gateway on Node. One line is mended, or it answers every stream with 500: it adds
    to the headers of a fetch response, which Node does not allow."""
    port, place = 9104, PLACE / "portkey"
    package = place / "node_modules" / "@portkey-ai" / "gateway"
    if not package.exists():
        place.mkdir(exist_ok=True)
        wanted = f"@portkey-ai/gateway@{PORTKEY}"
        subprocess.run(["npm", "install", "--no-fund", "--no-audit", wanted], cwd=place, check=True)
    server = _mended(package / "build" / "start-server.js")
    headers = {
        case: (
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: http://127.0.0.1:{UPSTREAM_PORT}{path}/v1",
        )
        for case, path in CASES.items()
    }
    command = ["node", str(server), f"--port={port}", "--headless"]
    with running(command, "portkey", TRUSTED_CUSTOM_HOSTS="127.0.0.1,localhost") as process:
        target = Target("Portkey", port, PORTKEY, process, headers=headers)
        target.wait()
        yield target


@contextmanager
def modelbridge(name: str, data_dir: Path, port: int) -> Iterator[Target]:
    """This checkout: a live key with a limit, priced models, the books with synchronous=FULL."""
    flask = [sys.executable, "-m", "flask"]
    environ = {
        "MODELBRIDGE_DATA_DIR": str(data_dir),
        "MODELBRIDGE_PORT": str(port),
        "FLASK_APP": str(ROOT / "app.py"),
        "PYTHONPATH": str(ROOT),
        "BENCH_CREDENTIAL": "none",
        "MODELBRIDGE_BOOKS_CHECK_HOURS": "0",  # it would fall into some rounds
    }

    def do(*words: str) -> str:
        done = subprocess.run(
            [*flask, *words],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        if done.returncode:
            raise RuntimeError(f"flask {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""

    do("user", "create", "bench@example.com")
    do("topup", "bench@example.com", "100000")
    for case, path in CASES.items():
        _add(do, case, "vllm", f"http://127.0.0.1:{UPSTREAM_PORT}{path}/v1")
    _add(do, "translated", "anthropic", f"http://127.0.0.1:{UPSTREAM_PORT}{CASES['stream']}")
    words = (
        "key",
        "create",
        "--account",
        "bench@example.com",
        "--name",
        "bench",
        "--limit",
        "90000",
    )
    key = do(*words)
    command = [sys.executable, str(ROOT / "app.py")]
    with running(command, name, **environ) as process:
        models = {case: f"bench-{case}" for case in (*CASES, "translated")}
        version = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()
        target = Target(name, port, version or "unknown", process, key, models=models)
        target.first_answer_s = target.wait()
        yield target
    print(f"{name}: {do('books', 'check')}", flush=True)


def _add(do: Callable[..., str], case: str, provider: str, base_url: str) -> None:
    """The model bench-CASE is served, at a price, by an upstream of its own."""
    place = ("--provider", provider, "--base-url", base_url, "--api-key-env", "BENCH_CREDENTIAL")
    do("upstream", "add", f"up-{case}", *place)
    price = ("--input", "0.15", "--output", "0.60")
    sizes = ("--context-window", "128000", "--max-output", "4096")
    target = ("--upstream", f"up-{case}", "--upstream-model", "bench")
    do("model", "add", f"bench-{case}", *target, *price, *sizes)


def _mended(server: Path) -> Path:
    """A copy of Portkey's server that copies a response before it adds to its headers."""
    before, after = "),this.updateHeaders(", "),i=new Response(i.body,i),this.updateHeaders("
    text = server.read_text()
    if text.count(before) != 1:
        raise RuntimeError(f"{server}: another version of Portkey; look whether it streams")
    mended = server.with_name("start-server-mended.js")
    mended.write_text(text.replace(before, after))
    return mended


def _upstream_paths() -> dict[str, str]:
    return {case: f"{path}/v1/chat/completions" for case, path in CASES.items()}


def installed(name: str, wanted: str) -> Path:
    """The programs of a virtual environment with that package, made if need be."""
    place = PLACE / name
    if not (place / "ready").exists():
        print(f"Installing {wanted} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(place / "bin" / "pip"), "install", "-q", wanted], check=True)
        (place / "ready").touch()
    return place / "bin"
