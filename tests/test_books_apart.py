"""A running bridge has its books checked by a process of its own, which no call and no stop feels.

The bridges here check every second. While the file `hold` lies in their folder, a check goes on.
"""

import json
import logging
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import requests
from dashboard_world import hidden_fields, world_in
from faulty import be_impatient, locked_by_another_process
from people import ROOT
from people import wait_for as wait_for_seconds
from running import RunningBridge, set_up

from modelbridge.dashboard.admin import state
from modelbridge.gateway import auditor
from modelbridge.gateway.auditor import Auditor, BrokenOff

wait_for = partial(wait_for_seconds, seconds=60)  # whoever checks has the least of a busy machine
EVERY_SECOND = {"MODELBRIDGE_BOOKS_CHECK_HOURS": "0.0003"}
# Python imports this before anything else, the bridge's children too.
SLOW = """
import os, sys, time
from pathlib import Path
if "modelbridge.gateway.auditor" in sys.orig_argv:
    from modelbridge.ledger import audit
    quick, hold = audit.check_books, Path({hold!r})
    def slow(session, rest):
        while hold.exists():
            Path(f"{{hold}}.{{os.getpid()}}").touch()
            time.sleep(0.02)
        return quick(session, rest)
    audit.check_books = slow
"""


class Checked:
    """A bridge whose checks can be held up."""

    def __init__(self, bridge: RunningBridge, hold: Path) -> None:
        self.bridge, self.hold = bridge, hold

    def checks(self) -> list[dict[str, Any]]:
        """What was found, the newest first."""
        return self.bridge.rows("SELECT ok, problems FROM books_checks ORDER BY at DESC")

    def hold_one_up(self) -> int:
        """A check is in its midst, in that process."""
        self.hold.touch()
        held: Path = wait_for(lambda: next(self.hold.parent.glob("hold.*"), None))
        return int(held.suffix[1:])

    def write(self, statement: str) -> None:
        """Somebody changes the file by hand."""
        path = self.bridge.data_dir / "modelbridge.db"
        with closing(sqlite3.connect(path, timeout=20)) as connection, connection:
            connection.execute(statement)


def holding_up(folder: Path) -> tuple[Path, dict[str, str]]:
    """While that file is there, checks of whoever has that environment go on."""
    hold = folder / "hold"
    (folder / "sitecustomize.py").write_text(SLOW.format(hold=str(hold)))
    return hold, {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}


@contextmanager
def checked(folder: Path) -> Iterator[Checked]:
    hold, environ = holding_up(folder)
    with RunningBridge.start(folder, **environ, **EVERY_SECOND) as bridge:
        set_up(bridge)
        yield Checked(bridge, hold)


def is_gone(pid: int) -> Callable[[], bool]:
    """Not even a zombie is left."""
    return lambda: not Path(f"/proc/{pid}").exists()


def ready(bridge: RunningBridge) -> tuple[int, list[str]]:
    answer = requests.get(f"{bridge.url}/readyz", timeout=10)
    return answer.status_code, [one["code"] for one in answer.json().get("reasons", [])]


def test_a_fault_in_the_books_is_found_and_told_and_over_once_it_is_mended(tmp_path: Path) -> None:
    with checked(tmp_path) as it:
        wait_for(lambda: [one["ok"] for one in it.checks()][:1] == [1])
        it.write("UPDATE accounts SET balance_nanos = balance_nanos + 1")
        wait_for(lambda: ready(it.bridge) == (503, ["books"]))
        told = json.loads(it.bridge.flask_done("books", "check", "--json").stdout)["problems"]
        assert "is not the sum of its transactions" in told[0]
        assert json.loads(it.checks()[0]["problems"]) == told
        assert f"ERROR modelbridge.gateway: the books do NOT add up: {told[0]}" in it.bridge.log
        metrics = requests.get(f"{it.bridge.url}/metrics", timeout=10).text
        assert "modelbridge_books_ok 0.0" in metrics
        it.write("UPDATE accounts SET balance_nanos = balance_nanos - 1")
        wait_for(lambda: ready(it.bridge) == (200, []))


def test_whoever_checks_gives_way_to_calls(tmp_path: Path) -> None:
    with checked(tmp_path) as it:
        child, server = it.hold_one_up(), it.bridge.process.pid
        assert os.getpriority(os.PRIO_PROCESS, child) == auditor.NICE
        assert os.getpriority(os.PRIO_PROCESS, server) == os.getpriority(os.PRIO_PROCESS, 0)
        if len(os.sched_getaffinity(0)) > 1:
            assert os.sched_getaffinity(child) == (
                os.sched_getaffinity(0) - os.sched_getaffinity(server)
            )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_does_not_wait_for_a_check(tmp_path: Path, number: signal.Signals) -> None:
    """Who stops a whole group of processes, as systemd does, sends the signal to each of them."""
    with checked(tmp_path) as it:
        child, seen = it.hold_one_up(), len(it.checks())
        os.kill(child, number)
        time.sleep(0.2)
        assert not is_gone(child)()
        begun = time.monotonic()
        it.bridge.process.send_signal(number)
        assert it.bridge.process.wait(timeout=20) == 0
        assert time.monotonic() - begun < 5
        wait_for(is_gone(child))
        assert len(it.checks()) == seen
        assert "check" not in it.bridge.log
        assert "Traceback" not in it.bridge.log


def test_a_bridge_that_is_killed_leaves_nobody_behind(tmp_path: Path) -> None:
    with checked(tmp_path) as it:
        child = it.hold_one_up()
        it.bridge.process.kill()
        wait_for(is_gone(child))


def test_a_check_that_is_killed_has_failed_and_is_made_again(tmp_path: Path) -> None:
    with checked(tmp_path) as it:
        child, seen = it.hold_one_up(), len(it.checks())
        os.kill(child, signal.SIGKILL)
        failed = (
            "ERROR modelbridge.gateway: the check of the books failed, its process ended with -9"
        )
        wait_for(lambda: failed in it.bridge.log)
        assert "a check of the books came to nothing" in it.bridge.log
        wait_for(is_gone(child))
        assert len(it.checks()) == seen
        it.hold.unlink()
        wait_for(lambda: len(it.checks()) > seen)
        assert it.checks()[0]["ok"] == 1
        assert requests.get(f"{it.bridge.url}/readyz", timeout=10).status_code == 200


def test_an_audit_that_breaks_off_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "empty.db").touch()
    with pytest.raises(BrokenOff, match="the log says why"):
        Auditor().audit(tmp_path / "empty.db")
    (line,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "its process ended with 1: " in line.getMessage()
    assert "no such table: accounts" in line.getMessage()


def test_whoever_asks_for_a_check_that_breaks_off_is_told_so_on_the_same_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with world_in(tmp_path) as world:
        world.person("alice@example.com", name="Alice", is_admin=True)
        browser = world.browser("alice@example.com")
        token = hidden_fields(browser.get("/admin").text)["csrf_token"]
        assert browser.post("/admin/books/check", csrf_token=token).status_code == 303
        page = browser.get("/admin").text
        assert "The check of the books broke off: the log says why." in page
        assert "Not checked yet" in page
        monkeypatch.undo()
        monkeypatch.setattr(state, "PATIENCE_SECONDS", 60.0)  # a busy machine takes long for it
        assert "The latest check came to nothing" in browser.get("/admin").text  # not once alone
        browser.post("/admin/books/check", csrf_token=token)
        page = browser.get("/admin").text
        assert "They add up" in page
        assert "came to nothing" not in page


def test_whoever_asks_for_a_check_that_takes_long_need_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks again meanwhile starts no second one."""
    hold, environ = holding_up(tmp_path)
    monkeypatch.setenv("PYTHONPATH", environ["PYTHONPATH"])
    monkeypatch.setattr(state, "PATIENCE_SECONDS", 0.1)
    hold.touch()
    with world_in(tmp_path) as world:
        world.person("alice@example.com", name="Alice", is_admin=True)
        browser = world.browser("alice@example.com")
        token = hidden_fields(browser.get("/admin").text)["csrf_token"]
        for _ in range(2):
            assert browser.post("/admin/books/check", csrf_token=token).status_code == 303
            page = browser.get("/admin").text
            assert "The check goes on: books of this size take a while." in page
            assert "A check is under way, begun" in page
            assert "Look again" in page
            assert "Check now" not in page
        hold.unlink()
        wait_for(lambda: "They add up" in browser.get("/admin").text)
        page = browser.get("/admin").text
        assert "under way" not in page
        assert "Check now" in page
        assert "The last check<" in page


def test_what_goes_wrong_with_a_check_that_nobody_waits_for_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hold, environ = holding_up(tmp_path)
    monkeypatch.setenv("PYTHONPATH", environ["PYTHONPATH"])
    hold.touch()
    with world_in(tmp_path) as world:
        assert world.bridge.books_clock.ask(seconds=0.1) is None
        be_impatient(world.bridge.database)
        with locked_by_another_process(world.bridge.database.path):
            hold.unlink()
            wait_for(lambda: "came to nothing" in caplog.text)
        assert "a check of the books came to nothing" in caplog.text
        assert "database is locked" in caplog.text
        outcome = world.bridge.books_clock.ask(seconds=60)
        assert outcome is not None
        assert outcome.ok


def test_a_fault_of_our_own_in_a_check_is_an_error_with_its_trace_and_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Event()

    def fail(auditor: Auditor, path: Path) -> None:
        gate.wait(60)
        raise LookupError("a fault")

    monkeypatch.setattr(Auditor, "audit", fail)
    with world_in(tmp_path) as world:
        world.person("alice@example.com", name="Alice", is_admin=True)
        browser = world.browser("alice@example.com")
        assert world.bridge.books_clock.ask(seconds=0.1) is None
        gate.set()
        wait_for(lambda: "came to nothing: a fault" in caplog.text)
        page = browser.get("/admin").text
        assert "The latest check came to nothing" in page
        assert "Something went wrong in the check itself: the log says what." in page
        (line,) = [one for one in caplog.records if "came to nothing" in one.getMessage()]
        assert line.levelno == logging.ERROR
        assert line.exc_info


def test_whoever_asks_for_a_check_while_the_bridge_stops_is_told_so(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        world.person("alice@example.com", name="Alice", is_admin=True)
        browser = world.browser("alice@example.com")
        token = hidden_fields(browser.get("/admin").text)["csrf_token"]
        world.bridge.auditor.stop()
        page = browser.post("/admin/books/check", csrf_token=token)
        assert (page.status_code, page.headers["Retry-After"]) == (503, "60")
        assert "The bridge is about to stop" in page.text
        assert "Not checked yet" in browser.get("/admin").text
