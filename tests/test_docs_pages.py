"""The documentation in the app: every example on it is taken from the page and run as it stands."""

import html
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from dashboard_world import PASSWORD, hidden_fields, password_hash
from hostile import HostileUpstream
from people import Person, TestBridge, serving

from modelbridge.dashboard.docs.errors import WORDS, error_rows
from modelbridge.dashboard.docs.pages import TITLES
from modelbridge.store.tables import User

ROOT = Path(__file__).resolve().parents[1]
NODE_MODULES = Path(os.environ.get("NODE_PATH", ROOT / "build/clients/node/node_modules"))
NODE = shutil.which("node") if (NODE_MODULES / "openai").is_dir() else None
PLACEHOLDER = "mb_live_…"
_EXAMPLE = re.compile(
    r'<div data-example="(\w+)" data-status="(\d+)">.*?<code id="([\w-]+)">(.*?)</code>', re.S
)


@dataclass
class Example:
    """A block of code on a page; `status` is what the call in it is answered with."""

    page: str
    name: str
    language: str
    status: int
    code: str

    def run(self, base_url: str, secret: str, folder: Path) -> subprocess.CompletedProcess[str]:
        code = self.code.replace(PLACEHOLDER, secret)
        words = {
            "bash": ["bash", "-eu", "-c", code],
            "python": [sys.executable, "-c", code],
            "node": [str(NODE), str(self._script(code, folder))],
        }
        environ = {
            "PATH": os.environ["PATH"],
            "OPENAI_API_KEY": secret,
            "OPENAI_BASE_URL": base_url,
        }
        return subprocess.run(
            words[self.language],
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def _script(self, code: str, folder: Path) -> Path:
        """A module whose imports are found beside it."""
        script = folder / f"{self.name}.mjs"
        if self.language == "node":
            (folder / "node_modules").symlink_to(NODE_MODULES)
            script.write_text(code, encoding="utf-8")
        return script


def read(page: str, text: str) -> list[Example]:
    return [
        Example(page, name, language, int(status), html.unescape(code))
        for language, status, name, code in _EXAMPLE.findall(text)
    ]


class Reader:
    """Somebody who reads the pages of a running bridge."""

    def __init__(self, bridge: TestBridge, person: Person) -> None:
        self.bridge = bridge
        with bridge.database.transaction() as session:
            session.get_one(User, person.id).password_hash = password_hash()
        self.web = requests.Session()
        page = self.web.get(f"{bridge.url}/login", timeout=30).text
        fields = hidden_fields(page) | {"email": person.email, "password": PASSWORD}
        self.web.post(f"{bridge.url}/login", fields, timeout=30)

    def page(self, name: str) -> str:
        answer = self.web.get(f"{self.bridge.url}/docs/{name}", timeout=30)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture(scope="module")
def module_bridge(
    tmp_path_factory: pytest.TempPathFactory, hostile_process: HostileUpstream
) -> Iterator[TestBridge]:
    """A bridge whose public address is the one that it listens on, and which offers a model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with serving(tmp_path_factory.mktemp("docs"), MODELBRIDGE_PORT=port) as bridge:
        bridge.upstream("hostile", hostile_process.base_url, "openai_compatible")
        bridge.model("gpt-test")
        yield bridge
        bridge.check_books()


@pytest.fixture(scope="module")
def alice_reads(module_bridge: TestBridge) -> Iterator[Reader]:
    reader = Reader(module_bridge, module_bridge.person("alice"))
    yield reader
    reader.web.close()


@pytest.fixture(scope="module")
def examples(alice_reads: Reader) -> dict[tuple[str, str], Example]:
    found = [one for page in TITLES for one in read(page, alice_reads.page(page))]
    return {(one.page, one.name): one for one in found}


EXAMPLES = [
    ("quickstart", "environment"), ("quickstart", "curl"), ("quickstart", "python"),
    ("quickstart", "node"),
    ("authentication", "bearer-curl"), ("authentication", "bearer-python"),
    ("authentication", "missing-curl"), ("authentication", "environment"),
    ("authentication", "limit-curl"),
    ("errors", "catch-python"),
    ("models", "models-curl"), ("models", "models-python"),
    ("billing", "cost-curl"), ("billing", "estimate-curl"),
    ("sdks", "environment"), ("sdks", "stream-python"), ("sdks", "tools-python"),
    ("sdks", "stream-node"), ("sdks", "stream-curl"), ("sdks", "responses-python"),
]  # fmt: skip
ANTHROPIC_EXAMPLES = [("sdks", "messages-curl"), ("sdks", "claude-code")]


def test_this_list_has_every_example(examples: dict[tuple[str, str], Example]) -> None:
    assert sorted(set(examples) - set(ANTHROPIC_EXAMPLES)) == sorted(EXAMPLES)


@pytest.mark.parametrize(("page", "name"), [*EXAMPLES, *ANTHROPIC_EXAMPLES])
def test_the_example_runs_as_it_stands(
    examples: dict[tuple[str, str], Example],
    module_bridge: TestBridge,
    tmp_path: Path,
    page: str,
    name: str,
) -> None:
    example = examples.get((page, name))
    if example is None:
        pytest.skip("this bridge does not speak Anthropic's format, and its page does not say so")
    if example.language == "node" and NODE is None:
        pytest.skip("OpenAI's SDK for Node is not installed; see `make clients`")
    key = module_bridge.key(account_id=None, user_id=None, test=True)
    done = example.run(f"{module_bridge.url}/v1", key.secret, tmp_path)
    assert done.returncode == 0, done.stderr
    if example.code.startswith("export"):
        assert done.stdout == ""
    elif example.status == 200:
        assert done.stdout.strip()
        assert '"error"' not in done.stdout
    else:
        expected = {401: "missing_api_key", 429: "spending_limit_exceeded"}[example.status]
        assert answered(done.stdout)["error"]["code"] == expected


def answered(text: str) -> Any:
    return json.loads(text)


def test_what_the_examples_print_is_what_the_page_promises(
    examples: dict[tuple[str, str], Example], module_bridge: TestBridge, tmp_path: Path
) -> None:
    secret = module_bridge.key(account_id=None, user_id=None, test=True).secret
    base_url = f"{module_bridge.url}/v1"
    run = {
        name: examples[page, name].run(base_url, secret, tmp_path).stdout
        for page, name in (
            ("billing", "cost-curl"), ("billing", "estimate-curl"), ("sdks", "tools-python"),
            ("sdks", "stream-python"), ("errors", "catch-python"), ("models", "models-python"),
            ("authentication", "bearer-curl"),
        )
    }  # fmt: skip
    assert "x-modelbridge-cost: 0.00" in run["cost-curl"].lower()
    assert float(answered(run["estimate-curl"])["quote"]) > 0
    assert run["tools-python"].startswith("weather ")
    assert "Cost in AUD: 0.00" in run["stream-python"]
    assert run["catch-python"].startswith("429 spending_limit_exceeded ")
    assert "gpt-test" in run["models-python"].splitlines()
    assert answered(run["bearer-curl"])["mode"] == "test"


@pytest.mark.parametrize("page", TITLES)
def test_every_page_speaks_of_this_bridge(
    alice_reads: Reader, module_bridge: TestBridge, page: str
) -> None:
    text = html.unescape(alice_reads.page(page))
    assert f"{module_bridge.url}/v1" in text
    for link in re.findall(r'href="(/[^"#]*)"', text):
        answer = alice_reads.web.get(f"{module_bridge.url}{link}", timeout=30)
        assert answer.status_code == 200, link


def test_an_example_uses_a_model_that_the_bridge_offers(
    alice_reads: Reader, examples: dict[tuple[str, str], Example]
) -> None:
    assert "gpt-test" in examples["quickstart", "python"].code
    assert "No provider is connected" not in alice_reads.page("quickstart")


def test_an_empty_bridge_says_that_only_test_keys_are_answered(
    empty_bridge: TestBridge,
) -> None:
    reader = Reader(empty_bridge, empty_bridge.person("alice", aud=None))
    page = reader.page("quickstart")
    assert "No provider is connected" in page
    model = re.search(r"&#34;model&#34;: &#34;([^&]+)|\"model\": \"([^\"]+)\"", page)
    assert model is not None
    name = model[1] or model[2]
    key = empty_bridge.key(account_id=None, user_id=None, test=True)
    assert key.chat(name).status_code == 200
    assert "/estimate" not in reader.page("billing")
    reader.web.close()


def test_the_page_about_authentication_covers_its_subjects(alice_reads: Reader) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", "", alice_reads.page("authentication")))
    for words in (
        "mb_live_", "mb_test_", "SHA-256", "Authorization: Bearer", "OPENAI_API_KEY",
        "OPENAI_BASE_URL", "personal key", "team key", "Spending limits and 429",
        "spending_limit_exceeded", "insufficient_balance", "Expiry and 401", "api_key_expired",
        "Revocation", "api_key_revoked", "Rotation", "Best practices",
    ):  # fmt: skip
        assert words in text, words


def test_the_table_of_errors_is_that_of_the_code(alice_reads: Reader) -> None:
    rows = error_rows()
    assert {row.code for row in rows} == set(WORDS)
    page = alice_reads.page("errors")
    for row in rows:
        assert f"<code>{row.code}</code>" in page


def test_the_docs_are_private(module_bridge: TestBridge) -> None:
    answer = requests.get(f"{module_bridge.url}/docs/quickstart", allow_redirects=False, timeout=30)
    assert answer.status_code == 303


def test_an_unknown_page_is_not_found(alice_reads: Reader, module_bridge: TestBridge) -> None:
    answer = alice_reads.web.get(f"{module_bridge.url}/docs/nonsense", timeout=30)
    assert answer.status_code == 404
