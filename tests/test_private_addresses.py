"""An address of this machine or a private network is called only where somebody chose it."""

import logging
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile
import pytest
from commands import Commands, commands_in
from dashboard_world import Browser, World
from hostile import HostileUpstream
from test_admin_upstreams import (  # noqa: F401  an administrator's browser
    add_upstream,
    browser,
    outcome_of_test,
    row_of,
    world,
)
from upstream_calls import client_with, exchange, target, whole

from modelbridge import clock
from modelbridge.errors import UpstreamError
from modelbridge.operations.alerts import settings as alert_settings
from modelbridge.operations.alerts import telling
from modelbridge.operations.alerts.settings import AlertSettings
from modelbridge.store import migrate
from modelbridge.store.database import Database
from modelbridge.store.tables import Alert, AuditEvent
from modelbridge.upstream import credentials

NAME = "llm.example.com"
SAID = "is at a private address, which is not allowed for it; an administrator can tick the box"


class Resolver:
    """What the system says about the name `NAME`; `addresses` may change at any time."""

    def __init__(self, ask: Any) -> None:
        self.addresses = ["127.0.0.1"]
        self._ask = ask

    def __call__(self, host: str, port: int, *more: Any) -> list[Any]:
        if host != NAME:
            found: list[Any] = self._ask(host, port, *more)
            return found
        return [one for address in self.addresses for one in self._ask(address, port, *more)]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver(socket.getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody on this machine; `accept` raises BlockingIOError as long as nobody has come."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def port_of(upstream: HostileUpstream) -> int:
    return int(upstream.base_url.split(":")[2].split("/")[0])


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "100.64.0.1", "::1", "fd00::1", "::ffff:127.0.0.1"]
)
def test_a_public_name_that_leads_to_a_private_address_is_not_connected_to(
    resolver: Resolver,
    listener: socket.socket,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    address: str,
) -> None:
    resolver.addresses = [address]
    port = listener.getsockname()[1]
    at = replace(target(f"https://{NAME}:{port}/v1"), allow_private=False)
    with client_with(tmp_path) as client, pytest.raises(UpstreamError, match=SAID) as refusal:
        whole(exchange(client, at))
    assert refusal.value.refused
    assert not refusal.value.may_have_billed
    assert address not in refusal.value.message
    with pytest.raises(BlockingIOError):
        listener.accept()
    (line,) = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert f"upstream box: {NAME} is at {address}, " in line
    assert "flask upstream private-addresses" in line


def test_where_it_was_chosen_it_is_called(
    resolver: Resolver, upstream: HostileUpstream, tmp_path: Path
) -> None:
    with client_with(tmp_path) as client:
        assert whole(exchange(client, target(f"http://{NAME}:{port_of(upstream)}/v1")))
    upstream.wait_for(1)


def test_a_connection_that_was_allowed_is_not_used_where_it_would_not_be(
    resolver: Resolver, upstream: HostileUpstream, tmp_path: Path
) -> None:
    allowed = target(f"http://{NAME}:{port_of(upstream)}/v1")
    refused = replace(allowed, allow_private=False)
    with client_with(tmp_path) as client:
        for _ in range(2):
            whole(exchange(client, allowed))
            with pytest.raises(UpstreamError, match=SAID):
                whole(exchange(client, refused))
        seen = upstream.wait_for(2)
        assert len({one["connection"] for one in seen}) == 1  # that one is used again
        assert len(upstream.seen()) == 2


def test_in_the_browser_it_needs_the_tick_which_shows_and_can_be_taken_away(
    world: World,  # noqa: F811
    browser: Browser,  # noqa: F811
    resolver: Resolver,
    upstream: HostileUpstream,
) -> None:
    address = f"https://{NAME}:{port_of(upstream)}/v1"
    assert "local is added" in add_upstream(browser, name="local", base_url=address)
    assert not row_of(world, "local").allow_private
    assert SAID in outcome_of_test(browser)
    edit = "/admin/upstreams/local/edit"
    assert address in browser.get(edit).text
    assert "checked" not in browser.get(edit).text
    browser.submit(edit, allow_private="y", on_hang_up="auto")
    assert row_of(world, "local").allow_private
    assert "checked" in browser.get(edit).text
    assert "TLS" in outcome_of_test(browser)  # it was connected to
    browser.submit(edit, on_hang_up="drain")
    assert SAID in outcome_of_test(browser)
    assert upstream.seen() == []
    with world.bridge.database.reading() as session:
        log = [
            (one.action, one.details)
            for one in session.query(AuditEvent).order_by(AuditEvent.sequence)
            if one.action not in ("session.login", "upstream.test")
        ]
    made = {"provider": "openai", "base_url": address, "allow_private": False}
    assert log == [
        ("upstream.add", made),
        ("upstream.private_addresses", {"allowed": True}),
        ("upstream.on_hang_up", {"what": "drain"}),
        ("upstream.private_addresses", {"allowed": False}),
    ]


def test_an_address_that_is_private_by_itself_keeps_its_tick(
    world: World,  # noqa: F811
    browser: Browser,  # noqa: F811
    upstream: HostileUpstream,
) -> None:
    add_upstream(browser, name="local", base_url=upstream.base_url, allow_private="y")
    answer = browser.submit("/admin/upstreams/local/edit", on_hang_up="close")
    assert answer.status_code == 400
    assert "The address must begin with https://" in answer.text
    row = row_of(world, "local")
    assert (row.allow_private, row.on_hang_up) == (True, "auto")


def test_a_running_bridge_stops_calling_from_the_next_call_on(
    world: World,  # noqa: F811
    browser: Browser,  # noqa: F811
    resolver: Resolver,
    upstream: HostileUpstream,
) -> None:
    """The pooled connection of the call before does not help."""
    plain = f"http://{NAME}:{port_of(upstream)}/v1"
    add_upstream(browser, name="local", base_url=plain, allow_private="y")
    upstream.will(hostile.status(200, {"data": []}), hostile.status(200, {"data": []}))
    assert "It works" in outcome_of_test(browser)
    with world.transaction() as session:  # past the form, which wants https then
        session.merge(row_of(world, "local")).allow_private = False
    assert SAID in outcome_of_test(browser)
    assert len(upstream.seen()) == 1


def test_on_the_command_line_it_is_allowed_until_it_is_refused(tmp_path: Path) -> None:
    with commands_in(tmp_path) as flask:
        add = ("upstream", "add", "house", "--provider", "openai_compatible", "--base-url")
        flask.run(*add, f"https://{NAME}/v1")
        assert flask.out("upstream", "list").endswith("allowed")
        change = ("upstream", "private-addresses", "house")
        assert flask.out(*change, "refuse") == "house: private addresses are refused."
        assert flask.out("upstream", "list").endswith("refused")
        assert flask.out(*change, "allow") == "house: private addresses are allowed."
        assert "there is none" in flask.refused(*change[:2], "x", "allow")
        flask.run("upstream", "add", *("box", *add[3:]), "http://127.0.0.1:8080/v1")
        assert "must begin with https://" in flask.refused(*change[:2], "box", "refuse")
        assert details_of(flask) == [
            {"provider": "openai_compatible", "base_url": f"https://{NAME}/v1"}
            | {"allow_private": True},
            {"allowed": False},
            {"allowed": True},
        ]


def details_of(flask: Commands) -> list[Any]:
    """What the audit log says of the upstream `house`."""
    with flask.bridge.database.reading() as session:
        found = session.query(AuditEvent).filter_by(subject="house").order_by(AuditEvent.sequence)
        return [one.details for one in found]


@pytest.mark.parametrize("allowed", [True, False])
def test_a_webhook_whose_name_leads_to_a_private_address_needs_the_tick_too(
    resolver: Resolver, listener: socket.socket, tmp_path: Path, allowed: bool
) -> None:
    sealed = credentials.seal(
        "x", alert_settings.NAME, "a secret of the webhook", column=alert_settings.SEALED_COLUMN
    )
    wanted = AlertSettings(
        webhook_url=f"https://{NAME}:{listener.getsockname()[1]}/hook",
        webhook_private=allowed,
        webhook_secret=sealed,
    )
    listener.close()  # whoever is let through finds nobody
    alert = Alert(id="alert_1", kind="test", subject="x", message="x", next_step="x")
    alert.raised_at = clock.now()
    with client_with(tmp_path) as client:
        said = telling.by_webhook(client, replace(client.settings, master_key="x"), wanted, alert)
    assert said is not None
    assert ("It is at a private address" in said) is not allowed
    assert ("It cannot be reached" in said) is allowed


def test_upstreams_of_before_may_be_where_they_are_and_only_those(tmp_path: Path) -> None:
    columns = "id, name, provider, base_url, on_hang_up, created_at"
    database = Database(tmp_path / "modelbridge.db")
    migrate.upgrade(database.engine, "0004")
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute(
            f"INSERT INTO upstreams ({columns}) VALUES ('u1', 'old', 'x', 'x', 'auto', 1)"  # noqa: S608
        )
    migrate.upgrade(database.engine)
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute(
            f"INSERT INTO upstreams ({columns}) VALUES ('u2', 'new', 'x', 'x', 'auto', 1)"  # noqa: S608
        )
        found = connection.execute("SELECT name, allow_private FROM upstreams ORDER BY id")
        assert found.fetchall() == [("old", 1), ("new", 0)]
    database.close()
