"""A running bridge where calls cost money: what it takes to ask it, and what its books say."""

import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests
from hostile import HostileUpstream
from people import wait_for
from running import AUD_PER_USD, RunningBridge, set_up
from web_site import ALICE, CHARLIE, PASSWORD, Browser, Site

from modelbridge.money import format_amount

GPT, CLAUDE, GEMINI = "gpt-4o-mini", "claude-sonnet-4-6", "gemini-2.5-flash"
EXACT = "gpt-exact"  # input is free, so a call that uses up its maximum costs its quote
EXACT_TOKEN_NANOS = int(2 * AUD_PER_USD * 1000)
CALL_TOKENS = 100
CALL_NANOS = CALL_TOKENS * EXACT_TOKEN_NANOS
GRACE_SECONDS = 2


def aud(amount_nanos: int) -> str:
    """A decimal, as forms and commands take it."""
    return format_amount(amount_nanos)


@dataclass
class Till(Site):
    """A site in front of the hostile upstream, as three providers of it; Alice has AUD 1,000."""

    @classmethod
    def open(cls, folder: Path, upstream: HostileUpstream) -> Self:
        """A bridge that serves and is set up."""
        bridge = RunningBridge.start(
            folder,
            MODELBRIDGE_THREADS="640",
            MODELBRIDGE_HOLD_GRACE_SECONDS=str(GRACE_SECONDS),
        )
        set_up(bridge)
        bridge.flask("user", "create", CHARLIE, "--password-stdin", stdin=PASSWORD)
        bare = upstream.anthropic_base_url
        bridge.upstream("hostile", "openai", upstream.base_url, "sk-upstream-secret")
        bridge.upstream("hostile-anthropic", "anthropic", bare, "sk-ant-upstream-secret")
        bridge.upstream("hostile-gemini", "gemini", bare, "AIza-upstream-secret")
        prices = ("--input", "0", "--output", "2", "--max-output", "100000")
        bridge.flask("model", "add", EXACT, "--upstream", "hostile", *prices)
        return cls(bridge)

    def alice(self) -> Browser:
        """Alice, logged in; always the same browser."""
        return self.browsers[0] if self.browsers else self.browser(ALICE)

    def live_key(self, limit_nanos: int | None = None, window: str = "none") -> str:
        """The secret of a new live key of Alice's."""
        limit = "" if limit_nanos is None else aud(limit_nanos)
        return self.key(self.alice(), mode="live", limit=limit, window=window)[1]

    def exact(self, secret: str, tokens: int = CALL_TOKENS, **more: Any) -> requests.Response:
        """A call that may cost `tokens`, and no more."""
        return self.call(secret, model=EXACT, max_tokens=tokens, **more)

    def hold(self, request_id: str) -> dict[str, Any]:
        """The hold of that call."""
        found = self.bridge.rows("SELECT * FROM holds WHERE call_id = ?", request_id)
        return found[0]

    def settled(self, answer: requests.Response) -> tuple[dict[str, Any], dict[str, Any]]:
        """The call's hold, once it is resolved, and its receipt."""
        name = answer.headers["x-request-id"]
        wait_for(lambda: self.hold(name)["state"] in ("posted", "void"), 30)
        return self.hold(name), self.bridge.receipt(name)

    def spent_nanos(self) -> int:
        """What all calls have cost until now."""
        return int(self.value("SELECT coalesce(sum(charged_nanos), 0) FROM holds"))

    def at_once(self, count: int, call: Any) -> list[requests.Response]:
        """That many calls, made together."""
        with ThreadPoolExecutor(count) as pool:
            return [one.result() for one in [pool.submit(call) for _ in range(count)]]

    def line(self, secret: str, body: bytes) -> socket.socket:
        """A socket on which the call was sent, and nothing read."""
        address = urlsplit(self.url)
        line = socket.create_connection((str(address.hostname), address.port or 0), timeout=30)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        line.sendall(head.encode() + body)
        return line


def error_of(answer: requests.Response) -> tuple[int, str]:
    """Status and code; the error is in OpenAI's form and every word of it is there."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"]
    return answer.status_code, error["code"]
