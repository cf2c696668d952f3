"""What was logged while tests ran, and whether a secret or a prompt is in it."""

import logging
import re
from types import TracebackType
from typing import Self

from modelbridge.operations.logs import TextLines

# What tests give out as secrets: credentials of upstreams, passwords, and every key that is made.
SECRETS = {"sk-upstream", "four odd old words"}
_MARKS = (
    re.compile(r"mb_(?:live|test)_[0-9A-Za-z]{20,}"),
    re.compile(r"[\"']messages[\"']\s*:"),
    re.compile(r"[\"']content[\"']\s*:\s*[\"']"),
    re.compile(r"(?i)bearer [0-9a-z_-]{12,}"),
)


class LogWatch(logging.Handler):
    """A handler of everything, with the formatter of the bridge's own."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(TextLines())
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(("urllib3", "httpx", "openai", "anthropic")):  # the clients'
            self.lines.append(self.format(record))

    def take_leaks(self) -> list[str]:
        """The lines with a secret in them since the last time."""
        lines, self.lines = self.lines, []
        return [line for line in lines if leaks(line)]


def leaks(text: str) -> list[str]:
    """The secrets and prompts that stand in a log."""
    found = [secret for secret in SECRETS if secret in text]
    for mark in _MARKS:
        found += [match[0] for match in mark.finditer(text)]
    return found
