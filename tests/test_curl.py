"""What a newcomer pastes: the first start's curl line, and everything that README.md shows."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import HostileUpstream
from people import ROOT
from running import RunningBridge

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
README = (ROOT / "README.md").read_text(encoding="utf-8")
GREETING = "Hello from the ModelBridge sandbox!"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """A bridge on its first start, untouched."""
    with RunningBridge.start(tmp_path_factory.mktemp("fresh")) as bridge:
        yield bridge


@pytest.fixture(scope="module")
def line(fresh: RunningBridge) -> str:
    """The curl line that it printed."""
    (found,) = [line.strip() for line in fresh.printed if line.lstrip().startswith("curl ")]
    return found


@pytest.fixture(scope="module")
def key(line: str) -> str:
    """The test key in it."""
    (found,) = re.findall(r"mb_test_[0-9A-Za-z]{49}", line)
    return str(found)


def bash(command: str, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
    """A line, pasted into a shell."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environ},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def curl(words: str) -> "subprocess.CompletedProcess[str]":
    done = bash(f"curl -sS {words}")
    assert done.returncode == 0, done.stderr
    return done


def text_of(printed: str) -> str:
    return str(json.loads(printed)["choices"][0]["message"]["content"])


# The first start


def test_the_printed_line_works_when_pasted(line: str) -> None:
    done = bash(line)
    assert done.returncode == 0, done.stderr
    assert text_of(done.stdout).startswith(GREETING)
    assert "“Hello!”" in text_of(done.stdout)


def test_everything_was_printed_before_the_port_answered(fresh: RunningBridge) -> None:
    printed = "".join(fresh.printed)
    assert printed.index("/setup/") < printed.index("curl ") < printed.index("serves on")
    (link,) = re.findall(r"http://\S+/setup/\S+", printed)
    assert curl(f"-o /dev/null -w '%{{http_code}}' {link}").stdout == "200"


def test_the_line_works_streamed(line: str) -> None:
    done = bash(
        line.replace("curl ", "curl -N ", 1).replace('"messages"', '"stream": true, "messages"')
    )
    frames = done.stdout.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    said = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert said.startswith(GREETING)


def test_a_stream_comes_piece_by_piece(fresh: RunningBridge, key: str) -> None:
    body = {
        "model": "sandbox-slow",
        "stream": True,
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    command = ["curl", "-sSN", f"{fresh.url}/v1/chat/completions", "-H"]
    command += [f"Authorization: Bearer {key}", "-H", "Content-Type: application/json"]
    process = subprocess.Popen(
        [*command, "-d", json.dumps(body)], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith('data: {"id":')
        assert process.poll() is None, "the rest is still to come"
        assert process.stdout.read().endswith("data: [DONE]\n\n")
    assert process.returncode == 0


def test_headers_and_status_are_plain_to_see(fresh: RunningBridge, line: str) -> None:
    good = bash(line.replace("curl ", "curl -sSi ", 1)).stdout
    assert good.startswith("HTTP/1.1 200 OK")
    for name in (
        "x-request-id: req_",
        "x-modelbridge-cost: 0.00",
        "content-type: application/json",
    ):
        assert name in good.lower()
    bad = curl(f"-i {fresh.url}/v1/models").stdout
    assert bad.startswith("HTTP/1.1 401 ")
    assert "www-authenticate: bearer" in bad.lower()


def test_a_form_by_mistake_is_told_what_to_send(fresh: RunningBridge, key: str) -> None:
    """curl -d without a content type is what everybody forgets once."""
    told = curl(
        f"{fresh.url}/v1/chat/completions -H 'Authorization: Bearer {key}' -d '{{}}'"
    ).stdout
    error = json.loads(told)["error"]
    assert error["code"] == "unsupported_media_type"
    assert "Content-Type: application/json" in error["message"]


@pytest.mark.parametrize("options", ["", "--http1.0", "-H 'Transfer-Encoding: chunked'"])
def test_a_long_body_arrives_whole(
    fresh: RunningBridge, key: str, tmp_path: Path, options: str
) -> None:
    """Above a megabyte curl asks first whether it may send."""
    prompt = "long " * 400_000
    messages = [{"role": "user", "content": prompt}]
    body: dict[str, Any] = {"model": "sandbox-echo", "messages": messages}
    (tmp_path / "body.json").write_text(json.dumps(body), encoding="utf-8")
    done = curl(
        f"{options} {fresh.url}/v1/chat/completions -H 'Authorization: Bearer {key}' "
        f"-H 'Content-Type: application/json' --data-binary @{tmp_path}/body.json"
    )
    assert text_of(done.stdout) == prompt


def test_deep_nesting_is_refused_on_the_small_stacks_of_a_real_process(
    fresh: RunningBridge, key: str, tmp_path: Path
) -> None:
    for body in (
        "[" * 5000,
        "[" * 5000 + "]" * 5000,
        '{"a":' * 5000 + "1" + "}" * 5000,
        "[" * 10**6,
    ):
        (tmp_path / "body.json").write_text(body, encoding="utf-8")
        told = curl(
            f"{fresh.url}/v1/chat/completions -H 'Authorization: Bearer {key}' "
            f"-H 'Content-Type: application/json' --data-binary @{tmp_path}/body.json"
        ).stdout
        assert json.loads(told)["error"]["type"] == "invalid_request_error"
    assert fresh.process.poll() is None


def test_models_can_be_listed_with_either_header(fresh: RunningBridge, key: str) -> None:
    for header in (f"authorization: bearer {key}", f"X-Api-Key: {key}"):
        listed = json.loads(curl(f"{fresh.url}/v1/models -H '{header}'").stdout)
        assert "claude-sonnet-4-6" in [model["id"] for model in listed["data"]]


# README.md


def filled(text: str, bridge: RunningBridge, key: str, folder: Path, upstream: str) -> str:
    """What README.md shows, for this bridge: every placeholder has its value."""
    venv = str(Path(sys.executable).parent)
    for shown, meant in (
        ("http://127.0.0.1:8000", bridge.url),
        ("http://127.0.0.1:8080/v1", upstream),
        ("mb_test_…", key),
        (".venv/bin/", f"{venv}/"),
        ("modelbridge-backup.db", str(folder / "backup.db")),
    ):
        text = text.replace(shown, meant)
    assert "…" not in text
    return text


def shown_lines(beginning: str) -> list[str]:
    """The lines of README.md's blocks that begin so."""
    lines = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    return [line for line in lines if line.startswith(beginning)]


def test_the_curl_of_the_readme_works(fresh: RunningBridge, key: str, tmp_path: Path) -> None:
    (shown,) = shown_lines("curl ")
    done = bash(filled(shown, fresh, key, tmp_path, ""))
    assert text_of(done.stdout).startswith(GREETING)


def test_the_curl_of_the_readme_is_the_one_that_is_printed(line: str) -> None:
    (shown,) = shown_lines("curl ")
    theirs, ours = shlex.split(shown), shlex.split(line)
    assert [theirs[0], *theirs[4:]] == [ours[0], *ours[4:]]
    assert theirs[3].partition("mb_test_")[0] == ours[3].partition("mb_test_")[0]


def test_the_python_of_the_readme_works(fresh: RunningBridge, key: str, tmp_path: Path) -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    script = tmp_path / "first.py"
    script.write_text(filled(shown, fresh, key, tmp_path, ""), encoding="utf-8")
    done = bash(f"{sys.executable} {script}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(GREETING)
    variables = " && ".join(
        filled(line, fresh, key, tmp_path, "") for line in shown_lines("export ")
    )
    program = shown.replace('base_url="http://127.0.0.1:8000/v1", api_key="mb_test_…"', "")
    script.write_text(program, encoding="utf-8")
    done = bash(f"{variables} && {sys.executable} {script}")
    assert done.stdout.startswith(GREETING), done.stderr


def test_the_commands_of_the_readme_lead_to_a_real_call(
    fresh: RunningBridge, key: str, line: str, tmp_path: Path, upstream: HostileUpstream
) -> None:
    printed: dict[str, str] = {}
    commands = shown_lines(".venv/bin/flask ")
    assert len(commands) >= 12
    for shown in commands:
        command = filled(shown, fresh, key, tmp_path, upstream.base_url)
        done = bash(command, stdin="sk-ant-fake\n", MODELBRIDGE_DATA_DIR=str(fresh.data_dir))
        assert done.returncode == 0, f"{command}: {done.stderr}"
        printed[shown] = done.stdout
    assert (tmp_path / "backup.db").is_file()
    (live,) = [text.strip() for shown, text in printed.items() if "--name laptop" in shown]
    paid = line.replace(key, live).replace("claude-sonnet-4-6", "my-model")
    done = bash(paid.replace("curl ", "curl -sSi ", 1))
    assert "Hello from upstream" in done.stdout
    assert "x-modelbridge-cost: 0.00" in done.stdout.lower()
    assert upstream.seen()[-1]["model"] == "my-model"
    fresh.check_books()
    # The first key is the first administrator's, who was made after it.
    listed = json.loads(fresh.flask("key", "list", "--account", "alice@example.com", "--json"))
    assert "First test key" in [row["name"] for row in listed]
    assert bash(line).returncode == 0


def test_no_key_is_in_the_data_or_in_the_log(fresh: RunningBridge, key: str) -> None:
    """Of all that the tests above did; the first start's own print went to standard output."""
    for path in fresh.data_dir.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path
    assert "mb_test_" not in fresh.log
    assert "mb_live_" not in fresh.log
    assert "Traceback" not in fresh.log
