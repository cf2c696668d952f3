"""The audit log: who did what, from the pages and from the command line, and never a secret."""

import csv
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from commands import Commands, commands_in
from dashboard_world import Browser, World, world_in

from modelbridge import clock
from modelbridge.dashboard.exports import cell
from modelbridge.identity import auditlog
from modelbridge.store.tables import AuditEvent, User

ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        yield world


@pytest.fixture
def alice(world: World) -> User:
    return world.person(ALICE, name="Alice", is_admin=True)


@pytest.fixture
def browser(world: World, alice: User) -> Browser:
    return world.browser(ALICE)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with commands_in(tmp_path) as commands:
        yield commands


def events(world: World) -> list[AuditEvent]:
    """Oldest first."""
    with world.bridge.database.reading() as session:
        return list(session.query(AuditEvent).order_by(AuditEvent.sequence))


def record(world: World, count: int, action: str = "test.event") -> None:
    with world.transaction() as session:
        for number in range(count):
            auditlog.record(
                session,
                actor=None,
                action=action,
                subject_kind="test",
                subject_id=str(number),
                subject=f"number {number}",
            )


def test_a_login_and_a_logout_are_on_record(world: World, browser: Browser) -> None:
    browser.log_out()
    assert [(one.action, one.actor, one.address) for one in events(world)] == [
        ("session.login", ALICE, "192.0.2.1"),
        ("session.logout", ALICE, "192.0.2.1"),
    ]


def test_guessing_passwords_is_on_record_once_however_long_it_goes_on(
    world: World, alice: User
) -> None:
    stranger = world.browser()
    for _ in range(14):
        stranger.log_in(ALICE, "a wrong password")
    (event,) = events(world)
    assert (event.action, event.actor, event.subject) == ("session.throttled", "nobody", ALICE)
    assert event.actor_id is None


def test_the_set_up_and_a_reset_link_are_on_record(world: World) -> None:
    world.browser().submit(
        world.link("setup"), name="Alice", email=ALICE, password="plenty of horses here"
    )
    bob = world.person(BOB)
    world.browser().submit(world.link("reset", bob), password="another fine long word")
    assert [(one.action, one.actor) for one in events(world)] == [
        ("user.setup", ALICE),
        ("user.reset", BOB),
        ("session.login", BOB),
    ]


def test_what_the_command_line_does_is_its_own_doing(commands: Commands) -> None:
    run = commands.run
    run("user", "create", ALICE, "--admin")
    run("topup", ALICE, "20", "--reference", "invoice 7")
    run("topup", ALICE, "20", "--reference", "invoice 7")
    run("team", "create", "Acme", "--owner", ALICE)
    run("upstream", "add", "openai", "--provider", "openai", "--api-key-stdin", stdin="sk-secret")
    run("model", "add", "house", "--upstream", "openai", "--input", "1", "--output", "2")
    run("fx", "set", "1.6")
    secret = run("key", "create", "--account", ALICE, "--name", "ci").stdout.strip()
    run("key", "revoke", secret)
    run("account", "limit", ALICE, "5", "--window", "day")
    run("user", "reset", ALICE)
    with commands.bridge.database.reading() as session:
        found = list(session.query(AuditEvent).order_by(AuditEvent.sequence))
    assert {(one.actor, one.actor_id) for one in found} == {("command line", None)}
    assert [one.action for one in found] == [
        "user.create",
        "account.top_up",
        "team.create",
        "upstream.add",
        "model.add",
        "fx.set",
        "key.create",
        "key.revoke",
        "account.limit",
        "user.link",
    ]
    told = " ".join(f"{one.subject} {one.details}" for one in found)
    assert secret not in told
    assert "sk-secret" not in told


def test_the_log_is_append_only(world: World, browser: Browser) -> None:
    """The database itself refuses it, whoever asks."""
    for sql in ("DELETE FROM audit_events", "UPDATE audit_events SET actor = 'nobody'"):
        with (
            closing(sqlite3.connect(world.bridge.database.path)) as connection,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            connection.execute(sql)
    assert [one.actor for one in events(world)] == [ALICE]


def test_the_log_pages_fifty_at_a_time_newest_first(world: World, browser: Browser) -> None:
    record(world, 70)
    first = browser.get("/admin/audit").text
    assert "number 69" in first
    assert "number 19<" not in first
    older = first.split('href="/admin/audit?before=')[1].split('"')[0]
    second = browser.get(f"/admin/audit?before={older}").text
    assert "number 19<" in second
    assert "number 69" not in second


def test_the_log_can_be_searched_by_person_action_and_day(world: World, browser: Browser) -> None:
    with time_machine.travel(clock.now() - timedelta(days=40), tick=False):
        record(world, 1, "test.old")
    record(world, 1, "test.new")
    day = f"{clock.now() - timedelta(days=20):%Y-%m-%d}"
    rows = {
        query: browser.get(f"/admin/audit?{query}").text.count('<tr role="row">') - 1
        for query in (
            "actor=ALICE", "action=test.old", f"from={day}", f"to={day}", "actor=nobody-here",
        )
    }  # fmt: skip
    assert list(rows.values()) == [1, 1, 2, 1, -1]
    assert browser.get("/admin/audit?from=nonsense&before=x").status_code == 200


def test_the_csv_has_every_event_and_no_formula(world: World, browser: Browser) -> None:
    record(world, 2_300)
    with world.transaction() as session:
        auditlog.record(
            session,
            actor=None,
            action="test.evil",
            subject_kind="test",
            subject_id="-1",
            subject='=HYPERLINK("http://evil.test")',
            details={"words": "@SUM(A1)"},
        )
    answer = browser.get("/admin/audit.csv?actor=command")
    assert answer.mimetype == "text/csv"
    assert answer.is_streamed
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 2_301
    assert rows[0]["subject"] == '\'=HYPERLINK("http://evil.test")'
    assert [row["id"] for row in rows[1:]] == [str(number) for number in reversed(range(2_300))]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"), ("@x", "'@x"), ("\tx", "'\tx"), ("+x", "'+x"), ("-x", "'-x"),
        ("-12.50", "-12.50"), ("-1+1", "'-1+1"), (None, ""),
        ("\uff1dx", "'\uff1dx"), ("\uff20x", "'\uff20x"), ("\n=x", "'\n=x"), ("\0=x", "'\0=x"),
        ("plain", "plain"), (7, "7"),
    ],
)  # fmt: skip
def test_a_cell_is_never_a_formula(value: object, written: str) -> None:
    assert cell(value) == written


def test_nobody_but_administrators_sees_the_log(world: World, alice: User) -> None:
    world.person(BOB)
    bob = world.browser(BOB)
    for path in ("/admin/audit", "/admin/audit.csv"):
        assert bob.get(path).status_code == 404
        assert world.browser().get(path).status_code == 303
