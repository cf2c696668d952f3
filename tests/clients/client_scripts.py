"""The environments that `make clients` makes, and what can be run in them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client_world import PROVIDERS

OWN_FORMAT = {"chat_completions": "chat", "responses": "responses", "messages": "messages"}
ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).resolve().parent / "scripts"
BUILD = ROOT / "build" / "clients"
NODE_MODULES = BUILD / "node" / "node_modules"
_PYTHONS = {
    "tests": Path(sys.executable),
    "python": BUILD / "python" / "bin" / "python",
    "litellm": BUILD / "litellm" / "bin" / "python",
}


@dataclass(frozen=True)
class Client:
    """A script, the face that it speaks to, and the environment that it needs."""

    name: str
    face: str
    environment: str

    def __str__(self) -> str:
        return f"{self.name}.{'mjs' if self.environment == 'node' else 'py'}"

    def missing(self) -> str | None:
        """Why it cannot be run here, or None."""
        if self.environment == "node":
            found = shutil.which("node") is not None and NODE_MODULES.is_dir()
        else:
            found = _PYTHONS[self.environment].exists()
        return None if found else f"{self}: not installed; see `make clients`"

    def run(self, folder: Path, environ: dict[str, str], model: str) -> dict[str, Any]:
        """What the script told; it has to succeed. `folder` is its home."""
        done = subprocess.run(
            [*self._command(folder), model],
            cwd=folder,
            env=environ | home(folder),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-1000:]
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return told

    def _command(self, folder: Path) -> list[str]:
        if self.environment != "node":
            return [str(_PYTHONS[self.environment]), str(SCRIPTS / str(self))]
        for script in SCRIPTS.glob("*.mjs"):  # Node looks for packages beside the module
            shutil.copy(script, folder)
        (folder / "node_modules").symlink_to(NODE_MODULES)
        return ["node", str(folder / str(self))]


def home(folder: Path) -> dict[str, str]:
    """The variables that keep a client from what lies in the real home."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "LLM_USER_PATH": str(folder)}


CLIENTS = [
    Client("openai_chat", "chat_completions", "tests"),
    Client("openai_responses", "responses", "tests"),
    Client("anthropic_messages", "messages", "tests"),
    Client("langchain_openai_chat", "chat_completions", "python"),
    Client("langchain_openai_responses", "responses", "python"),
    Client("langchain_anthropic_messages", "messages", "python"),
    Client("llm_chat", "chat_completions", "python"),
    Client("openai_agents_chat", "chat_completions", "python"),
    Client("openai_agents_responses", "responses", "python"),
    Client("pydantic_ai_chat", "chat_completions", "python"),
    Client("pydantic_ai_responses", "responses", "python"),
    Client("pydantic_ai_messages", "messages", "python"),
    Client("litellm_chat", "chat_completions", "litellm"),
    Client("litellm_messages", "messages", "litellm"),
    Client("openai_chat", "chat_completions", "node"),
    Client("openai_responses", "responses", "node"),
    Client("anthropic_messages", "messages", "node"),
    Client("vercel_openai_chat", "chat_completions", "node"),
    Client("vercel_openai_responses", "responses", "node"),
    Client("vercel_compatible_chat", "chat_completions", "node"),
    Client("vercel_anthropic_messages", "messages", "node"),
]


def _cases() -> Iterator[tuple[Client, str]]:
    """Every client with an upstream of its own format and another, or with all of them."""
    for face in ("chat_completions", "responses", "messages"):
        own = OWN_FORMAT[face]
        others = [format_ for format_ in PROVIDERS if format_ != own]
        for number, client in enumerate(client for client in CLIENTS if client.face == face):
            other = others[number % len(others)]
            for format_ in PROVIDERS:
                if format_ in (own, other) or os.environ.get("EVERY_UPSTREAM"):
                    yield client, format_


CASES = list(_cases())
