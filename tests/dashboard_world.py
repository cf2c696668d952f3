"""Alice, Bob and Charlie with their browsers: pages fetched and forms sent, without a network."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from modelbridge import config
from modelbridge.factory import create_app
from modelbridge.identity import keys, links, passwords, users
from modelbridge.ledger import accounts
from modelbridge.store.tables import ApiKey, User

PASSWORD = "plenty of horses here"
_HIDDEN = re.compile(r'<input[^>]*type="hidden"[^>]*>')


@cache
def password_hash() -> str:
    """The hash of PASSWORD, reckoned once: it takes a while, on purpose."""
    return passwords.hash_password(PASSWORD)


def hidden_fields(page: str) -> dict[str, str]:
    """What the page's forms send without being asked, the CSRF token among it."""
    found = {}
    for tag in _HIDDEN.findall(page):
        name = re.search(r'name="([^"]*)"', tag)
        value = re.search(r'value="([^"]*)"', tag)
        if name:
            found[name[1]] = unescape(value[1]) if value else ""
    return found


@dataclass
class Browser:
    """One browser, with its own cookies and address."""

    app: Flask
    address: str = "192.0.2.1"

    def __post_init__(self) -> None:
        self.client = self.app.test_client()
        self.client.environ_base["REMOTE_ADDR"] = self.address

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(path, **more)

    def post(self, path: str, **fields: str) -> TestResponse:
        """Posts exactly these fields: no CSRF token unless it is among them."""
        return self.client.post(path, data=fields)

    def submit(self, path: str, *, to: str | None = None, **fields: str) -> TestResponse:
        """Opens the page and sends its form, with these fields filled in."""
        page = self.get(path)
        return self.post(to or path, **{**hidden_fields(page.text), **fields})

    def log_in(self, email: str, password: str = PASSWORD) -> TestResponse:
        return self.submit("/login", email=email, password=password)

    def log_out(self) -> TestResponse:
        return self.submit("/keys", to="/logout")

    def is_logged_in(self) -> bool:
        return self.get("/keys").status_code == 200

    def copy(self) -> "Browser":
        """A browser with the same cookies: what a thief of the cookie has."""
        other = Browser(self.app, self.address)
        for cookie in (self.client._cookies or {}).values():
            other.client.set_cookie(cookie.key, cookie.value, domain=cookie.domain)
        return other


class World:
    """One bridge and the people on it."""

    def __init__(self, data_dir: Path, **environ: str) -> None:
        self.app = create_app(config.load({"MODELBRIDGE_DATA_DIR": str(data_dir), **environ}))
        self.bridge = self.app.extensions["modelbridge"]

    def transaction(self) -> Any:
        return self.bridge.database.transaction()

    def person(self, email: str, *, name: str = "", is_admin: bool = False) -> User:
        with self.transaction() as session:
            return _person(session, email, name, is_admin)

    def browser(self, email: str | None = None, *, address: str = "192.0.2.1") -> Browser:
        """A new browser; with an address it is logged in as that person."""
        browser = Browser(self.app, address)
        if email is not None:
            assert browser.log_in(email).status_code == 303
        return browser

    def link(self, kind: str, user: User | None = None, hours: float = 1) -> str:
        with self.transaction() as session:
            token = links.new_link(session, kind, user.id if user else None, hours)
        return f"/{kind}/{token}"

    def key(self, user: User, name: str = "Laptop", **fields: Any) -> ApiKey:
        wanted: dict[str, Any] = {
            "account_id": user.account_id,
            "user_id": user.id,
            "name": name,
            "test": False,
            "limit_nanos": None,
            "window": "none",
            "expires_at": None,
            "models": None,
        }
        with self.transaction() as session:
            return keys.create_key(session, **{**wanted, **fields}).row

    def keys_of(self, user: User) -> list[ApiKey]:
        with self.bridge.database.reading() as session:
            return keys.keys_of_user(session, user.id)


@contextmanager
def world_in(data_dir: Path, **environ: str) -> Iterator[World]:
    """A new bridge whose data are in that directory."""
    world = World(data_dir, **environ)
    try:
        yield world
    finally:
        world.bridge.close()


def _person(session: Session, email: str, name: str, is_admin: bool) -> User:
    account = accounts.open_account(session, "user")
    user = users.create_user(
        session,
        email=email,
        name=name,
        is_admin=is_admin,
        account_id=account.id,
        password_hash=password_hash(),
    )
    session.refresh(user)
    return user
