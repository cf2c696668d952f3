"""The state of the bridge, its settings, open registration, and what people say of the docs."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
import time_machine
from dashboard_world import PASSWORD, Browser, World, hidden_fields, world_in
from faulty import be_impatient, locked_by_another_process
from people import wait_for
from sqlalchemy import select, text

from bench import seed_calls
from modelbridge import clock
from modelbridge.dashboard.admin import state
from modelbridge.dashboard.docs.pages import TITLES
from modelbridge.gateway import books
from modelbridge.gateway.books import BooksClock
from modelbridge.identity import preferences, users
from modelbridge.ledger import postings
from modelbridge.money import format_amount
from modelbridge.store.tables import BooksCheck, Feedback, Hold, Shortfall, User

ALICE, BOB = "alice@example.com", "bob@example.com"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(state, "PATIENCE_SECONDS", 60.0)  # a busy machine takes long for a check
    with world_in(tmp_path) as world:
        yield world


@pytest.fixture
def alice(world: World) -> User:
    return world.person(ALICE, name="Alice", is_admin=True)


@pytest.fixture
def browser(world: World, alice: User) -> Browser:
    return world.browser(ALICE)


def press(browser: Browser, path: str) -> str:
    """What the page says after its button was pressed."""
    token = hidden_fields(browser.get("/admin").text)["csrf_token"]
    return unescape(browser.get(browser.post(path, csrf_token=token).location).text)


def checks(world: World) -> list[BooksCheck]:
    with world.bridge.database.reading() as session:
        return books.latest(session, 100)


def test_a_database_that_cannot_be_written_is_told_as_such_and_not_as_our_fault(
    world: World, browser: Browser
) -> None:
    token = hidden_fields(browser.get("/admin").text)["csrf_token"]
    be_impatient(world.bridge.database)
    with locked_by_another_process(world.bridge.database.path):
        page = browser.post("/admin/books/check", csrf_token=token)
        assert (page.status_code, page.headers["Retry-After"]) == (503, "2")
        assert "The database cannot be written just now (database is locked)" in page.text
        assert browser.get("/admin").status_code == 200
    assert "The books add up." in press(browser, "/admin/books/check")


# The books


def test_the_books_are_checked_when_somebody_asks(world: World, browser: Browser) -> None:
    assert "Not checked yet" in browser.get("/admin").text
    page = press(browser, "/admin/books/check")
    assert "The books add up." in page
    assert "They add up" in page
    assert [row.ok for row in checks(world)] == [True]


def test_shortfalls_of_any_size_are_added_up(world: World) -> None:
    """An upstream may report 2^53 tokens as often as it likes: the state must still be shown."""
    seed_calls.seed(world.bridge, 100)
    browser = world.browser("ada@example.com")
    press(browser, "/admin/books/check")
    most = 2**63 - 1
    with world.transaction() as session:
        session.add_all(
            Shortfall(id=f"s_{hold_id}", hold_id=hold_id, amount_nanos=most, created_at=clock.now())
            for hold_id in session.scalars(select(Hold.id).limit(3)).all()
        )
    told = f"<dt>Shortfalls so far</dt><dd>3: AUD\N{NO-BREAK SPACE}{format_amount(3 * most)}</dd>"
    assert told in browser.get("/admin").text


def test_books_that_do_not_add_up_are_shown_with_what_is_wrong(
    world: World, browser: Browser, alice: User
) -> None:
    with world.transaction() as session:
        postings.top_up(session, alice.account_id, 5_000_000_000)
        session.execute(text("UPDATE accounts SET balance_nanos = 7"))
    page = press(browser, "/admin/books/check")
    assert "They do NOT add up" in page
    assert f"{alice.account_id}: balance 7 is not the sum" in page
    with world.transaction() as session:
        session.execute(text("UPDATE accounts SET balance_nanos = 5000000000"))


def test_a_running_bridge_checks_the_books_by_itself(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "LOOK_SECONDS", 0.01)
    watch = BooksClock(world.bridge.database, 6, world.bridge.auditor)
    watch.start()
    try:
        wait_for(lambda: len(checks(world)) == 1)
        with time_machine.travel(clock.now() + timedelta(hours=6, minutes=1)):
            wait_for(lambda: len(checks(world)) == 2)
    finally:
        watch.stop()


def test_no_hours_means_no_checks(world: World) -> None:
    watch = BooksClock(world.bridge.database, 0, world.bridge.auditor)
    before = threading.active_count()
    watch.start()
    assert threading.active_count() == before
    watch.stop()


# The upstreams


def test_each_upstreams_state_is_told(world: World, browser: Browser) -> None:
    for name in ("works", "rests", "fails", "idles"):
        browser.submit(
            "/admin/upstreams/new", provider="openai", name=name, base_url="", credential="sk"
        )
    health = world.bridge.gateway.health
    ids = {}
    with world.bridge.database.reading() as session:
        for row in session.execute(text("SELECT name, id FROM upstreams")):
            ids[row[0]] = row[1]
    health.worked(ids["works"])
    health.failed(ids["rests"], 60)
    health.failed(ids["fails"], 0)
    page = browser.get("/admin").text
    assert all(word in page for word in ("Working", "Resting", "Failing", "Not called yet"))


# The settings


def test_settings_are_kept_and_obeyed(world: World, browser: Browser) -> None:
    browser.submit("/admin/settings", registration="closed", time_zone="Europe/Berlin")
    with world.bridge.database.reading() as session:
        assert preferences.registration(session) == "closed"
    browser.submit("/admin/users/new", email=BOB)
    with world.bridge.database.reading() as session:
        bob = users.find_user(session, BOB)
        assert bob is not None
        assert bob.account.time_zone == "Europe/Berlin"
    page = browser.get("/admin/settings").text
    assert 'value="Europe/Berlin"' in page


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("time_zone", "Mars/Olympus", "is not a time zone"),
        ("time_zone", "../etc/passwd", "is not a time zone"),
        ("registration", "sometimes", "Not a valid choice"),
    ],
)
def test_an_impossible_setting_is_refused(
    world: World, browser: Browser, field: str, value: str, words: str
) -> None:
    fields = {"registration": "open", "time_zone": "UTC"} | {field: value}
    answer = browser.submit("/admin/settings", **fields)
    assert answer.status_code == 400
    assert words in unescape(answer.text)
    with world.bridge.database.reading() as session:
        assert preferences.registration(session) == "invitation"


# Registration


def register(browser: Browser, email: str = BOB, **fields: str) -> int:
    wanted = {"name": "Bob", "password": PASSWORD} | fields
    return browser.submit("/register", email=email, **wanted).status_code


def open_registration(world: World) -> None:
    with world.transaction() as session:
        preferences.set_registration(session, "open")


@pytest.mark.parametrize("setting", ["invitation", "closed"])
def test_nobody_registers_unless_it_is_open(world: World, alice: User, setting: str) -> None:
    with world.transaction() as session:
        preferences.set_registration(session, setting)
    assert world.browser().get("/register").status_code == 404
    assert "register" not in world.browser().get("/login").text.lower()


def test_anybody_registers_while_it_is_open(world: World, alice: User) -> None:
    open_registration(world)
    bob = world.browser()
    assert "/register" in bob.get("/login").text
    assert register(bob) == 303
    assert bob.is_logged_in()
    assert bob.get("/admin").status_code == 404
    assert register(world.browser(), email="BOB@example.com") == 400
    assert register(world.browser(), email="c@example.com", password="short") == 400


def test_an_open_bridge_without_an_administrator_still_wants_the_set_up(world: World) -> None:
    open_registration(world)
    assert world.browser().get("/register").status_code == 404


def test_registrations_from_one_address_are_slowed_down(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelbridge.identity.passwords.hash_password", lambda _: "x")
    open_registration(world)
    outcomes = [register(world.browser(), f"p{number}@example.com") for number in range(12)]
    assert outcomes[:10] == [303] * 10
    assert outcomes[-1] == 429
    assert register(world.browser(address="192.0.2.9"), "other@example.com") == 303


# Feedback


def test_an_answer_about_the_docs_reaches_the_administrators(
    world: World, browser: Browser
) -> None:
    world.person(BOB)
    bob = world.browser(BOB)
    for page in TITLES:
        bob.submit(
            f"/docs/{page}", to=f"/docs/{page}/feedback", helpful="no", comment="<b>unclear</b>"
        )
    page = browser.get("/admin/feedback").text
    assert page.count("&lt;b&gt;unclear&lt;/b&gt;") == len(TITLES)
    assert BOB in page
    assert "0 yes, 1 no" in page
    assert bob.get("/admin/feedback").status_code == 404


@pytest.mark.parametrize(
    "fields", [{}, {"helpful": "perhaps"}, {"helpful": "yes", "comment": "x" * 2001}]
)
def test_an_answer_that_is_none_is_refused(
    world: World, browser: Browser, fields: dict[str, str]
) -> None:
    answer = browser.submit("/docs/errors", to="/docs/errors/feedback", **fields)
    assert answer.status_code == 400
    with world.bridge.database.reading() as session:
        assert session.query(Feedback).count() == 0


def test_there_is_no_feedback_on_pages_that_are_none(browser: Browser) -> None:
    answer = browser.submit("/docs/errors", to="/docs/nonsense/feedback", helpful="yes")
    assert answer.status_code == 404
