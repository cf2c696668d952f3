"""A real browser (the machine's own Chromium) in front of a real bridge. Skipped without one."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dashboard_world import World, world_in
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# Chromium reports an answer of 4xx or 5xx here; these are what the tests are about.
# A bridge may be stopped before the page that asks it for news.
_EXPECTED = re.compile(
    r"Failed to load resource: "
    r"(the server responded with a status of \d+|net::ERR_CONNECTION_(RESET|REFUSED))"
)


@dataclass
class Served:
    """A bridge that listens: its address, and what it said when it started."""

    url: str
    said: str

    @property
    def setup_path(self) -> str:
        """The one-time set-up link's."""
        return next(line.strip() for line in self.said.splitlines() if "/setup/" in line)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """`python app.py` on a fresh data directory, on its very first start."""
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "MODELBRIDGE_DATA_DIR": str(tmp_path / "data"),
        "MODELBRIDGE_PORT": str(port),
        "MODELBRIDGE_THREADS": "16",
    }
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "serves on" in line:
            break
    try:
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield Served(f"http://127.0.0.1:{port}", said)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@dataclass
class ServedWorld:
    """A bridge inside this process, so that a test can arrange what its pages show."""

    world: World
    url: str


@pytest.fixture
def served_world(tmp_path: Path) -> Iterator[ServedWorld]:
    port = free_port()
    with world_in(tmp_path, MODELBRIDGE_PORT=str(port)) as world:
        server = make_server("127.0.0.1", port, world.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield ServedWorld(world, f"http://127.0.0.1:{port}")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page in a browser of its own; the test fails on whatever its console complains about."""
    with_clipboard: list[Any] = ["clipboard-read", "clipboard-write"]
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, locale="en-AU", permissions=with_clipboard
    )
    context.set_default_timeout(15_000)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert [said for said in complaints if not _EXPECTED.fullmatch(said.split(" (")[0])] == []
