"""Codex and Claude Code, headless, at a bridge whose upstream has them run a command.

Each sends what it always sends (some 30 tools, its own headers, a long system prompt), runs the
command that the model calls, sends the result back and prints the last words.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client_scripts import NODE_MODULES, home
from client_world import PROVIDERS, ClientWorld, model_of
from hostile import HostileUpstream, Step, recorded, reply, tool_call
from responses_words import as_stream, response

QUESTION, WARM, COMMAND = "How warm is Perth?", "Warm in Perth.", "echo 31 degrees"
BACKGROUND = "background-model"
PATCH = "*** Begin Patch\n*** Add File: perth.txt\n+31 degrees\n*** End Patch\n"
SCRIPT = f"text(await tools.exec_command({{cmd: '{COMMAND} > perth.txt; ls'}}))"
# Of the two kinds of models that Codex knows, one each: the tool that is called, and with what.
KNOWN_TO_CODEX = {
    "gpt-5.5": ("apply_patch", PATCH),
    "gpt-6-sol": ("functions__exec", SCRIPT),
}
CODEX_CONFIG = """\
model_provider = "modelbridge"

[model_providers.modelbridge]
name = "ModelBridge"
base_url = "{base_url}"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
"""


def custom_call(name: str, text: str) -> Step:
    """OpenAI's stream of a call of a custom tool, which hands on what was written for it alone."""
    space, _, own = name.rpartition("__")
    item = {"id": "ctc_1", "type": "custom_tool_call", "status": "completed", "call_id": "call_1"}
    item |= {"name": own, "input": text} | ({"namespace": space} if space else {})
    usage = {"input_tokens": 9001, "output_tokens": 31, "total_tokens": 9032}
    at: dict[str, Any] = {"item_id": "ctc_1", "output_index": 0}
    kind = "response.custom_tool_call_input"
    told: dict[str, Any] = response(item, usage=usage)
    begun = {**told, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "input": ""}},
        {"type": f"{kind}.delta", **at, "delta": text},
        {"type": f"{kind}.done", **at, "input": text},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": told},
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    bills = {"prompt_tokens": 9001, "completion_tokens": 31}
    return recorded(200, "text/event-stream", as_stream(numbered), bills=bills)


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, hostile_process: HostileUpstream
) -> Iterator[ClientWorld]:
    with ClientWorld.start(tmp_path_factory.mktemp("agents"), hostile_process) as made:
        prices = ("--input", "3", "--output", "15")
        made.bridge.flask("model", "add", BACKGROUND, "--upstream", "messages", *prices)
        yield made


def run(program: str, *words: str, folder: Path, environ: dict[str, str]) -> str:
    """What it printed; it has to succeed."""
    binary = NODE_MODULES / ".bin" / program
    if not binary.exists():
        pytest.skip(f"{program}: not installed; see `make clients`")
    done = subprocess.run(
        [str(binary), *words],
        cwd=folder,
        env=environ | home(folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.strip()


def asked_by_the_agent(upstream: HostileUpstream) -> list[str]:
    """The requests with tools, which are not the agent's small talk in the background."""
    return [one["text"] for one in upstream.seen() if '"tools"' in one["text"]]


@pytest.mark.parametrize("format_", PROVIDERS)
def test_codex_runs_a_command_and_is_told_its_output(
    world: ClientWorld, upstream: HostileUpstream, tmp_path: Path, format_: str
) -> None:
    (tmp_path / ".codex").mkdir()
    config = CODEX_CONFIG.format(base_url=world.environ()["OPENAI_BASE_URL"])
    (tmp_path / ".codex" / "config.toml").write_text(config, encoding="utf-8")
    call = tool_call("exec_command", {"cmd": COMMAND}, prompt_tokens=9001, completion_tokens=31)
    upstream.will(call, reply(WARM, 9100, 7))
    with world.charges_what_was_served():
        unasked = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
        words = ("exec", *unasked, "--model", model_of(format_), QUESTION)
        told = run("codex", *words, folder=tmp_path, environ=world.environ())
    assert told == WARM
    first, second = asked_by_the_agent(upstream)
    assert "exec_command" in first
    assert "31 degrees" not in first
    assert "31 degrees" in second


@pytest.mark.parametrize("format_", PROVIDERS)
@pytest.mark.parametrize("model", KNOWN_TO_CODEX)
def test_codex_uses_its_own_tools_with_the_models_that_it_knows(
    world: ClientWorld, upstream: HostileUpstream, tmp_path: Path, format_: str, model: str
) -> None:
    """Those get tools whose input is text of any form, in namespaces or not."""
    name, text = KNOWN_TO_CODEX[model]
    prices = ("--input", "3", "--output", "15")
    world.bridge.flask("model", "add", model, "--upstream", format_, *prices)
    (tmp_path / ".codex").mkdir()
    config = CODEX_CONFIG.format(base_url=world.environ()["OPENAI_BASE_URL"])
    (tmp_path / ".codex" / "config.toml").write_text(config, encoding="utf-8")
    call = tool_call(name, {"input": text}, prompt_tokens=9001, completion_tokens=31)
    if format_ == "responses":
        call = custom_call(name, text)
    upstream.will(call, reply(WARM, 9100, 7))
    unasked = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    words = ("exec", *unasked, "--model", model, QUESTION)
    with world.charges_what_was_served():
        told = run("codex", *words, folder=tmp_path, environ=world.environ())
    assert told == WARM
    assert (tmp_path / "perth.txt").read_text(encoding="utf-8") == "31 degrees\n"
    first, second = asked_by_the_agent(upstream)
    assert "perth.txt" not in first
    assert "perth.txt" in second


@pytest.mark.parametrize("format_", PROVIDERS)
def test_claude_code_runs_a_command_and_is_told_its_output(
    world: ClientWorld, upstream: HostileUpstream, tmp_path: Path, format_: str
) -> None:
    command = {"command": COMMAND, "description": "Ask"}
    call = tool_call("Bash", command, prompt_tokens=9001, completion_tokens=31)
    upstream.will(call, reply(WARM, 9100, 7))
    upstream.for_model(BACKGROUND, reply('{"title": "Weather"}', 300, 5))
    environ = world.environ() | {"ANTHROPIC_DEFAULT_HAIKU_MODEL": BACKGROUND}
    with world.charges_what_was_served():
        allowed = ("--allowedTools", "Bash(echo:*)")
        words = ("-p", "--model", model_of(format_), *allowed, "--", QUESTION)
        told = run("claude", *words, folder=tmp_path, environ=environ)
    assert told == WARM
    first, second = asked_by_the_agent(upstream)
    assert "Bash" in first
    assert "tool_result" not in first
    assert "31 degrees" in second
