"""Overview, usage, billing and receipts in a real browser, with a busy house behind them."""

import re

import pytest
import requests
from playwright.sync_api import Page, expect

from bench import seed_calls
from browser.axe import SCREENSHOTS, fits, look
from browser.conftest import Served, ServedWorld
from browser.test_first_hour import create_key, set_up
from modelbridge.ledger.audit import check_books


@pytest.fixture
def busy(served_world: ServedWorld) -> ServedWorld:
    """A year of calls of three teams."""
    seed_calls.seed(served_world.world.bridge, 6_000)
    return served_world


def log_in(page: Page, served_world: ServedWorld, name: str) -> None:
    page.goto(f"{served_world.url}/login")
    page.fill("#email", f"{name}@example.com")
    page.fill("#password", seed_calls.PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{served_world.url}/")


def test_the_seeded_books_add_up(busy: ServedWorld) -> None:
    with busy.world.bridge.database.reading() as session:
        assert check_books(session).problems == []


def test_the_pages_of_somebody_who_spends(page: Page, busy: ServedWorld) -> None:
    log_in(page, busy, "alice")
    look(page, "overview")
    page.get_by_role("navigation", name="Whose account").get_by_role("link", name="Search").click()
    expect(page.get_by_text("The team “Search”.")).to_be_visible()
    look(page, "overview-team")
    page.get_by_role("link", name="All usage").click()
    look(page, "usage")
    fits(page, "Totals by model")
    fits(page, "Calls")
    page.get_by_label("Time").select_option("12m")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="By person").click()
    page.get_by_text("As a table").click()
    look(page, "usage-year-by-person")
    page.get_by_label("Time").select_option("custom")
    page.get_by_label("From").fill("2026-11-10")
    page.get_by_label("To", exact=True).fill("2026-11-01")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Choose a day that is not before the first.")).to_be_visible()
    look(page, "usage-refused")


def test_the_bills_of_somebody_who_spends(page: Page, busy: ServedWorld) -> None:
    log_in(page, busy, "alice")
    page.get_by_role("link", name="Billing").click()
    page.get_by_role("navigation", name="Whose account").get_by_role("link", name="Search").click()
    look(page, "billing-team")
    fits(page, "Balance transactions")
    page.get_by_role("navigation", name="Statements").get_by_role("link").nth(1).click()
    look(page, "statement")
    page.emulate_media(media="print", color_scheme="dark")
    page.screenshot(path=SCREENSHOTS / "statement-on-paper.png", full_page=True)
    expect(page.locator("body")).to_have_css("color", "rgb(0, 0, 0)")  # paper is white
    expect(page.get_by_role("link", name="CSV")).not_to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("^Statement, "))).to_be_visible()
    page.emulate_media(media="screen", color_scheme="light")
    page.go_back()
    page.get_by_role("region", name="Balance transactions").get_by_role("link").first.click()
    expect(page.get_by_text("Charged", exact=True)).to_be_visible()
    look(page, "receipt")


def test_the_pages_of_an_administrator_with_money(page: Page, busy: ServedWorld) -> None:
    log_in(page, busy, "ada")
    page.goto(f"{busy.url}/admin/money/flagged")
    look(page, "flagged")
    fits(page, "Flagged calls")
    page.get_by_role("link", name=re.compile("^Refund")).first.click()
    look(page, "flagged-confirm", whole=False)
    page.get_by_role("button", name="Refund").click()
    expect(page.get_by_text("of the call went back.")).to_be_visible()
    expect(page.get_by_text("Given back")).to_be_visible()
    page.get_by_role("region", name="Flagged calls").get_by_role("link").nth(1).click()
    look(page, "admin-account")
    page.get_by_role("link", name="Top up").click()
    page.get_by_role("button", name="Continue").click()
    look(page, "top-up-refused")
    page.get_by_label("Amount").fill("25.50")
    page.get_by_label("Reference").fill("INV-77")
    page.get_by_role("button", name="Continue").click()
    look(page, "top-up-confirm")
    page.get_by_role("button", name="Credit").click()
    expect(page.get_by_text("went to")).to_be_visible()


def test_the_forms_of_an_administrator_with_money(page: Page, busy: ServedWorld) -> None:
    log_in(page, busy, "ada")
    page.goto(f"{busy.url}/admin/money/flagged")
    page.get_by_role("region", name="Flagged calls").get_by_role("link").nth(1).click()
    page.get_by_role("link", name="Adjust").click()
    look(page, "adjust")
    page.goto(f"{busy.url}/admin/money/flagged")
    page.get_by_role("region", name="Flagged calls").get_by_role("link").first.click()
    page.get_by_role("link", name="Refund").click()
    look(page, "refund")


def test_the_first_call_ticks_itself_off(page: Page, served: Served) -> None:
    set_up(page, served)
    page.goto(served.url)
    expect(page.get_by_role("heading", name="The first call")).to_be_visible()
    look(page, "overview-new")
    page.goto(f"{served.url}/keys")
    secret = create_key(page, "CI", "Test")
    page.goto(served.url)
    code = page.locator("#first-call").inner_text()
    assert f"{served.url}/v1/chat/completions" in code
    model = re.search(r'"model": "([^"]+)"', code)
    assert model is not None
    answer = requests.post(
        f"{served.url}/v1/chat/completions",
        json={"model": model[1], "messages": [{"role": "user", "content": "Hi"}]},
        headers={"Authorization": f"Bearer {secret}"},
        timeout=30,
    )
    assert answer.status_code == 200
    expect(page.get_by_role("heading", name="Your first call has arrived")).to_be_visible()
    look(page, "overview-first-call")
    page.get_by_role("link", name="See it in the overview").click()
    expect(page.get_by_role("region", name="Latest calls")).to_be_visible()
