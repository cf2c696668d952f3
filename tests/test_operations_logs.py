"""Logs: one line to an event, as text or JSON, and no secret in any of them."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from log_watch import LogWatch, forgetting, leaks, learn, learn_prompts
from people import ROOT, Key, TestBridge, wait_for
from running import RunningBridge, set_up

from modelbridge import ids
from modelbridge.config import SettingsError, load
from modelbridge.identity import passwords
from modelbridge.operations.logs import JsonLines, TextLines, redact
from modelbridge.upstream import credentials

KEY = ids.new_api_key(test=False)
SECRETS = [
    KEY,
    f"the key {KEY}.",
    f"Authorization: Bearer {KEY}",
    "authorization: Basic YWxpY2U6cGFzcw==",
    '{"x-api-key": "sk-ant-api03-abcdef"}',
    "OPENAI_API_KEY=sk-proj-abcdef123456",
    "password=correct-horse",
    "{'password': 'correct horse'}",
    "x-goog-api-key: AIzaSyA1234567890abcdef",
    "https://bridge.example.com/setup/oTtPrb_kxxAAAABBBB",
    "https://bridge.example.com/reset/oTtPrb_kxxAAAABBBB?x=1",
    "smtp://alice:correct-horse@mail.example.com",
    "cookie: session=abcdefgh12345678",
    "MODELBRIDGE_MASTER_KEY=0123456789abcdef",
]
SECRET_WORDS = (
    KEY, "YWxpY2U6cGFzcw", "sk-ant-api03", "sk-proj", "correct", "AIzaSy", "oTtPrb", "abcdefgh",
    "0123456789abcdef",
)  # fmt: skip


def logged(formatter: logging.Formatter, message: str, *arguments: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("modelbridge.test")
    logger.addHandler(handler)
    logger.error(message, *arguments, exc_info=sys.exc_info()[0] is not None)
    return stream.getvalue()


@pytest.mark.parametrize("text", SECRETS, ids=range(len(SECRETS)))
def test_what_looks_like_a_secret_is_not_logged(text: str) -> None:
    for formatter in (TextLines(), JsonLines()):
        line = logged(formatter, "it said %s", text)
        assert "[redacted]" in line
        assert not [word for word in SECRET_WORDS if word in line]


def test_nor_is_one_in_an_exception(log_watch: LogWatch) -> None:
    for formatter in (TextLines(), JsonLines()):
        try:
            raise ValueError(f"no such key: {KEY}")
        except ValueError:
            line = logged(formatter, "it failed")
        assert "Traceback" in line
        assert KEY not in line


@pytest.mark.parametrize(
    "text",
    [
        "call req_01HZX: the upstream reported AUD 0.01 above its hold",
        "upstream openai: ('10.0.0.1', 443) cannot be reached: [Errno 111] ECONNREFUSED",
        "10 tokens of 20 in 3 s; the token bucket is full",
        "GET /v1/models",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_nobody_writes_lines_of_the_log() -> None:
    line = logged(TextLines(), "a model named %s", "x\n2026-01-01 INFO all is well\x1b[31m")
    assert line.count("\n") == 1
    assert "\x1b" not in line
    line = logged(TextLines(), "%s", "x\x85y\x9b31m\u2028z\u2029\u202e")  # line ends, C1, bidi
    assert line.count("\n") == 1
    assert not set(line) & {"\x85", "\x9b", "\u2028", "\u2029", "\u202e"}
    assert logged(JsonLines(), "%s", "a\nb\x1b").count("\n") == 1


def test_json_lines_are_json() -> None:
    line = json.loads(logged(JsonLines(), "the %s", "message"))
    assert line.pop("at").endswith("Z")
    assert line == {"level": "error", "logger": "modelbridge.test", "message": "the message"}


UNCAUGHT = """
import logging, sys, threading, warnings
from modelbridge.operations import logs
logs.set_up("json")
logs.catch_all()
warnings.warn(sys.argv[1])
def fail():
    raise ValueError(sys.argv[1])
class Grave:
    __del__ = lambda self: fail()
Grave()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""


def test_what_nobody_catches_is_logged_like_all_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNCAUGHT, f"no such key: {KEY}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["warning", "critical", "critical", "critical"]
    assert all("no such key: mb_live_[redacted]" in line["exception"] for line in lines[1:])
    assert KEY not in done.stdout + done.stderr


def test_a_format_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="MODELBRIDGE_LOG_FORMAT must be one of text, json"):
        load({"MODELBRIDGE_DATA_DIR": str(tmp_path), "MODELBRIDGE_LOG_FORMAT": "xml"})


def test_a_running_bridge_logs_json_when_it_is_told_to(tmp_path: Path) -> None:
    with RunningBridge.start(tmp_path, MODELBRIDGE_LOG_FORMAT="json") as bridge:
        set_up(bridge)
        bridge.upstream("nowhere", "openai", "http://127.0.0.1:9", "sk-a-credential-of-ours")
        bridge.flask("model", "add", "m", "--upstream", "nowhere", "--free")
        body = {"model": "m", "messages": [{"role": "user", "content": "the prompt"}]}
        headers = {"Authorization": f"Bearer {bridge.key()}"}
        url = f"{bridge.url}/v1/chat/completions"
        assert requests.post(url, json=body, headers=headers, timeout=10).status_code == 502
        wait_for(lambda: "cannot be reached" in bridge.log)
    lines = [json.loads(line) for line in bridge.log.splitlines()]
    assert {"modelbridge", "modelbridge.upstream"} <= {line["logger"] for line in lines}
    for secret in (bridge.key(), "the prompt", "sk-a-credential-of-ours"):
        assert secret not in bridge.log


def test_the_watch_over_the_whole_suite_would_see_a_leak(
    bridge: TestBridge, key: Key, log_watch: LogWatch
) -> None:
    assert leaks(f"oops {key.secret}")
    assert leaks('{"messages": [{"role": "user"}]}')
    assert leaks("the password is four odd old words")
    logger = logging.getLogger("modelbridge")
    logger.info("%s", "the password is four odd old words")
    assert len(log_watch.take_leaks()) == 2  # as text and as JSON
    logger.error("%s", key.secret)
    assert log_watch.take_leaks() == []  # redacted


def test_the_watch_learns_what_passes_through_a_bridge(
    bridge: TestBridge, key: Key, log_watch: LogWatch
) -> None:
    key.chat(messages=[{"role": "user", "content": "Whom shall I tell?\nNobody else."}])
    key.openai().chat.completions.create(
        model="gpt-test", messages=[{"role": "user", "content": "A quiet word with the SDK"}]
    )
    passwords.verify(None, "an attempt of Charlie's")
    credentials.seal("master", "up_1", "gsk-of-another-provider")
    log_watch.take_leaks()
    for secret in (
        "Whom shall I tell?",
        "A quiet word with the SDK",
        "an attempt of Charlie's",
        "gsk-of-another-provider",
    ):
        logging.getLogger("any.library").info("it said «%s», and no more", secret)
        assert len(log_watch.take_leaks()) == 2, secret


def test_a_prompt_that_begins_with_next_to_nothing_is_not_found_everywhere() -> None:
    """Only its first line is remembered, which may be a word that any line of a log has."""
    learn_prompts({"prompt": "11\x0btwo words"})
    assert leaks("('127.0.0.1', 41175): Errno 111") == []


def test_what_the_program_itself_says_is_no_secret() -> None:
    """Hypothesis takes the constants of the sources for prompts and passwords."""
    learn("127.0.0.1")
    learn_prompts({"prompt": "cannot be reached: "})
    assert leaks("('127.0.0.1', 41175) cannot be reached: [Errno 111] ECONNREFUSED") == []


def test_what_a_property_test_taught_is_forgotten_after_it() -> None:
    """Also when it failed, or those after it would."""

    def fail() -> None:
        with forgetting():
            learn("a word of that test alone")
            assert leaks("it said a word of that test alone") == []

    with pytest.raises(AssertionError):
        fail()
    assert leaks("it said a word of that test alone") == []


def test_commands_redact_too(tmp_path: Path) -> None:
    words = "import app, logging; app.create_app(); logging.error('mb_live_' + 'a' * 49)"
    done = subprocess.run(
        [sys.executable, "-c", words],
        cwd=ROOT,
        env={"MODELBRIDGE_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "mb_live_[redacted]" in done.stderr
