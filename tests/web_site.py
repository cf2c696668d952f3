"""A running bridge with people on it, and browsers that know nothing but HTTP."""

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import requests
from dashboard_world import hidden_fields
from requests.adapters import HTTPAdapter
from running import RunningBridge

ALICE, BOB, CHARLIE = "alice@example.com", "bob@example.com", "charlie@example.com"
PASSWORD = "four odd old words"
KEY = re.compile(r"mb_(?:live|test)_[0-9A-Za-z]{49}")


class _From(HTTPAdapter):
    """Connections come from that address of this machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        more["source_address"] = (self._address, 0)
        super().init_poolmanager(*arguments, **more)


@dataclass
class Browser:
    """Cookies, and forms that are sent as a page gave them."""

    url: str
    address: str = "127.0.0.1"
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.trust_env = False
        self.session.mount("http://", _From(self.address))

    def open(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(
            method, f"{self.url}{path}", timeout=60, allow_redirects=False, **more
        )

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.open("GET", path, **more)

    def submit(self, path: str, *, to: str | None = None, **fields: str) -> requests.Response:
        """Opens the page and sends its form, with these fields filled in."""
        return self.open("POST", to or path, data={**self.fields(path), **fields})

    def fields(self, path: str) -> dict[str, str]:
        return hidden_fields(self.get(path).text)

    def log_in(self, email: str, password: str = PASSWORD) -> requests.Response:
        return self.submit("/login", email=email, password=password)

    def is_logged_in(self) -> bool:
        return self.get("/keys").status_code == 200

    def cookie(self) -> str:
        return self.session.cookies.get("mb") or ""

    def close(self) -> None:
        self.session.close()


@dataclass
class Site:
    """The bridge, its people, and Alice's team Research with Bob as its member."""

    bridge: RunningBridge
    browsers: list[Browser] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.bridge.url

    def set_up(self) -> None:
        for email in (BOB, CHARLIE):
            self.bridge.flask("user", "create", email, "--password-stdin", stdin=PASSWORD)
        self.bridge.flask("team", "create", "Research", "--owner", ALICE)
        self.bridge.flask("team", "add", "Research", BOB, "--role", "member")

    def browser(self, email: str | None = None, address: str = "127.0.0.1") -> Browser:
        browser = Browser(self.url, address)
        self.browsers.append(browser)
        if email:
            answer = browser.log_in(email)
            assert answer.status_code == 303, answer.text
        return browser

    def key(self, browser: Browser, **fields: str) -> tuple[str, str]:
        """The id and the secret of a new key, made on the page."""
        wanted = {"name": "A key", "mode": "test", "expires": "never", "window": "none"}
        wanted["account"] = "personal"
        page = browser.submit("/keys/new", **{**wanted, **fields})
        assert page.status_code == 200, page.text
        secret = KEY.findall(page.text)[0]
        return self.value("SELECT id FROM api_keys ORDER BY id DESC LIMIT 1"), secret

    def call(self, secret: str, **more: Any) -> requests.Response:
        """A chat completion, of the sandbox unless a model is named."""
        headers = {"Authorization": f"Bearer {secret}"} | more.pop("headers", {})
        body = {"model": "sandbox-echo", "messages": [{"role": "user", "content": "Hello"}]}
        return requests.post(
            f"{self.url}/v1/chat/completions",
            json=body | more,
            headers=headers,
            timeout=60,
            stream=more.get("stream", False),
        )

    def value(self, query: str, *values: str) -> Any:
        """The first cell of what the database file answers; it is only read."""
        path = self.bridge.data_dir / "modelbridge.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            row = connection.execute(query, values).fetchone()
        return None if row is None else row[0]

    def user_id(self, email: str) -> str:
        return str(self.value("SELECT id FROM users WHERE email = ?", email))

    @property
    def team_id(self) -> str:
        return str(self.value("SELECT id FROM teams WHERE name = 'Research'"))

    def close(self) -> None:
        for browser in self.browsers:
            browser.close()
