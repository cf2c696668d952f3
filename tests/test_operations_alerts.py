"""Alerts: what is told, to whom, once, and never at the cost of a call."""

import hashlib
import hmac
import http.server
import json
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from aiosmtpd.controller import Controller
from commands import Commands
from dashboard_world import World
from hostile import HostileUpstream, reply
from people import Key, Person, TestBridge, serving
from test_admin_upstreams import browser, world  # noqa: F401  an administrator's browser
from test_mail import Inbox, free_port

from modelbridge import clock, config, ids
from modelbridge.factory import create_app
from modelbridge.gateway import books
from modelbridge.ledger import limits
from modelbridge.operations import mail
from modelbridge.operations.alerts import book, settings, telling
from modelbridge.operations.alerts.clock import AlertClock
from modelbridge.operations.alerts.conditions import Condition
from modelbridge.operations.alerts.telling import signature
from modelbridge.store.tables import Alert, ApiKey, BooksCheck, Shortfall, Upstream

SECRET = "a secret of the webhook"


class Receiver:
    """A webhook's receiver. `status`: what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append((headers, body))
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                if receiver.status == 302:
                    self.send_header("location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks/1"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def kinds(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def clock_of(bridge: TestBridge, receiver: Receiver) -> AlertClock:
    """Alerts that go to the receiver; looked at only when a test asks."""
    change(bridge, webhook_url=receiver.url)
    return bridge.bridge.alerts


def change(bridge: TestBridge, **more: Any) -> None:
    wanted: dict[str, Any] = {
        "emails": [],
        "webhook_url": "",
        "webhook_private": True,
        "webhook_secret": SECRET,
        "low_balance": "5",
        "key_percent": 80,
        "expiry_days": 7,
    }
    with bridge.database.transaction() as session:
        settings.save(session, bridge.bridge.settings.master_key, **(wanted | more))


def check_of_the_books(bridge: TestBridge, *, ok: bool) -> None:
    with bridge.database.transaction() as session:
        session.add(
            BooksCheck(
                id=ids.new_id("chk"),
                at=clock.now(),
                ok=ok,
                problems=[] if ok else ["a balance is wrong"],
                counts={},
                duration_micros=1,
            )
        )


def test_a_low_balance_is_told_once_and_again_only_after_it_was_better(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver
) -> None:
    alice = bridge.person("alice", aud="4.99")
    bridge.person("charlie", aud=None)  # never had any
    for _ in range(3):
        clock_of.look()
    assert receiver.kinds == ["low_balance"]
    told = json.loads(receiver.got[0][1])
    assert "alice@example.com has 4.99 AUD left" in told["message"]
    assert "flask topup alice@example.com" in told["next_step"]
    alice.top_up("10")
    clock_of.look()
    with bridge.database.reading() as session:
        assert book.open_alerts(session) == []
    assert receiver.kinds == ["low_balance"]


def test_a_command_to_paste_does_nothing_else_whatever_a_team_is_called(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver
) -> None:
    bridge.team("x; rm -rf ~ $(id)", bridge.person("alice", aud=None), aud="1")
    clock_of.look()
    told = json.loads(receiver.got[0][1])
    command = told["next_step"].partition("`")[2].partition("`")[0]
    assert shlex.split(command) == ["flask", "topup", "team:x; rm -rf ~ $(id)", "AMOUNT"]


def test_a_webhook_is_signed_so_that_its_receiver_can_tell(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver
) -> None:
    bridge.person("alice", aud="1")
    clock_of.look()
    ((headers, body),) = receiver.got
    timestamp = headers["x-modelbridge-timestamp"]
    expected = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    assert headers["x-modelbridge-signature"] == f"v1={expected.hexdigest()}"
    assert headers["x-modelbridge-signature"] != signature("another", timestamp, body)
    assert abs(int(timestamp) - clock.now_micros() // 1_000_000) < 10
    assert set(json.loads(body)) == {
        "id", "type", "raised_at", "subject", "message", "next_step", "bridge",
    }  # fmt: skip


def test_a_key_near_its_limit_or_its_end_is_told(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver, alice: Person
) -> None:
    alice.key(limit="0.02", name="near").chat(max_tokens=20)
    alice.key(limit="9", name="far").chat(max_tokens=20)
    bridge.settle_down()
    change(bridge, webhook_url=receiver.url, key_percent=1)
    with bridge.database.transaction() as session:
        for row in session.query(ApiKey).filter_by(name="near"):
            row.limit_nanos = limits.key_spending(session, [row])[row.id].spent_nanos * 10
    alice.key(expires_at=clock.now() + timedelta(days=6), name="ends")
    alice.key(expires_at=clock.now() + timedelta(days=8), name="ends later")
    clock_of.look()
    told = {json.loads(body)["type"]: json.loads(body)["message"] for _, body in receiver.got}
    assert len(receiver.got) == len(told) == 2
    assert "'near'" in told["key_near_limit"]
    assert "'ends'" in told["key_expiring"]


@pytest.mark.parametrize(("more", "told"), [(0, ["key_near_limit"]), (1, [])])
def test_a_key_is_near_its_limit_from_the_very_nano_on(
    bridge: TestBridge,
    clock_of: AlertClock,
    receiver: Receiver,
    alice: Person,
    more: int,
    told: list[str],
) -> None:
    alice.key(limit="9", name="near").chat(max_tokens=20)
    bridge.settle_down()
    change(bridge, webhook_url=receiver.url, key_percent=80)
    with bridge.database.transaction() as session:
        (row,) = session.query(ApiKey).filter_by(name="near")
        spent_nanos = limits.key_spending(session, [row])[row.id].spent_nanos
        row.limit_nanos = spent_nanos * 100 // 80 + more
    clock_of.look()
    assert receiver.kinds == told


def test_an_upstream_that_fails_three_times_is_down_until_it_works(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver, key: Key
) -> None:
    bridge.upstream("nowhere", "http://127.0.0.1:9")
    bridge.model("gpt-nowhere", "nowhere")
    for _ in range(2):
        assert key.chat("gpt-nowhere").status_code == 502
    clock_of.look()
    assert receiver.kinds == []
    key.chat("gpt-nowhere")
    clock_of.look()
    assert receiver.kinds == ["upstream_down"]
    assert "nowhere" in json.loads(receiver.got[0][1])["message"]
    (row,) = [one for one in bridge.rows(Upstream) if one.name == "nowhere"]
    bridge.bridge.gateway.health.worked(row.id)
    clock_of.look()
    with bridge.database.reading() as session:
        assert book.open_alerts(session) == []
    for _ in range(3):
        bridge.bridge.gateway.health.failed(row.id, 0, "upstream_error")
    clock_of.look()
    assert receiver.kinds == ["upstream_down"], "what comes and goes within the hour is told once"


def test_an_upstream_that_only_asks_for_patience_is_not_down(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver
) -> None:
    (row, *_) = bridge.rows(Upstream)
    for _ in range(9):
        bridge.bridge.gateway.health.failed(row.id, 0, "upstream_rate_limited")
    clock_of.look()
    assert receiver.kinds == []


def test_broken_books_are_told_and_over_once_they_add_up(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver
) -> None:
    check_of_the_books(bridge, ok=False)
    clock_of.look()
    assert receiver.kinds == ["books_broken"]
    assert "a balance is wrong" in json.loads(receiver.got[0][1])["message"]
    assert books.check_now(bridge.database, bridge.bridge.auditor).ok
    clock_of.look()
    with bridge.database.reading() as session:
        assert book.open_alerts(session) == []


def test_a_shortfall_is_told_once_a_day_and_model(
    bridge: TestBridge,
    clock_of: AlertClock,
    receiver: Receiver,
    key: Key,
    upstream: HostileUpstream,
) -> None:
    absurd = {"prompt_tokens": 10**6, "completion_tokens": 10**6, "total_tokens": 2 * 10**6}
    upstream.will(reply(usage=absurd), reply(usage=absurd))
    for _ in range(2):
        assert key.chat(max_tokens=10).status_code == 200
    assert len(bridge.rows(Shortfall)) == 2
    clock_of.look()
    clock_of.look()
    assert receiver.kinds == ["shortfall"]
    assert "gpt-test" in json.loads(receiver.got[0][1])["subject"]


def test_a_backup_that_failed_is_told_until_one_is_made(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver
) -> None:
    bridge.bridge.backups.trouble = "no room"
    clock_of.look()
    clock_of.look()
    assert receiver.kinds == ["backup_failed"]
    told = json.loads(receiver.got[0][1])
    assert "no room" in told["message"]
    assert "MODELBRIDGE_BACKUP_DIR" in told["next_step"]
    bridge.bridge.backups.trouble = None
    clock_of.look()
    with bridge.database.reading() as session:
        assert book.open_alerts(session) == []


def test_a_restart_does_not_tell_again(tmp_path: Path, receiver: Receiver) -> None:
    with serving(tmp_path) as bridge:
        change(bridge, webhook_url=receiver.url)
        bridge.person("alice", aud="1")
        bridge.bridge.alerts.look()
    with serving(tmp_path) as bridge:
        bridge.bridge.alerts.look()
        assert len(bridge.rows(Alert)) == 1
    assert receiver.kinds == ["low_balance"]


@pytest.mark.parametrize("status", [500, 302])
def test_a_webhook_that_fails_is_tried_again_and_given_up_in_the_end(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver, status: int
) -> None:
    bridge.person("alice", aud="1")
    receiver.status = status
    with time_machine.travel(clock.now(), tick=False) as travel:
        for wait in (0, *book.WAITS_SECONDS):
            travel.shift(wait)
            clock_of.look()
            clock_of.look()
        assert len(receiver.got) == 1 + len(book.WAITS_SECONDS)
        travel.shift(10**6)
        clock_of.look()
    assert len(receiver.got) == 1 + len(book.WAITS_SECONDS)
    (alert,) = bridge.rows(Alert)
    assert (alert.posted_at, alert.next_try_at) == (None, None)


def test_one_way_that_works_is_not_used_again_for_the_other(
    bridge: TestBridge, clock_of: AlertClock, receiver: Receiver
) -> None:
    bridge.person("alice", aud="1")
    receiver.status = 500
    with time_machine.travel(clock.now(), tick=False) as travel:
        clock_of.look()
        receiver.status = 200
        travel.shift(61)
        clock_of.look()
        travel.shift(10**5)
        clock_of.look()
    assert len(receiver.got) == 2
    (alert,) = bridge.rows(Alert)
    assert alert.posted_at is not None


def test_a_webhook_that_answers_nothing_never_slows_a_call(
    bridge: TestBridge, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "WEBHOOK_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        change(bridge, webhook_url=f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        bridge.person("poor", aud="1")
        looking = threading.Thread(target=bridge.bridge.alerts.look)
        looking.start()
        begun = time.monotonic()
        assert key.chat().status_code == 200
        assert time.monotonic() - begun < 1.5
        looking.join(10)
        assert not looking.is_alive()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://169.254.169.254/latest", "never allowed"),
        ("http://hooks.example.com/x", "must begin with https"),
        ("https://127.0.0.1/x", "private or loopback"),
        ("ftp://example.com", "must look like"),
        ("https://user:pass@example.com/", "must look like"),
    ],
)
def test_the_page_takes_no_webhook_that_an_upstream_could_not_have(
    bridge: TestBridge, url: str, said: str
) -> None:
    with pytest.raises(ValueError, match=f"webhook_url: .*{said}"):
        change(bridge, webhook_url=url, webhook_private=False)


def test_an_administrator_sets_who_is_told_and_the_secret_is_never_shown(
    world: World,  # noqa: F811
    browser: Any,  # noqa: F811
) -> None:
    fields = {
        "emails": "ops@example.com, Bob@example.com",
        "webhook_url": "https://hooks.example.com/x",
        "webhook_secret": SECRET,
        "low_balance": "7.5",
        "key_percent": "90",
        "expiry_days": "3",
    }
    assert browser.submit("/admin/alerts", **fields).status_code == 303
    page = browser.get("/admin/alerts").text
    assert "ops@example.com, bob@example.com" in page
    assert SECRET not in page
    with world.bridge.database.reading() as session:
        kept = settings.load(session)
    assert (kept.low_balance_nanos, kept.key_percent, kept.expiry_days) == (7_500_000_000, 90, 3)
    assert SECRET not in repr(kept)
    assert SECRET not in browser.get("/admin/audit").text
    wrong = browser.submit("/admin/alerts", **fields | {"emails": "nobody", "key_percent": "0"})
    assert wrong.status_code == 400
    assert "Between 1 and 100." in wrong.text
    wrong = browser.submit("/admin/alerts", **fields | {"webhook_url": "https://10.0.0.1/x"})
    assert "private or loopback host" in wrong.text


def test_the_test_button_says_that_nobody_would_be_told(browser: Any) -> None:  # noqa: F811
    answer = browser.submit("/admin/alerts", to="/admin/alerts/test")
    assert answer.status_code == 303
    assert "no way to tell anybody" in browser.get("/admin/alerts").text


def test_an_alert_that_nobody_could_be_told_is_called_no_more_than_listed(
    world: World,  # noqa: F811
    browser: Any,  # noqa: F811
) -> None:
    low = Condition("low_balance", "x", "It is low", "Alice has little.", "Run `flask topup`.")
    with world.transaction() as session:
        book.tried(book.raise_one(session, low), mailed=True, posted=True)
    page = browser.get("/admin/alerts").text
    assert "Listed here" in page
    assert "By webhook" not in page
    assert "flask topup</code>." in page


def test_alerts_are_mailed_to_the_administrators_or_to_whom_they_name(tmp_path: Path) -> None:
    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=free_port())
    server.start()
    environ = {
        "MODELBRIDGE_SMTP_HOST": "127.0.0.1",
        "MODELBRIDGE_SMTP_PORT": str(server.port),
        "MODELBRIDGE_SMTP_TLS": "none",
        "MODELBRIDGE_SMTP_FROM": "bridge@example.com",
    }
    try:
        with serving(tmp_path, **environ) as bridge:
            bridge.person("root", aud=None, is_admin=True)
            bridge.person("alice", aud="1")
            bridge.bridge.alerts.look()
            ((_, to, letter),) = inbox.letters
            assert to == ["root@example.com"]
            assert b"flask topup alice@example.com" in letter.replace(b"=\r\n", b"")
            assert b"Administration, Alerts" in letter
            change(bridge, emails=["ops@example.com"], webhook_secret=None)
            assert bridge.bridge.alerts.test() == ["Mail to ops@example.com: sent."]
            assert inbox.letters[-1][1] == ["ops@example.com"]
            inbox.refuses = True
            assert "NOT sent" in bridge.bridge.alerts.test()[0]
            assert len(bridge.rows(Alert)) == 1
    finally:
        server.stop()


def test_an_address_that_is_refused_keeps_nobody_else_from_the_mail_nor_sends_it_twice(
    tmp_path: Path,
) -> None:
    inbox = Inbox()
    inbox.unknown.add("gone@example.com")
    server = Controller(inbox, hostname="127.0.0.1", port=free_port())
    server.start()
    environ = {
        "MODELBRIDGE_SMTP_HOST": "127.0.0.1",
        "MODELBRIDGE_SMTP_PORT": str(server.port),
        "MODELBRIDGE_SMTP_TLS": "none",
        "MODELBRIDGE_SMTP_FROM": "bridge@example.com",
    }
    try:
        with serving(tmp_path, **environ) as bridge:
            change(bridge, emails=["gone@example.com", "ops@example.com"])
            bridge.person("alice", aud="1")
            with time_machine.travel(clock.now(), tick=False) as travel:
                for wait in (0, *book.WAITS_SECONDS):
                    travel.shift(wait)
                    bridge.bridge.alerts.look()
            assert [to for _, to, _ in inbox.letters] == [["ops@example.com"]]
            assert bridge.bridge.alerts.test() == [
                "Mail to ops@example.com: sent.",
                "Mail to gone@example.com: NOT sent; the log says why.",
            ]
    finally:
        server.stop()


def test_a_mail_server_that_says_nothing_is_waited_for_once_and_not_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environ = {
            "MODELBRIDGE_SMTP_HOST": "127.0.0.1",
            "MODELBRIDGE_SMTP_PORT": str(silent.getsockname()[1]),
            "MODELBRIDGE_SMTP_FROM": "bridge@example.com",
        }
        with serving(tmp_path, **environ) as bridge:
            change(bridge, emails=[f"{number}@example.com" for number in range(10)])
            for number in range(20):
                bridge.person(f"poor{number}", aud="1")
            alerts = bridge.bridge.alerts
            looking = threading.Thread(target=alerts.look)
            looking.start()
            silent.accept()[0].close()
            with silent.accept()[0]:  # the second alert has its turn
                begun = time.monotonic()
                alerts.stop()
                looking.join(10)
            assert time.monotonic() - begun < 5  # and not 20 times 10 times as long
            assert not looking.is_alive()


def test_the_same_on_the_command_line(tmp_path: Path, receiver: Receiver) -> None:
    commands = Commands(tmp_path)
    commands.run("alerts", "test", status=1)
    words = (
        "alerts",
        "set",
        "--webhook",
        receiver.url,
        "--low-balance",
        "9",
        "--email",
        "a@b.example",
    )
    assert "webhook_secret" in commands.run(*words, status=1).output
    commands.run(*words, "--webhook-secret-stdin", stdin=SECRET)
    shown = json.loads(commands.out("alerts", "show"))
    assert (shown["low_balance"], shown["webhook_secret"]) == ("9.00", "set")
    assert commands.out("alerts", "test") == "Webhook: sent."
    assert receiver.kinds == ["test"]
    receiver.status = 403
    assert "status 403" in commands.run("alerts", "test", status=1).output
    commands.run("alerts", "set", "--webhook", "none", "--no-email")
    assert commands.out("alerts", "list").startswith("KIND")


def test_the_webhooks_secret_follows_a_change_of_the_master_key(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Commands(tmp_path)
    words = ("alerts", "set", "--webhook", receiver.url, "--webhook-secret-stdin")
    before.run(*words, stdin=SECRET)
    before.bridge.close()
    old = (tmp_path / "master.key").read_text()
    (tmp_path / "master.key").write_text("a new master key, long enough")
    environ = {"MODELBRIDGE_DATA_DIR": str(tmp_path), "MODELBRIDGE_OLD_MASTER_KEY": old}
    app = create_app(config.load(environ))
    runner = app.test_cli_runner()
    assert "Sealed 1 anew" in runner.invoke(args=["credentials", "rotate"]).output
    app.extensions["modelbridge"].close()
    assert Commands(tmp_path).out("alerts", "test") == "Webhook: sent."
    (headers, body), *_ = receiver.got
    stamp = headers["x-modelbridge-timestamp"]
    assert headers["x-modelbridge-signature"] == signature(SECRET, stamp, body)
