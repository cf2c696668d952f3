"""The person's own page: name, address, password, time zone, limit, sessions."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine
from dashboard_world import PASSWORD, Browser, World, world_in

from modelbridge.dashboard.account.browsers import describe
from modelbridge.identity import sessions
from modelbridge.store.tables import Account, AuditEvent, LoginSession, User

ALICE, BOB = "alice@example.com", "bob@example.com"
GOOD = "wholly unrelated otters"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path) as world:
        world.person(ALICE, name="Alice")
        world.person(BOB, name="Bob")
        yield world


@pytest.fixture
def alice(world: World) -> Browser:
    return world.browser(ALICE)


def row(world: World, email: str = ALICE) -> User:
    with world.bridge.database.reading() as session:
        found: User = session.query(User).filter_by(email=email).one()
        return found


def change(browser: Browser, what: str, **fields: str) -> object:
    return browser.submit("/account", to=f"/account/{what}", **fields)


def test_the_profile_is_saved_and_times_are_shown_there(world: World) -> None:
    with time_machine.travel(datetime(2026, 1, 15, 12, tzinfo=UTC), tick=False):
        alice = world.browser(ALICE)
        world.key(row(world), expires_at=datetime(2026, 7, 1, 12, tzinfo=UTC))
        change(alice, "profile", name="Alice Archer", time_zone="Asia/Kolkata")
        assert "Alice Archer" in alice.get("/account").text
        assert "17:30 IST" in alice.get("/keys").text


@pytest.mark.parametrize(
    ("field", "value"), [("name", ""), ("name", "x" * 101), ("time_zone", "Mars/Olympus")]
)
def test_a_refused_profile_keeps_what_was_typed(
    world: World, alice: Browser, field: str, value: str
) -> None:
    fields = {"name": "Other", "time_zone": "UTC", field: value}
    answer = alice.submit("/account", to="/account/profile", **fields)
    assert answer.status_code == 400
    assert answer.text.count('aria-invalid="true"') == 1
    if field == "time_zone":
        assert 'value="Other"' in answer.text
    assert row(world).name == "Alice"


def test_another_address_needs_the_password(world: World, alice: Browser) -> None:
    answer = alice.submit(
        "/account", to="/account/email", email="new@example.com", email_password="wrong"
    )
    assert answer.status_code == 400
    assert "This is not your password." in answer.text
    assert 'value="new@example.com"' in answer.text
    change(alice, "email", email="New@Example.com", email_password=PASSWORD)
    assert row(world, "new@example.com").name == "Alice"
    assert alice.is_logged_in()
    assert world.browser().log_in("new@example.com").status_code == 303
    assert world.browser().log_in(ALICE).status_code == 401


@pytest.mark.parametrize("email", [BOB, "BOB@example.com", "nobody", ""])
def test_an_address_that_is_taken_or_none_is_refused(
    world: World, alice: Browser, email: str
) -> None:
    answer = alice.submit("/account", to="/account/email", email=email, email_password=PASSWORD)
    assert answer.status_code == 400
    assert 'id="email-error"' in answer.text
    assert row(world).name == "Alice"


def test_guesses_of_the_password_are_slowed_down(alice: Browser) -> None:
    answers = [
        alice.submit("/account", to="/account/email", email=ALICE, email_password="guess")
        for _ in range(12)
    ]
    assert answers[0].status_code == 400
    assert answers[-1].status_code == 429
    assert alice.is_logged_in()


def test_a_new_password_logs_every_other_browser_out(world: World, alice: Browser) -> None:
    phone, thief = world.browser(ALICE), alice.copy()
    answer = alice.submit(
        "/account", to="/account/password", current_password=PASSWORD, new_password=GOOD
    )
    assert answer.status_code == 303
    assert alice.is_logged_in()
    assert not phone.is_logged_in()
    assert not thief.is_logged_in()
    assert world.browser().log_in(ALICE).status_code == 401
    assert world.browser().log_in(ALICE, GOOD).status_code == 303


@pytest.mark.parametrize(
    ("current", "new", "words"),
    [
        ("wrong", GOOD, "This is not your password."),
        (PASSWORD, "short", "Too short"),
        (PASSWORD, "password12345", "Too easy to guess"),
        ("", GOOD, "Enter your present password."),
    ],
)
def test_a_refused_password_changes_nothing(
    world: World, alice: Browser, current: str, new: str, words: str
) -> None:
    phone = world.browser(ALICE)
    answer = alice.submit(
        "/account", to="/account/password", current_password=current, new_password=new
    )
    assert answer.status_code == 400
    assert words in answer.text
    assert f'value="{new}"' not in answer.text
    assert phone.is_logged_in()


def test_the_own_limit_is_set_and_taken_away(world: World, alice: Browser) -> None:
    def limit() -> tuple[int | None, str]:
        with world.bridge.database.reading() as session:
            account = session.get_one(Account, row(world).account_id)
            return account.limit_nanos, account.limit_window

    change(alice, "limit", limit="7.25", window="month")
    assert limit() == (7_250_000_000, "month")
    page = alice.get("/account").text
    assert 'value="7.25"' in page
    assert '<option selected value="month">' in page
    answer = alice.submit("/account", to="/account/limit", limit="some", window="day")
    assert answer.status_code == 400
    assert 'value="some"' in answer.text
    change(alice, "limit", limit="", window="month")
    assert limit() == (None, "none")


def handles(browser: Browser) -> list[str]:
    return re.findall(r'href="(/account/sessions/[0-9a-f]+/end)"', browser.get("/account").text)


def test_each_session_is_listed_and_can_be_ended(world: World, alice: Browser) -> None:
    phone = Browser(world.app, "198.51.100.7")
    phone.client.environ_base["HTTP_USER_AGENT"] = "Mozilla/5.0 (iPhone) Safari/604.1"
    phone.log_in(ALICE)
    page = alice.get("/account").text
    assert "Safari on iPhone" in page
    assert "198.51.100.7" in page
    assert page.count("This browser") == 1
    with world.bridge.database.reading() as session:
        found = session.query(LoginSession).filter_by(address="198.51.100.7").one()
        assert found.token_sha256 not in page
        path = f"/account/sessions/{sessions.handle(found)}/end"
    assert set(handles(alice)) == set(handles(phone))
    assert "Log out Safari on iPhone?" in alice.get(path).text
    assert phone.is_logged_in()
    alice.submit(path)
    assert not phone.is_logged_in()
    assert alice.is_logged_in()
    assert alice.get(path).status_code == 404


def test_ending_the_session_of_this_browser_logs_it_out(alice: Browser) -> None:
    (path,) = handles(alice)
    alice.submit(path)
    assert not alice.is_logged_in()


def test_all_other_sessions_end_at_once(world: World, alice: Browser) -> None:
    others = [world.browser(ALICE) for _ in range(2)]
    bob = world.browser(BOB)
    alice.submit("/account/sessions/end-others")
    assert alice.is_logged_in()
    assert bob.is_logged_in()
    assert not any(other.is_logged_in() for other in others)


def test_nobody_ends_the_sessions_of_others(world: World, alice: Browser) -> None:
    (path,) = handles(world.browser(BOB))
    assert alice.get(path).status_code == 404
    assert alice.submit("/account", to=path).status_code == 404


def test_the_audit_log_has_no_password(world: World, alice: Browser) -> None:
    change(alice, "email", email="new@example.com", email_password=PASSWORD)
    change(alice, "password", current_password=PASSWORD, new_password=GOOD)
    with world.bridge.database.reading() as session:
        events = session.query(AuditEvent).filter(AuditEvent.action.startswith("account.")).all()
    assert [event.action for event in events] == ["account.email", "account.password"]
    assert all(PASSWORD not in str(event.details) for event in events)
    assert all(GOOD not in str(event.details) for event in events)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
         "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/126.0 Safari/537.36 Edg/126.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) Version/17.5 Safari/605.1.15",
         "Safari on macOS"),
        ("Mozilla/5.0 (Linux; Android 14) Chrome/126.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "curl"),
        ("", "An unknown browser"),
        ("<script>", "An unknown browser"),
    ],
)  # fmt: skip
def test_a_browser_is_called_what_people_call_it(header: str, words: str) -> None:
    assert describe(header) == words
