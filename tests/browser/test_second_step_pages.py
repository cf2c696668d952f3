"""The second step in a browser, from the account page to the next login; the pace of a key."""

import re

import pyotp
from dashboard_world import PASSWORD
from playwright.sync_api import Page, expect

from browser.axe import look
from browser.conftest import ServedWorld
from modelbridge import clock
from modelbridge.identity.rates import Rates
from modelbridge.store.tables import User

ALICE = "alice@example.com"


def log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/login")
    page.fill("#email", ALICE)
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")


def forget_the_last_code(served: ServedWorld, user: User) -> None:
    """The test does not wait for the next half minute."""
    with served.world.transaction() as session:
        session.get_one(User, user.id).totp_last_step = 0


def test_alice_sets_it_up_and_logs_in_with_a_code(page: Page, served_world: ServedWorld) -> None:
    user = served_world.world.person(ALICE, is_admin=True)
    log_in(page, served_world.url)
    page.goto(f"{served_world.url}/account")
    page.get_by_role("link", name="Set it up").click()
    look(page, "second-step-begin")
    page.fill("#password", PASSWORD)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("img", name=re.compile("QR code"))).to_be_visible()
    assert page.locator(".qr-code").evaluate("image => image.naturalWidth") > 100
    look(page, "second-step-scan")
    secret = (page.locator("#secret").text_content() or "").replace(" ", "")
    page.fill("#code", pyotp.TOTP(secret).at(clock.now()))
    page.get_by_role("button", name="Turn it on").click()
    expect(page.get_by_role("heading", name="Your second step is on")).to_be_visible()
    codes = (page.locator("#codes").text_content() or "").split()
    assert len(codes) == 10
    look(page, "second-step-codes")
    page.get_by_role("link", name="I have kept them").click()
    page.goto(f"{served_world.url}/account/second-step")
    look(page, "second-step-on")
    page.context.clear_cookies()
    log_in(page, served_world.url)
    expect(page.get_by_role("heading", name="Second step")).to_be_visible()
    look(page, "second-step-login")
    forget_the_last_code(served_world, user)
    page.fill("#code", pyotp.TOTP(secret).at(clock.now()))
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.goto(f"{served_world.url}/admin/settings")
    look(page, "second-step-settings")


def test_the_pace_of_a_key_is_folded_away_until_it_is_wanted(
    page: Page, served_world: ServedWorld
) -> None:
    alice = served_world.world.person(ALICE)
    log_in(page, served_world.url)
    page.goto(f"{served_world.url}/keys/new")
    expect(page.locator("#rpm")).to_be_hidden()
    page.get_by_text("Pace and addresses").click()
    expect(page.locator("#rpm")).to_be_visible()
    look(page, "key-pace-form")
    key = served_world.world.key(
        alice, rates=Rates(60, 90_000, 4), addresses=["203.0.113.0/24", "2001:db8::/32"]
    )
    page.goto(f"{served_world.url}/keys/{key.id}")
    look(page, "key-pace-shown")
