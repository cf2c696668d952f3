"""The Dockerfile, proved without a Docker engine: its own steps are run in empty folders.

The build's lines run as they stand, with the image's folders moved below a temporary one; then the
entry point runs as the image's user, with the image's environment and nothing else, on a code tree
that it cannot write. What stays unproved is the base image itself.
"""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMAGE_FOLDERS = re.compile(r"(?<![\w./-])/(venv|app|data)(?![\w.-])")
AS_ROOT = os.geteuid() == 0

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only, as the image is"),
]


@dataclass
class Stage:
    """A stage of the Dockerfile: its instructions in order, as (instruction, rest of the line)."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def every(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.steps if name == instruction]

    def only(self, instruction: str) -> str:
        (rest,) = self.every(instruction)
        return rest


def read_dockerfile() -> list[Stage]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    stages: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            stages.append(Stage(alias, base))
        elif name:
            stages[-1].steps.append((name, rest))
    return stages


BUILD, FINAL = read_dockerfile()


def user_of_the_image() -> list[str]:
    """What turns root into the image's user: without any capability, and with no way back."""
    if not AS_ROOT:
        return []
    uid, _, gid = FINAL.only("USER").partition(":")
    return [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={gid}",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]


def interpreter() -> str:
    """A Python that the image's user may run, best the image's own version."""
    version = re.search(r"python:(\d+\.\d+)-slim", FINAL.base)
    assert version is not None
    names = [f"python{version[1]}", "python3.14", "python3.12", "python3.11", "/usr/bin/python3"]
    probe = "import sys, venv; sys.exit(sys.version_info < (3, 11))"
    for name in [*names, sys.executable]:
        found = shutil.which(name)
        if found and subprocess.run([*user_of_the_image(), found, "-c", probe]).returncode == 0:
            return found
    pytest.skip("no Python here that another user may run")


@dataclass(frozen=True)
class Image:
    """The image's folders below `folder`; `stage` is build or final."""

    folder: Path

    def moved(self, text: str, stage: str = "final") -> str:
        return IMAGE_FOLDERS.sub(lambda match: f"{self.folder}/{stage}/{match[1]}", text)

    def path(self, text: str, stage: str = "final") -> Path:
        return Path(self.moved(text, stage))

    def environment(self, **more: str) -> dict[str, str]:
        env = {"PATH": "/usr/bin:/bin"}
        for line in FINAL.every("ENV"):
            for setting in shlex.split(line):
                name, _, value = setting.partition("=")
                env[name] = self.moved(value).replace("$PATH", env["PATH"])
        return env | more

    def run(self, command: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
        """Start a command as `docker run` and the health check would."""
        return subprocess.Popen(
            [*user_of_the_image(), *command],
            cwd=self.path(FINAL.only("WORKDIR")),
            env=env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def healthy(self, env: dict[str, str]) -> bool:
        command = json.loads(FINAL.only("HEALTHCHECK").partition("CMD ")[2])
        process = self.run(command, env)
        process.communicate(timeout=30)
        return process.returncode == 0


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Both stages, built."""
    folder = Path(tempfile.mkdtemp(prefix="modelbridge image "))
    folder.chmod(0o755)
    made = Image(folder)
    build(made)
    finish(made)
    yield made
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


def build(image: Image) -> None:
    """The first stage, line by line."""
    python = interpreter()
    names = f"""python() {{ case "$1 $2" in
        "-m pip") {shlex.quote(sys.executable)} "$@" ;;
        *) {shlex.quote(python)} "$@" ;;
    esac; }}"""
    where = image.path("/app", "build")
    for name, rest in BUILD.steps:
        if name == "WORKDIR":
            where = image.path(rest, "build")
            where.mkdir(parents=True)
        elif name == "COPY":
            copy_in(rest, where)
        elif name == "RUN":
            line = quoted(image, rest, "build")
            done = subprocess.run(
                ["sh", "-ec", f"{names}\n{line}"], cwd=where, capture_output=True, text=True
            )
            if "Could not find a version" in done.stderr or "ConnectionError" in done.stderr:
                pytest.skip("no package index can be reached from here")
            assert done.returncode == 0, done.stderr
        else:
            raise AssertionError(f"{name}: an instruction that this test cannot prove")


def quoted(image: Image, line: str, stage: str) -> str:
    """A shell line with the image's folders moved, whatever is in their new names."""
    return IMAGE_FOLDERS.sub(lambda match: f'"{image.folder}/{stage}/{match[1]}"', line)


def copy_in(rest: str, where: Path) -> None:
    """COPY from the build's context, which is what .dockerignore lets in."""
    source, target = rest.split()
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert f"!{source}" in allowed, f".dockerignore keeps {source} out"
    if (ROOT / source).is_dir():
        shutil.copytree(ROOT / source, where / target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(ROOT / source, where / target)


def finish(image: Image) -> None:
    """The second stage: what is copied into it, and a data folder of its user's own."""
    for rest in FINAL.every("COPY"):
        origin, source, target = rest.split()
        assert origin == f"--from={BUILD.name}", "nothing but what was built goes into the image"
        shutil.copytree(image.path(source, "build"), image.path(target), symlinks=True)
    for path in [image.path("/app"), *image.path("/app").rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    data = image.path(FINAL.only("VOLUME"))
    data.mkdir(mode=0o700)
    if AS_ROOT:
        uid, _, gid = FINAL.only("USER").partition(":")
        os.chown(data, int(uid), int(gid))


@pytest.fixture
def env(image: Image) -> dict[str, str]:
    """The image's environment, on a port that is free here."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return image.environment(
        MODELBRIDGE_PORT=str(port), MODELBRIDGE_PUBLIC_URL="https://bridge.example.com"
    )


def test_the_image_is_slim_and_its_user_is_nobody_special() -> None:
    assert BUILD.base == FINAL.base
    assert re.fullmatch(r"python:3\.\d+-slim", FINAL.base)
    uid, _, gid = FINAL.only("USER").partition(":")
    assert int(uid) > 10_000
    setup = FINAL.only("RUN")
    assert f"useradd --uid {uid} --gid {gid}" in setup
    assert "install -d -o modelbridge -g modelbridge -m 0700 /data" in setup
    assert not re.search(r"apt|pip|gcc|build-essential|curl", setup)
    assert FINAL.only("STOPSIGNAL") == "SIGTERM"
    assert FINAL.only("EXPOSE") == "8000"
    assert isinstance(json.loads(FINAL.only("ENTRYPOINT")), list), "a shell would keep SIGTERM"


def test_it_installs_as_make_run_does() -> None:
    flags = "--only-binary :all: --require-hashes"
    assert any(flags in re.sub(r"\s+", " ", line) for line in BUILD.every("RUN"))
    assert flags in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_image_has_the_code_and_nothing_else(image: Image) -> None:
    there = {path.name for path in image.path("/app").iterdir()}
    code = {"app.py", "migrations", "modelbridge", "static", "templates"}
    assert there - {"__pycache__", "requirements.txt"} == code
    assert not list(image.path("/venv").glob("lib/python*/site-packages/pip"))
    assert list(image.path("/app/modelbridge").rglob("*.pyc")), "it was not compiled"


def test_it_serves_as_its_own_user_from_a_tree_that_it_cannot_write(
    image: Image, env: dict[str, str]
) -> None:
    before = sorted(image.path("/app").rglob("*"))
    assert not image.healthy(env), "something else listens there"

    process = image.run(json.loads(FINAL.only("ENTRYPOINT")), env)
    try:
        key = wait_for_key(process)
        assert any(image.healthy(env) for _ in range(100)), "it printed, but does not answer"
        stream = start_slow_stream(int(env["MODELBRIDGE_PORT"]), key)
        first = stream.read(1)
        process.send_signal(signal.SIGTERM)
        assert (first + stream.read()).rstrip().endswith(b"data: [DONE]"), "SIGTERM cut a call"
        assert process.wait(timeout=40) == 0
    finally:
        process.kill()
        output, _ = process.communicate()

    assert "Traceback" not in output
    assert sorted(image.path("/app").rglob("*")) == before
    for name in ("master.key", "secret.key"):
        assert (image.path("/data") / name).stat().st_mode & 0o077 == 0


def wait_for_key(process: subprocess.Popen[str]) -> str:
    """The test key that the first start prints, before the port answers."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if found := re.search(r"mb_test_\w+", line):
            return found[0]
    raise AssertionError("the entry point ended: " + "".join(seen))


def start_slow_stream(port: int, key: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = {
        "model": "sandbox-slow",
        "messages": [{"role": "user", "content": "Take your time, Alice is listening."}],
        "stream": True,
    }
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.status == 200
    return answer
