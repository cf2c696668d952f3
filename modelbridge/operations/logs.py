"""Logs: lines on standard error, as text or as JSON, in which no secret is ever written.

Metadata only is logged; the redactor is there for what slips in with an error's own words.
"""

import json
import logging
import re
import sys
import threading
import time
from datetime import UTC, datetime
from types import TracebackType

# Chatty ones: clients that hang up and migrations are no news.
_QUIET = {"waitress": logging.WARNING, "alembic": logging.WARNING, "waitress.queue": logging.ERROR}
_HANDLER = "modelbridge"
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
GONE = "[redacted]"
_SECRETS = (
    (re.compile(r"(mb_(?:live|test)_)[0-9A-Za-z]{4,}"), rf"\1{GONE}"),
    (re.compile(r"\b(sk-|AIza|gsk_|xai-|whsec_)[\w-]{6,}"), rf"\1{GONE}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{4,}"), rf"\1 {GONE}"),
    (
        re.compile(
            r"(?i)((?:\b|_)(?:proxy-)?(?:authorization|x-api-key|x-goog-api-key|api[-_]?key|cookie"
            r"|password|passwd|secret(?:[-_]key)?|master[-_]key|credential|token)"
            r"[\"']?\s*[:=]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,;&}]+)"
        ),
        rf"\1{GONE}",
    ),
    (re.compile(r"(/(?:setup|reset|invitations?)/)[\w-]{8,}"), rf"\1{GONE}"),
    (re.compile(r"(://[^/\s:@]+:)[^/\s@]+@"), rf"\1{GONE}@"),
)
# What moves a terminal's cursor, ends a line, or turns the direction of the writing.
_CONTROL = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code not in (9, 10)
} | {code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))}


def set_up(log_format: str, level: int = logging.INFO) -> None:
    """Every line of the process goes to standard error from now on, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.name = _HANDLER
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root = logging.getLogger()
    for old in [one for one in root.handlers if one.name == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, quiet))


def catch_all() -> None:
    """What nobody catches, in whatever thread, and Python's warnings are logged like all else."""
    sys.excepthook = _uncaught
    threading.excepthook = lambda told: _uncaught(told.exc_type, told.exc_value, told.exc_traceback)
    sys.unraisablehook = lambda told: _uncaught(told.exc_type, told.exc_value, told.exc_traceback)
    logging.captureWarnings(True)


def _uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    if issubclass(kind, SystemExit | KeyboardInterrupt):  # somebody's wish
        return
    error = error or kind()
    logging.getLogger(_HANDLER).critical("nobody caught this", exc_info=(kind, error, trace))


def redact(text: str) -> str:
    """The text without API keys, passwords, credentials and one-time links."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class TextLines(logging.Formatter):
    """Lines for people: moment, level, logger, message; a traceback goes below it."""

    def __init__(self) -> None:
        """With moments in UTC, to the second."""
        super().__init__(_TEXT, "%Y-%m-%dT%H:%M:%SZ")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's own name
        """The line without a traceback: its message is one line, so nobody writes others."""
        record.message = record.message.replace("\n", "\\n")
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """One record, without secrets and control characters."""
        return redact(super().format(record)).translate(_CONTROL)


class JsonLines(logging.Formatter):
    """One JSON object to a line: at, level, logger, message, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One record, without secrets."""
        at = datetime.fromtimestamp(record.created, UTC)
        line = {
            "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=True)
