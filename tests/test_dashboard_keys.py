"""The personal keys page: made, shown once, listed, revoked; and nobody else's."""

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import time_machine
from dashboard_world import Browser, World, hidden_fields, world_in

from modelbridge import clock, ids
from modelbridge.identity import keys, teams
from modelbridge.ledger import accounts, postings
from modelbridge.ledger.windows import window_start
from modelbridge.money import NANOS
from modelbridge.store.tables import Account, ApiKey, Spending, User

ALICE, CHARLIE = "alice@example.com", "charlie@example.com"
_KEY = re.compile(ids.KEY_PATTERN)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path, MODELBRIDGE_PUBLIC_URL="http://bridge.test:8000") as world:
        yield world


@pytest.fixture
def alice(world: World) -> User:
    return world.person(ALICE, name="Alice", is_admin=True)


@pytest.fixture
def browser(world: World, alice: User) -> Browser:
    return world.browser(ALICE)


def create(browser: Browser, **fields: str) -> str:
    """Fills in the form for a new key; returns the page that comes back."""
    wanted = {"name": "Laptop", "mode": "live", "window": "none", "expires": "never"}
    return browser.submit("/keys/new", **{**wanted, **fields}).text


def spend(world: World, key: ApiKey, spent_nanos: int, held_nanos: int = 0) -> None:
    with world.transaction() as session:
        start = window_start(key.limit_window, "Australia/Sydney", clock.now())
        session.add(
            Spending(
                subject_id=key.id,
                window_start=start,
                spent_nanos=spent_nanos,
                held_nanos=held_nanos,
            )
        )


def row_of(page: str, name: str) -> str:
    """The row of the key of that name, as words."""
    rows = re.findall(r"<tr role=\"row\">(.*?)</tr>", page, re.DOTALL)
    row = next(row for row in rows if name in row)
    return " ".join(re.sub(r"<[^>]+>", " ", row).replace("\N{NO-BREAK SPACE}", " ").split())


def test_with_no_keys_the_page_says_what_to_do_first(browser: Browser) -> None:
    page = browser.get("/keys").text
    assert "No keys yet" in page
    assert "Create your first key" in page
    assert "http://bridge.test:8000/v1" in page


def test_a_new_key_is_shown_once_and_works_for_its_hash_alone(
    world: World, alice: User, browser: Browser
) -> None:
    page = create(browser)
    secret = _KEY.findall(page)[0]
    assert set(_KEY.findall(page)) == {secret}
    (row,) = world.keys_of(alice)
    assert row.sha256 == ids.sha256_hex(secret)
    assert row.account_id == alice.account_id
    for path in ("/keys", "/keys/new", f"/keys/{row.id}/revoke"):
        assert secret not in browser.get(path).text
    for file in world.bridge.settings.data_dir.glob("modelbridge.db*"):
        assert secret.encode() not in file.read_bytes()


def test_the_page_with_the_key_is_not_kept_by_any_cache(browser: Browser) -> None:
    answer = browser.submit("/keys/new", name="Laptop", mode="live", expires="never")
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_page_with_the_key_has_code_to_copy_that_is_true_of_this_bridge(
    browser: Browser,
) -> None:
    page = create(browser, mode="test")
    secret = _KEY.findall(page)[0]
    code = dict(re.findall(r'<code id="(\w+)">(.*?)</code>', page, re.DOTALL))
    code = {name: text.replace("&#34;", '"').replace("&#39;", "'") for name, text in code.items()}
    assert f'export OPENAI_API_KEY="{secret}"' in code["environment"]
    assert 'export OPENAI_BASE_URL="http://bridge.test:8000/v1"' in code["environment"]
    words = shlex.split(code["curl"].replace("\\\n", " "))
    assert words[:2] == ["curl", "http://bridge.test:8000/v1/chat/completions"]
    assert f"Authorization: Bearer {secret}" in words
    compile(code["python"], "example", "exec")
    for name in ("new-key", "environment", "curl", "python"):
        assert f'data-copy="#{name}"' in page


def test_reloading_the_page_with_the_key_makes_no_second_one(
    world: World, alice: User, browser: Browser
) -> None:
    fields = hidden_fields(browser.get("/keys/new").text)
    sent = {**fields, "name": "Laptop", "mode": "live", "expires": "never", "window": "none"}
    first = browser.post("/keys/new", **sent)
    assert first.status_code == 200
    again = browser.post("/keys/new", **sent)
    assert (again.status_code, again.location) == (303, "/keys")
    page = browser.get("/keys").text
    assert "was created already" in page
    assert _KEY.findall(page) == []
    assert len(world.keys_of(alice)) == 1
    create(browser, name="Another")
    assert len(world.keys_of(alice)) == 2


def test_what_the_form_says_is_what_the_key_gets(
    world: World, alice: User, browser: Browser
) -> None:
    page = create(
        browser,
        name="  Nightly reports ",
        mode="live",
        limit="0.000000031",
        window="month",
        expires="30",
        models="gpt-5.4, claude-sonnet-4-6,,gpt-5.4",
    )
    assert "AUD\N{NO-BREAK SPACE}0.000000031 per month" in page
    (key,) = world.keys_of(alice)
    assert key.name == "Nightly reports"
    assert (key.mode, key.limit_nanos, key.limit_window) == ("live", 31, "month")
    assert key.models == ["gpt-5.4", "claude-sonnet-4-6"]
    sydney = ZoneInfo("Australia/Sydney")
    last_day = clock.now().astimezone(sydney).date() + timedelta(days=30)
    assert key.expires_at is not None
    end = key.expires_at.astimezone(sydney)
    assert (end.date(), end.strftime("%H:%M:%S")) == (last_day, "23:59:59")


def test_an_expiry_given_as_a_day_is_the_end_of_it_where_the_account_is(
    world: World, alice: User, browser: Browser
) -> None:
    with world.transaction() as session:
        session.get_one(Account, alice.account_id).time_zone = "America/New_York"
    with time_machine.travel(datetime(2026, 11, 24, 3, 0, tzinfo=UTC)):  # still the 23rd there
        browser = world.browser(ALICE)
        page = create(browser, expires="date", expires_on="2026-11-23")
        assert "23 Nov 2026, 23:59 EST" in page
        (key,) = world.keys_of(alice)
        assert key.expires_at == datetime(2026, 11, 24, 4, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"name": ""}, "Give the key a name."),
        ({"name": "x" * 101}, "1 to 100 characters"),
        ({"limit": "five"}, "Enter an amount in AUD such as 5 or 12.50"),
        ({"limit": "-5"}, "Enter an amount in AUD such as 5 or 12.50"),
        ({"limit": "1e3"}, "Enter an amount in AUD such as 5 or 12.50"),
        ({"limit": "1_000"}, "Enter an amount in AUD such as 5 or 12.50"),
        ({"limit": "٥"}, "Enter an amount in AUD such as 5 or 12.50"),
        ({"limit": "NaN"}, "Enter an amount in AUD such as 5 or 12.50"),
        ({"limit": "0.0000000001"}, "more than nine decimals"),
        ({"limit": "9" * 30}, "out of range"),
        ({"window": "month"}, "Means nothing without a limit"),
        ({"window": "year"}, "Not a valid choice"),
        ({"mode": "free"}, "Not a valid choice"),
        ({"expires": "date"}, "Choose the day."),
        ({"expires": "date", "expires_on": "2020-01-01"}, "That day is over"),
        ({"expires": "date", "expires_on": "tomorrow"}, "Not a valid date value"),
        ({"models": "has a blank"}, "cannot be a model"),
    ],
)
def test_a_refused_form_keeps_what_was_typed_and_says_what_is_wrong_beside_it(
    world: World, alice: User, browser: Browser, fields: dict[str, str], complaint: str
) -> None:
    typed = {"name": "Kept name", "limit": "", "models": "", **fields}
    wanted = {"mode": "live", "window": "none", "expires": "never", **typed}
    answer = browser.submit("/keys/new", **wanted)
    assert answer.status_code == 400
    assert complaint in answer.text
    assert world.keys_of(alice) == []
    for value in (typed["name"], typed["limit"], typed["models"]):
        assert f'value="{value}"' in answer.text


def test_two_faults_are_both_named_at_once(browser: Browser) -> None:
    page = create(browser, name="", limit="five", expires="date")
    for complaint in ("Give the key a name.", "Enter an amount in AUD", "Choose the day."):
        assert complaint in page


def test_fields_that_the_form_does_not_have_are_ignored(
    world: World, alice: User, browser: Browser
) -> None:
    charlie = world.person(CHARLIE)
    create(browser, user_id=charlie.id, account_id=charlie.account_id, spent="0", revoked_at="1")
    (key,) = world.keys_of(alice)
    assert (key.user_id, key.account_id, key.revoked_at) == (alice.id, alice.account_id, None)
    assert world.keys_of(charlie) == []


def test_the_list_shows_what_each_key_is_and_spent(
    world: World, alice: User, browser: Browser
) -> None:
    now = clock.now()
    reports = world.key(alice, "Reports", limit_nanos=2 * NANOS, window="day", models=["gpt-5.4"])
    spend(world, reports, 31_000, held_nanos=7)
    spend(world, world.key(alice, "Batch", limit_nanos=NANOS), NANOS)
    world.key(alice, "CI", test=True)
    old = world.key(alice, "Old")
    with world.transaction() as session:
        row = session.get_one(ApiKey, old.id)
        row.expires_at = now - timedelta(days=2, minutes=1)
        row.last_used_at = now - timedelta(hours=3, minutes=1)
    page = browser.get("/keys").text
    hint = f"{reports.prefix}…{reports.last4}"
    assert row_of(page, "Reports").startswith(f"Reports Live gpt-5.4 only {hint} Active")
    assert "AUD 0.000031 of AUD 2.00 today AUD 0.000000007 held" in row_of(page, "Reports")
    assert "Limit reached AUD 1.00 of AUD 1.00 in total" in row_of(page, "Batch")
    assert "Test" in row_of(page, "CI")
    assert "Active Free Never Never just now" in row_of(page, "CI")
    assert "Expired AUD 0.00 no limit 2 days ago 3 hours ago" in row_of(page, "Old")
    assert re.search(r'title="\d+ \w+ \d{4}, \d\d:\d\d AE[DS]T"', page)


def test_what_is_left_of_the_balance_is_told(world: World, alice: User, browser: Browser) -> None:
    with world.transaction() as session:
        postings.top_up(session, alice.account_id, 12_345_000_000)
    assert "AUD\N{NO-BREAK SPACE}12.345" in browser.get("/keys").text


def test_the_first_steps_tick_off_what_is_done(world: World, alice: User, browser: Browser) -> None:
    page = browser.get("/keys").text
    assert "First live call" in page
    assert "Top it up" in page
    assert page.count("(done)") == 0
    with world.transaction() as session:
        postings.top_up(session, alice.account_id, NANOS)
    world.key(alice)
    page = browser.get("/keys").text
    assert "Top it up" not in page
    assert page.count("(done)") == 2


def test_whoever_is_no_administrator_is_told_whom_to_ask(world: World, alice: User) -> None:
    world.person(CHARLIE)
    page = world.browser(CHARLIE).get("/keys").text
    assert "Connect one" not in page
    assert "Ask an administrator" in page


def test_revoking_asks_first_and_names_the_key(world: World, alice: User, browser: Browser) -> None:
    key = world.key(alice)
    path = f"/keys/{key.id}/revoke"
    asked = browser.get(path)
    assert "Revoke “Laptop”?" in asked.text
    assert keys.hint(key) in asked.text
    assert "401" in asked.text
    assert world.keys_of(alice)[0].revoked_at is None
    assert browser.submit(path).location == "/keys"
    assert world.keys_of(alice)[0].revoked_at is not None
    page = browser.get("/keys").text
    assert "is revoked" in page
    assert "Revoked keys (1)" in page
    assert "No working keys" in page


def test_a_revoked_key_stays_revoked_since_the_first_time(
    world: World, alice: User, browser: Browser
) -> None:
    key = world.key(alice)
    path = f"/keys/{key.id}/revoke"
    browser.submit(path)
    first = world.keys_of(alice)[0].revoked_at
    assert "revoked already" in browser.get(path).text
    browser.submit("/keys", to=path)
    assert "had been revoked before" in browser.get("/keys").text
    assert world.keys_of(alice)[0].revoked_at == first


def test_somebody_elses_key_is_not_there_whatever_is_tried(
    world: World, alice: User, browser: Browser
) -> None:
    charlie = world.person(CHARLIE)
    key = world.key(charlie, "Charlie's own")
    path = f"/keys/{key.id}/revoke"
    assert "Charlie" not in browser.get("/keys").text
    for method in ("GET", "HEAD"):
        assert browser.client.open(path, method=method).status_code == 404
    assert browser.submit("/keys", to=path).status_code == 404
    assert browser.submit("/keys", to="/keys/key_unknown/revoke").status_code == 404
    assert world.keys_of(charlie)[0].revoked_at is None


def test_a_key_of_a_team_is_not_among_the_personal_ones(
    world: World, alice: User, browser: Browser
) -> None:
    with world.transaction() as session:
        account = accounts.open_account(session, "team")
        owner = session.get_one(User, alice.id)
        teams.create_team(session, name="Crew", owner=owner, account_id=account.id)
    key = world.key(alice, "Crew's key", account_id=account.id)
    assert "Crew's key" not in unescape(browser.get("/keys").text)
    with world.transaction() as session:
        assert keys.get_for(session, alice.id, key.id) is None


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '" onclick="x', "{{ 7777 * 7777 }}", "%s"]
)
def test_a_name_is_text_and_nothing_else(
    world: World, alice: User, browser: Browser, name: str
) -> None:
    page = create(browser, name=name)
    (key,) = world.keys_of(alice)
    pages = [page, browser.get("/keys").text, browser.get(f"/keys/{key.id}/revoke").text]
    for text in pages:
        assert "<script>alert" not in text
        assert '" onclick="x' not in text
        assert "60481729" not in re.sub(r"[\w.-]{20,}", "", text) or "{{ 7" in text


def test_a_live_key_that_nothing_serves_yet_is_told_so(browser: Browser) -> None:
    assert "answers 404 for now" in create(browser, mode="live")
    assert "answers 404 for now" not in create(browser, mode="test")


def test_an_unknown_page_is_a_page(browser: Browser) -> None:
    answer = browser.get("/nowhere")
    assert answer.status_code == 404
    assert "There is nothing here" in answer.text
    assert answer.mimetype == "text/html"


def test_a_form_that_is_too_large_is_refused_with_a_page(browser: Browser) -> None:
    answer = browser.submit("/keys/new", name="x" * 300_000)
    assert answer.status_code == 413
    assert "too large" in answer.text


def test_a_fault_of_ours_is_a_page_without_detail_and_with_a_reference(
    world: World,
    browser: Browser,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the secret detail")

    monkeypatch.setattr(keys, "keys_of_user", broken)
    answer = browser.get("/keys")
    assert answer.status_code == 500
    assert "the secret detail" not in answer.text
    reference = re.search(r"err_\w+", answer.text)
    assert reference is not None
    assert reference[0] in caplog.text


def test_the_error_page_comes_also_when_the_database_does_not(
    world: World, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise OSError("disk I/O error")

    monkeypatch.setattr(world.bridge.database, "reading", broken)
    answer = browser.get("/keys")
    assert answer.status_code == 500
    assert "That was our fault" in answer.text


def test_what_is_wrong_under_v1_is_not_answered_with_a_page(browser: Browser) -> None:
    answer = browser.get("/v1/nowhere")
    assert answer.status_code == 404
    assert answer.mimetype == "application/json"
