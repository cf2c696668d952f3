"""The proxies of docs/deployment/, with the settings of those pages, in front of a real bridge."""

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from certificates import certificate
from hostile import HostileUpstream, stream
from people import ROOT, wait_for
from running import HELLO, RunningBridge, set_up

Proxy = tuple[Path, list[str]]  # whom its clients trust, and its command
DOMAIN = "bridge.example.com"
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
    text = settings_of("nginx.md").replace("443 ssl", f"127.0.0.1:{port} ssl")
    pair = certificate(folder, DOMAIN)
    text = re.sub(r"/etc/ssl/bridge\.example\.com\.(pem|key)", str(pair), text)
    text = text.replace("127.0.0.1:8000", upstream)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"pid {folder}/nginx.pid;\nerror_log {folder}/error.log;\ndaemon off;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{text}\n}}\n"
    )
    return pair, ["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]


def haproxy(folder: Path, port: int, upstream: str) -> Proxy:
    text = settings_of("haproxy.md").replace("127.0.0.1:8000", upstream)
    pair = certificate(folder, DOMAIN)
    text = text.replace("bind :443", f"bind 127.0.0.1:{port}")
    text = text.replace("/etc/ssl/bridge.example.com.pem", str(pair))
    (folder / "haproxy.cfg").write_text(text)
    return pair, ["haproxy", "-f", f"{folder}/haproxy.cfg"]


def caddy(folder: Path, port: int, upstream: str) -> Proxy:
    """With a certificate of its own making, as it makes one for `localhost`."""
    text = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    text = text.replace("{$BRIDGE_DOMAIN}", DOMAIN)
    text = text.replace("{$BRIDGE_UPSTREAM:bridge:8000}", upstream)
    (folder / "Caddyfile").write_text(
        f"{{\n\tadmin off\n\tlocal_certs\n\tskip_install_trust\n\thttps_port {port}\n"
        f"\thttp_port {free_port()}\n\tdefault_bind 127.0.0.1\n}}\n{text}"
    )
    trusted = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"
    return trusted, [
        "caddy", "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Front:
    """A proxy that answers for the domain, with the certificate that its clients trust."""

    port: int
    trusted: Path

    def ask(
        self, method: str, path: str, body: Any = None, *, source: str = "127.0.0.1", **headers: str
    ) -> http.client.HTTPResponse:
        """The answer's head has come; its body is read line by line, as it comes."""
        context = ssl.create_default_context(cafile=str(self.trusted))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # ours say less than public ones
        place = ("127.0.0.1", self.port)
        plain = socket.create_connection(place, timeout=30, source_address=(source, 0))
        line = http.client.HTTPConnection(DOMAIN)
        line.sock = context.wrap_socket(plain, server_hostname=DOMAIN)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        line.request(
            method, path, json.dumps(body) if body else None, {"Connection": "close"} | sent
        )
        return line.getresponse()

    def chat(self, key: str, model: str, **more: Any) -> http.client.HTTPResponse:
        """A call; `source` and headers are as for `ask`."""
        body = {"model": model, "messages": HELLO, "stream": more.pop("stream", False)}
        headers = {"Authorization": f"Bearer {key}", "Content_Type": "application/json"}
        return self.ask("POST", "/v1/chat/completions", body, **headers, **more)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """A bridge as the pages have it started."""
    environ = {
        "MODELBRIDGE_PUBLIC_URL": f"https://{DOMAIN}",
        "MODELBRIDGE_TRUSTED_PROXIES": "127.0.0.1",
    }
    with RunningBridge.start(tmp_path_factory.mktemp("behind"), **environ) as bridge:
        set_up(bridge)
        yield bridge


@pytest.fixture(params=[nginx, haproxy, caddy], ids=lambda make: str(make.__name__))
def front(request: pytest.FixtureRequest, tmp_path: Path, behind: RunningBridge) -> Iterator[Front]:
    """Each of the proxies in front of it."""
    make: Callable[[Path, int, str], Proxy] = request.param
    if shutil.which(make.__name__) is None:
        pytest.skip(f"{make.__name__} is not installed")
    port = free_port()
    trusted, command = make(tmp_path, port, behind.url.removeprefix("http://"))
    with (tmp_path / "proxy.log").open("w") as log:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_DATA_HOME": str(tmp_path),
        }
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
    front = Front(port, trusted)
    try:
        wait_for(lambda: _answers(front) or process.poll() is not None, 20)
        assert process.poll() is None, (tmp_path / "proxy.log").read_text()
        yield front
    finally:
        process.terminate()
        process.wait(20)


def _answers(front: Front) -> bool:
    try:
        return front.ask("GET", "/readyz").status == 200
    except OSError:
        return False


@pytest.fixture
def model(behind: RunningBridge, upstream: HostileUpstream) -> str:
    """What Alice's key may call; hanging up on its upstream stops the bill."""
    behind.upstream("hostile-proxied", "llamacpp", upstream.base_url, "sk-upstream")
    behind.flask("model", "add", "gpt-proxied", "--upstream", "hostile-proxied", "--free")
    return "gpt-proxied"


def test_a_stream_is_not_kept_back_and_metrics_stay_inside(
    front: Front, behind: RunningBridge, model: str, upstream: HostileUpstream
) -> None:
    upstream.will(stream(n_chunks=CHUNKS, spacing_seconds=SPACING_SECONDS))
    answer = front.chat(behind.key(), model, stream=True)
    assert answer.status == 200
    came = [time.monotonic() for line in answer if b'"content"' in line]
    gaps = [after - before for before, after in pairwise(came)]
    assert len([gap for gap in gaps if gap > SPACING_SECONDS / 2]) >= CHUNKS - 2
    assert front.ask("GET", "/metrics").status == 404


def test_a_hang_up_reaches_the_upstream_through_the_proxy(
    front: Front, behind: RunningBridge, model: str, upstream: HostileUpstream
) -> None:
    upstream.will(stream(n_chunks=300, spacing_seconds=0.1))
    with front.chat(behind.key(), model, stream=True) as answer:
        assert answer.readline().startswith(b"data: ")
    assert wait_for(lambda: upstream.seen()[-1]["client_left"])


def test_pages_are_served_over_tls_with_a_cookie_for_this_host_alone(front: Front) -> None:
    page = front.ask("GET", "/login")
    assert page.status == 200
    (cookie,) = page.headers.get_all("Set-Cookie", [])
    assert cookie.startswith("__Host-")
    assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "max-age" in page.headers["Strict-Transport-Security"]


def test_a_client_has_its_own_address_and_cannot_claim_another(
    front: Front, behind: RunningBridge, model: str, upstream: HostileUpstream
) -> None:
    key = behind.key("from one place", "--allow-ip", "127.0.0.5")
    assert front.chat(key, model, source="127.0.0.5").status == 200
    for claim in ({}, {"X_Forwarded_For": "127.0.0.5"}, {"X_Forwarded_For": "127.0.0.5, ::1"}):
        refused = front.chat(key, model, source="127.0.0.6", **claim)
        assert refused.status == 403
        assert b"may not be used from 127.0.0.6." in refused.read()


def test_the_pages_name_the_file_that_compose_uses() -> None:
    indented = settings_of("caddy.md")
    kept = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    plain = [line.strip() for line in indented.splitlines() if line.strip()]
    assert plain == [line.strip() for line in kept.splitlines() if line.strip()]
