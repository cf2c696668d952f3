"""The proxies of docs/deployment/, with the settings of those pages, in front of a real bridge."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import requests
from hostile import HostileUpstream, stream
from people import ROOT, wait_for
from running import HELLO, RunningBridge

Proxy = tuple[str, list[str]]
SPACING_SECONDS = 0.3
CHUNKS = 6


def settings_of(page: str) -> str:
    """The first indented block of a page."""
    text = (ROOT / "docs" / "deployment" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^(?: {4}.*)?\n)+", text, re.MULTILINE)
    found = [block for block in blocks if "8000" in block]
    return str(found[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def nginx(folder: Path, port: int, upstream: str) -> Proxy:
    text = settings_of("nginx.md").replace("443 ssl", f"127.0.0.1:{port}")
    text = re.sub(r"^ *ssl_.*\n", "", text, flags=re.MULTILINE)
    text = text.replace("127.0.0.1:8000", upstream)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log;\ndaemon off;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{text}\n}}\n"
    )
    return str(folder), ["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]


def haproxy(folder: Path, port: int, upstream: str) -> Proxy:
    text = settings_of("haproxy.md").replace("127.0.0.1:8000", upstream)
    text = re.sub(r"bind :443 ssl crt .*", f"bind 127.0.0.1:{port}", text)
    (folder / "haproxy.cfg").write_text(text)
    return str(folder), ["haproxy", "-f", f"{folder}/haproxy.cfg"]


def caddy(folder: Path, port: int, upstream: str) -> Proxy:
    text = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    text = text.replace("{$BRIDGE_DOMAIN}", f"http://127.0.0.1:{port}")
    text = text.replace("{$BRIDGE_UPSTREAM:bridge:8000}", upstream)
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + text)
    return str(folder), [
        "caddy",
        "run",
        "--config",
        f"{folder}/Caddyfile",
        "--adapter",
        "caddyfile",
    ]


@contextmanager
def in_front(
    make: Callable[[Path, int, str], Proxy], folder: Path, bridge: RunningBridge
) -> Iterator[str]:
    """The proxy's address."""
    if shutil.which(make.__name__) is None:
        pytest.skip(f"{make.__name__} is not installed")
    port = free_port()
    home, command = make(folder, port, bridge.url.removeprefix("http://"))
    with (folder / "proxy.log").open("w") as log:
        environ = {"PATH": os.environ["PATH"], "HOME": home}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(url) or process.poll() is not None, 20)
        assert process.poll() is None, (folder / "proxy.log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.parametrize("make", [nginx, haproxy, caddy], ids=lambda make: str(make.__name__))
def test_a_stream_is_not_kept_back_and_metrics_stay_inside(
    make: Callable[[Path, int, str], Proxy],
    tmp_path: Path,
    running: RunningBridge,
    upstream: HostileUpstream,
) -> None:
    running.upstream("hostile-proxied", "openai", upstream.base_url, "sk-upstream")
    running.flask("model", "add", "gpt-proxied", "--upstream", "hostile-proxied", "--free")
    upstream.will(stream(n_chunks=CHUNKS, spacing_seconds=SPACING_SECONDS))
    with in_front(make, tmp_path, running) as url:
        body = {"model": "gpt-proxied", "messages": HELLO, "stream": True}
        headers = {"Authorization": f"Bearer {running.key()}"}
        answer = requests.post(
            f"{url}/v1/chat/completions", json=body, headers=headers, stream=True, timeout=30
        )
        assert answer.status_code == 200
        came = [
            time.monotonic() for line in answer.iter_lines(chunk_size=1) if b'"content"' in line
        ]
        gaps = [after - before for before, after in pairwise(came)]
        assert len([gap for gap in gaps if gap > SPACING_SECONDS / 2]) >= CHUNKS - 2
        assert requests.get(f"{url}/metrics", timeout=10).status_code == 404
        assert requests.get(f"{url}/login", timeout=10).status_code in (200, 400)


def test_the_pages_name_the_file_that_compose_uses() -> None:
    indented = settings_of("caddy.md")
    kept = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    plain = [line.strip() for line in indented.splitlines() if line.strip()]
    assert plain == [line.strip() for line in kept.splitlines() if line.strip()]
