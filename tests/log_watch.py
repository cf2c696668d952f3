"""What was logged while tests ran, and whether a secret or a prompt is in it.

Every record that a bridge would write is judged, as text and as JSON. What must not be in it is
learned where it passes: prompts where a body is read (and where a test sends one), passwords where
they are hashed, credentials where they are sealed.
"""

import functools
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

import modelbridge
from modelbridge import jsonio
from modelbridge.identity import passwords
from modelbridge.operations.logs import JsonLines, TextLines
from modelbridge.upstream import credentials

# What tests give out as secrets: credentials of upstreams, passwords, and every key that is made.
SECRETS = {"sk-upstream", "four odd old words"}
# The last ones that were learned, for what a thread logs after its test is judged with the next.
_LEARNED: dict[str, None] = {}
_MOST_LEARNED = 500
_MOST_CHARACTERS = 40
_WORDS = re.compile(r"\w{2,}\s+\w{2,}")
_MARKS = (
    re.compile(r"mb_(?:live|test)_[0-9A-Za-z]{20,}"),
    re.compile(r"[\"']messages[\"']\s*:"),
    re.compile(r"[\"']content[\"']\s*:\s*[\"']"),
    re.compile(r"(?i)bearer [0-9a-z_-]{12,}"),
)


def learn(text: object) -> None:
    """From now on the beginning of its first line is a secret.

    What is too short to be told from other words is not, nor what the program's own text has:
    Hypothesis tries the constants that it finds there, addresses and pieces of messages.
    """
    first = _first_line(text)
    if len(first) >= 8 and first not in _own_text():
        _LEARNED[first] = None
        while len(_LEARNED) > _MOST_LEARNED:
            del _LEARNED[next(iter(_LEARNED))]


def learn_prompts(body: object) -> None:
    """What stands in a call's body and has words in its first line."""
    for text in _texts(body):
        if _WORDS.search(_first_line(text)):
            learn(text)


@contextmanager
def forgetting() -> Iterator[None]:
    """What is learned meanwhile is a secret for that long."""
    known = set(_LEARNED)
    try:
        yield
    finally:
        for text in set(_LEARNED) - known:
            _LEARNED.pop(text, None)


def _first_line(text: object) -> str:
    first = next(iter(text.strip().splitlines()), "") if isinstance(text, str) else ""
    return first.strip()[:_MOST_CHARACTERS].strip()


@functools.cache
def _own_text() -> str:
    sources = Path(modelbridge.__file__).parent.rglob("*.py")
    return "\n".join(source.read_text("utf-8") for source in sources)


def _texts(body: object) -> Iterator[str]:
    waiting = [body]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting.extend(value for name, value in one.items() if name != "model")
        elif isinstance(one, list):
            waiting.extend(one)


class LogWatch(logging.Handler):
    """A handler of everything that a bridge logs by itself, with its own formatters."""

    def __init__(self) -> None:
        super().__init__()
        self._formatters = (TextLines(), JsonLines())
        self._undo: list[Callable[[], None]] = []
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        root = logging.getLogger()
        root.addHandler(self)
        level = root.level
        self._undo.append(lambda: root.setLevel(level))
        root.setLevel(logging.INFO)  # as `python app.py` does
        self._listen(jsonio, "read_strict", lambda found, *_: learn_prompts(found))
        self._listen(passwords, "hash_password", lambda _, password: learn(password))
        self._listen(passwords, "verify", lambda _, __, password: learn(password))
        self._listen(credentials, "seal", lambda _, __, ___, plain, **____: learn(plain))
        self._listen(requests.Session, "request", lambda *_, json=None, **__: learn_prompts(json))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger().removeHandler(self)
        while self._undo:
            self._undo.pop()()

    def _listen(self, owner: Any, name: str, hear: Callable[..., None]) -> None:
        """`hear` is told what that function returned, and what it was given."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def heard(*given: Any, **named: Any) -> Any:
            found = original(*given, **named)
            hear(found, *given, **named)
            return found

        setattr(owner, name, heard)
        self._undo.append(lambda: setattr(owner, name, original))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [formatter.format(record) for formatter in self._formatters]

    def take_leaks(self) -> list[str]:
        """The lines with a secret in them since the last time, each behind what was found in it."""
        lines, self.lines = self.lines, []
        return [f"{found} in {line}" for line in lines if (found := leaks(line))]


def leaks(text: str) -> list[str]:
    """The secrets and prompts that stand in a log."""
    found = [secret for secret in (*SECRETS, *tuple(_LEARNED)) if secret in text]
    for mark in _MARKS:
        found += [match[0] for match in mark.finditer(text)]
    return found
