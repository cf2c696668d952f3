"""Every page, in both themes and at both widths: nothing sticks out, axe finds nothing to mend.

The screenshots land in build/screenshots, for people to look at.
"""

from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from dashboard_world import PASSWORD
from flask import abort
from people import wait_for
from playwright.sync_api import Page

from browser.axe import look
from browser.conftest import ServedWorld
from modelbridge import clock
from modelbridge.catalog import admin
from modelbridge.dashboard.admin import state
from modelbridge.gateway.auditor import Auditor
from modelbridge.identity import keys
from modelbridge.ledger import postings
from modelbridge.ledger.audit import BooksReport
from modelbridge.ledger.windows import window_start
from modelbridge.money import NANOS
from modelbridge.store.tables import ApiKey, Spending, User

ERRORS = (400, 403, 404, 405, 413, 429, 500, 503)


@pytest.fixture
def alice(served_world: ServedWorld) -> User:
    return served_world.world.person("alice@example.com", name="Alice Archer", is_admin=True)


def log_in(page: Page, served_world: ServedWorld) -> None:
    page.goto(f"{served_world.url}/login")
    page.fill("#email", "alice@example.com")
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{served_world.url}/")
    page.goto(f"{served_world.url}/keys")


def furnish(served_world: ServedWorld, alice: User) -> None:
    """A bridge that is in use: an upstream, money, and keys in every state."""
    world, now = served_world.world, clock.now()
    with world.transaction() as session:
        admin.add_upstream(
            session,
            name="openai",
            provider="openai",
            base_url=None,
            allow_private=True,
            sealed_credential=lambda _: "sealed",
        )
        postings.top_up(session, alice.account_id, 18_765_432_109)
    old = world.key(alice, "Hackathon")
    batch = world.key(alice, "Overnight batch", limit_nanos=5 * NANOS)
    ci = world.key(alice, "CI", test=True)
    reports = world.key(
        alice,
        "Reports for the finance team",
        limit_nanos=2 * NANOS,
        window="day",
        models=["gpt-5.4", "claude-sonnet-4-6"],
    )
    laptop = world.key(alice, "Laptop", expires_at=now + timedelta(days=30, hours=1))
    revoked = [world.key(alice, name) for name in ("Lost laptop", "Leaked")]
    today = window_start("day", "Australia/Sydney", now)
    with world.transaction() as session:
        for key, start, spent in (
            (reports, today, 1_234_567_891),
            (batch, 0, 5 * NANOS),
            (laptop, 0, 31_000),
        ):
            session.add(
                Spending(subject_id=key.id, window_start=start, spent_nanos=spent, held_nanos=0)
            )
        for key, days_old, hours_idle in (
            (laptop, 2, 1), (reports, 21, 3), (ci, 40, 27), (batch, 55, 50), (old, 90, 1000),
        ):  # fmt: skip
            row = session.get_one(ApiKey, key.id)
            row.created_at = now - timedelta(days=days_old, hours=1)
            row.last_used_at = now - timedelta(hours=hours_idle, minutes=1)
        session.get_one(ApiKey, old.id).expires_at = now - timedelta(days=40)
        for key in revoked:
            keys.revoke(session, session.get_one(ApiKey, key.id))


def test_the_doors(page: Page, served_world: ServedWorld) -> None:
    world, url = served_world.world, served_world.url
    page.goto(f"{url}/login")
    look(page, "login-new-bridge")
    page.goto(url + world.link("setup"))
    look(page, "setup")
    page.fill("#name", "Alice Archer")
    page.fill("#email", "alice")
    page.fill("#password", "password1234")
    page.click("button[type=submit]")
    look(page, "setup-refused")
    alice = world.person("alice@example.com", is_admin=True)
    page.goto(f"{url}/setup/unknown")
    look(page, "setup-gone")
    page.goto(f"{url}/reset/unknown")
    look(page, "reset-gone")
    page.goto(url + world.link("reset", alice))
    look(page, "reset")
    page.goto(f"{url}/login")
    look(page, "login")
    page.fill("#email", "alice@example.com")
    page.fill("#password", "wrong")
    page.click("button[type=submit]")
    look(page, "login-refused")


def test_the_keys_of_somebody_who_has_none(
    page: Page, served_world: ServedWorld, alice: User
) -> None:
    log_in(page, served_world)
    look(page, "keys-empty")
    page.goto(f"{served_world.url}/keys/new")
    look(page, "key-new")
    page.fill("#limit", "five")
    page.select_option("#expires", "date")
    page.click("button[type=submit]:has-text('Create key')")
    look(page, "key-refused")
    page.fill("#name", "Laptop")
    page.fill("#limit", "5")
    page.select_option("#window", "month")
    page.select_option("#expires", "30")
    page.click("button[type=submit]:has-text('Create key')")
    look(page, "key-shown")
    page.click("text=I have copied it")
    look(page, "keys-one")
    page.click("button[title='Log out']")
    look(page, "logged-out")


def test_the_keys_of_somebody_who_has_many(
    page: Page, served_world: ServedWorld, alice: User
) -> None:
    furnish(served_world, alice)
    log_in(page, served_world)
    look(page, "keys")
    page.click("summary")
    look(page, "keys-with-revoked")
    page.locator("a[data-confirm]").first.click()
    look(page, "key-confirm", whole=False)
    page.keyboard.press("Escape")
    page.goto(served_world.url + str(page.locator("a[data-confirm]").first.get_attribute("href")))
    look(page, "key-revoke")


def test_the_menu_of_a_phone(page: Page, served_world: ServedWorld, alice: User) -> None:
    log_in(page, served_world)
    page.set_viewport_size({"width": 360, "height": 740})
    menu = page.get_by_role("button", name="Menu")
    assert menu.get_attribute("aria-expanded") == "false"
    assert not page.get_by_role("link", name="API keys", exact=True).is_visible()
    menu.click()
    assert menu.get_attribute("aria-expanded") == "true"
    assert page.get_by_role("link", name="API keys", exact=True).is_visible()
    look(page, "menu", whole=False)


def test_a_check_of_the_books_that_takes_long(
    page: Page, served_world: ServedWorld, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, audit = Event(), Auditor.audit

    def slowly(auditor: Auditor, path: Path) -> BooksReport:
        gate.wait(60)
        return audit(auditor, path)

    monkeypatch.setattr(Auditor, "audit", slowly)
    monkeypatch.setattr(state, "PATIENCE_SECONDS", 0.1)

    log_in(page, served_world)
    page.goto(f"{served_world.url}/admin")
    page.get_by_role("button", name="Check now").click()
    page.get_by_text("The check goes on").wait_for()
    look(page, "books-being-checked")
    gate.set()
    clock = served_world.world.bridge.books_clock
    wait_for(lambda: (last := clock.last_run()) is not None and not last.under_way)
    page.get_by_role("link", name="Look again").click()
    page.get_by_role("button", name="Check now").wait_for()
    assert page.get_by_text("They add up").is_visible()

    monkeypatch.setattr("sys.executable", "/bin/false")
    page.get_by_role("button", name="Check now").click()
    page.get_by_text("The latest check came to nothing").wait_for()
    look(page, "books-check-broke-off")


def test_what_went_wrong(page: Page, served_world: ServedWorld, alice: User) -> None:
    served_world.world.app.add_url_rule("/fail/<int:status>", "fail", lambda status: abort(status))
    log_in(page, served_world)
    for status in ERRORS:
        page.goto(f"{served_world.url}/fail/{status}")
        look(page, f"error-{status}")


def test_screenshots_are_kept_out_of_the_repository() -> None:
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
    assert "build/" in ignored
