"""The first hour of a new bridge, in a real browser, with `python app.py` behind it."""

import subprocess
import sys

import requests
from playwright.sync_api import Browser, Page, expect

from browser.conftest import Served

PASSWORD = "plenty of horses here"


def set_up(page: Page, served: Served) -> None:
    page.goto(served.setup_path)
    page.get_by_label("Your name").fill("Alice")
    page.get_by_label("E-mail address").fill("alice@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create the administrator").click()
    page.wait_for_url(f"{served.url}/")
    expect(page.get_by_text("Welcome, Alice")).to_be_visible()
    page.goto(f"{served.url}/keys")


def create_key(page: Page, name: str, kind: str) -> str:
    page.get_by_role("link", name="Create key").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label(kind, exact=False).check()
    page.get_by_label("Spending limit").fill("5")
    page.get_by_label("Period of the limit").select_option("per month")
    page.get_by_label("Expires").select_option("30")
    page.get_by_role("button", name="Create key").click()
    return page.locator("#new-key").inner_text()


def status_of(served: Served, secret: str) -> int:
    answer = requests.get(
        f"{served.url}/v1/key", headers={"Authorization": f"Bearer {secret}"}, timeout=20
    )
    return answer.status_code


def copied(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_from_the_set_up_link_to_a_key_that_works_and_then_no_more(
    page: Page, served: Served
) -> None:
    set_up(page, served)
    expect(page.get_by_role("row", name="First test key")).to_be_visible()

    secret = create_key(page, "Laptop", "Test")
    page.get_by_role("button", name="Copy key").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert copied(page) == secret
    assert status_of(served, secret) == 200

    page.get_by_role("link", name="I have copied it").click()
    row = page.get_by_role("row", name="Laptop")
    expect(row).to_contain_text(f"{secret[:12]}…{secret[-4:]}")
    expect(row).to_contain_text("Active")
    assert secret not in page.content()

    row.get_by_role("link", name="Revoke").click()
    dialog = page.get_by_role("dialog", name="Revoke “Laptop”?")
    expect(dialog).to_contain_text("401")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(row.get_by_role("link", name="Revoke")).to_be_focused()
    assert status_of(served, secret) == 200

    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("is revoked.")).to_be_visible()
    expect(page.get_by_text("Revoked keys (1)")).to_be_visible()
    assert status_of(served, secret) == 401

    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(f"{served.url}/keys/new")
    page.get_by_label("E-mail address").fill("alice@example.com")
    page.get_by_label("Password", exact=True).fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("is wrong")
    expect(page.get_by_label("Password", exact=True)).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/keys/new")


def test_the_code_beside_a_new_key_runs_as_it_stands(page: Page, served: Served) -> None:
    set_up(page, served)
    create_key(page, "Copied", "Test")
    code = {
        name: page.locator(f"#{name}").inner_text() for name in ("curl", "python", "environment")
    }
    page.locator("[data-copy='#curl']").click()
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    assert copied(page) == code["curl"]
    commands = [
        ["bash", "-c", code["curl"]],
        [sys.executable, "-c", code["python"]],
        ["bash", "-c", code["environment"] + '\ncurl "$OPENAI_BASE_URL/models" '
         '-H "Authorization: Bearer $OPENAI_API_KEY"'],
    ]  # fmt: skip
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert '"error":' not in done.stdout
        assert done.stdout.strip()


def test_a_reload_of_the_page_with_the_key_leads_to_the_list(page: Page, served: Served) -> None:
    set_up(page, served)
    secret = create_key(page, "Laptop", "Live")
    page.reload()
    expect(page.get_by_text("was created already")).to_be_visible()
    assert secret not in page.content()
    expect(page.get_by_role("row", name="Laptop")).to_have_count(1)


def test_everything_can_be_done_without_javascript(chromium: Browser, served: Served) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    set_up(page, served)
    page.get_by_role("link", name="Create key").click()
    page.get_by_label("Name").fill("Laptop")
    page.get_by_label("Last day").fill("2099-01-31")
    page.get_by_label("Expires").select_option("date")
    page.get_by_role("button", name="Create key").click()
    expect(page.locator("#new-key")).to_be_visible()
    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("row", name="Laptop").get_by_role("link", name="Revoke").click()
    expect(page.get_by_role("heading", name="Revoke “Laptop”?")).to_be_visible()
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text("is revoked.")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    context.close()


def test_a_password_can_be_shown_and_is_hidden_again_when_it_is_sent(
    page: Page, served: Served
) -> None:
    page.goto(served.setup_path)
    password = page.get_by_label("Password", exact=True)
    password.fill("short")
    page.get_by_role("button", name="Show the password").click()
    expect(password).to_have_attribute("type", "text")
    page.get_by_role("button", name="Hide the password").click()
    expect(password).to_have_attribute("type", "password")


def test_the_keyboard_gets_past_the_side_bar(page: Page, served: Served) -> None:
    set_up(page, served)
    page.goto(f"{served.url}/keys")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    create = page.get_by_role("link", name="Create key")
    expect(create).to_be_focused()
    expect(create).to_have_css("outline-style", "solid")


def test_the_theme_follows_the_system_until_the_switch_says_otherwise(
    page: Page, served: Served
) -> None:
    root = page.locator("html")
    switch = page.get_by_role("button", name="Switch between light and dark")
    page.emulate_media(color_scheme="dark")
    page.goto(f"{served.url}/login")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    expect(root).to_have_css("color-scheme", "dark")
    switch.click()
    expect(root).to_have_attribute("data-bs-theme", "light")
    expect(root).to_have_css("color-scheme", "light")  # or the calendar's icon is white on white
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "light")
    switch.click()
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.emulate_media(color_scheme="light")
    expect(root).to_have_attribute("data-bs-theme", "light")
