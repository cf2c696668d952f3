"""The first hour of a new team: two people, one browser each, and a real call with the real SDK."""

import re
from collections.abc import Iterator

import openai
import pytest
from hostile import HostileUpstream, reply
from playwright.sync_api import Browser, Page, expect

from browser.conftest import Served

PASSWORD = "plenty of horses here"


@pytest.fixture
def provider() -> Iterator[HostileUpstream]:
    """A provider that answers 100 tokens to everything."""
    with HostileUpstream.start() as upstream:
        upstream.will(reply("Hello from the provider", prompt_tokens=10, completion_tokens=100))
        yield upstream


@pytest.fixture
def other_page(chromium: Browser) -> Iterator[Page]:
    """The teammate's own browser."""
    context = chromium.new_context(locale="en-AU")
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def become_administrator(page: Page, served: Served) -> None:
    page.goto(served.setup_path)
    page.get_by_label("Your name").fill("Alice")
    page.get_by_label("E-mail address").fill("alice@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create the administrator").click()
    expect(page.get_by_text("Welcome, Alice")).to_be_visible()


def add_provider_and_model(page: Page, served: Served, provider: HostileUpstream) -> None:
    page.goto(f"{served.url}/admin/upstreams/new")
    page.get_by_label("Provider").select_option("openai_compatible")
    page.get_by_label("Name", exact=True).fill("house")
    page.get_by_label("API key").fill("sk-house")
    page.get_by_label("Base URL").fill(provider.base_url)
    page.get_by_label("Allow http").check()
    page.get_by_role("button", name="Add upstream").click()
    expect(page.get_by_role("heading", name="Upstreams")).to_be_visible()
    page.goto(f"{served.url}/admin/models/new")
    page.get_by_label("Name", exact=True).fill("house-model")
    page.get_by_label("Upstream").first.select_option("house")
    page.get_by_label("Input").first.fill("0")
    page.get_by_label("Output").first.fill("2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("house-model").first).to_be_visible()


def make_team_with_money(page: Page, served: Served) -> str:
    """The team's page."""
    page.goto(f"{served.url}/teams/new")
    page.get_by_label("Name").fill("Rockets")
    page.get_by_role("button", name="Create team").click()
    expect(page.get_by_role("heading", name="Rockets")).to_be_visible()
    team_url = page.url
    page.goto(f"{served.url}/admin/accounts")
    page.get_by_role("row", name="Rockets").get_by_role("link").first.click()
    page.get_by_role("link", name="Top up").click()
    page.get_by_label("Amount").fill("20")
    page.get_by_label("Reference").fill("invoice 1")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Credit AUD 20.00").click()
    expect(page.get_by_text("AUD 20.00").first).to_be_visible()
    return team_url


def invite(page: Page, team_url: str) -> str:
    """The link for Bob."""
    page.goto(f"{team_url}/invite")
    page.get_by_label("E-mail address").fill("bob@example.com")
    page.get_by_label("Role").select_option("member")
    page.get_by_role("button", name="Make the link").click()
    return page.locator("#invitation-link").inner_text()


def accept(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_label("Your name").fill("Bob")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Create account and join").click()
    expect(page.get_by_text("Rockets").first).to_be_visible()


def make_team_key(page: Page, served: Served, limit: str) -> str:
    page.goto(f"{served.url}/keys/new")
    page.get_by_label("Name").fill("Bob's script")
    page.get_by_label("Account").select_option(label="Rockets")
    page.get_by_label("Spending limit").fill(limit)
    page.get_by_role("button", name="Create key").click()
    return page.locator("#new-key").inner_text()


def call(served: Served, secret: str) -> str:
    with openai.OpenAI(api_key=secret, base_url=f"{served.url}/v1") as client:
        answer = client.chat.completions.create(
            model="house-model", max_tokens=100, messages=[{"role": "user", "content": "Hello"}]
        )
    return answer.choices[0].message.content or ""


def test_the_first_hour_of_a_new_team(
    page: Page, other_page: Page, served: Served, provider: HostileUpstream
) -> None:
    become_administrator(page, served)
    add_provider_and_model(page, served, provider)
    team_url = make_team_with_money(page, served)
    accept(other_page, invite(page, team_url))

    # 100 tokens at USD 2 a million and 1.53 AUD per USD: the limit pays for two calls
    secret = make_team_key(other_page, served, "0.000612")
    assert call(served, secret) == "Hello from the provider"
    other_page.goto(f"{served.url}/keys")
    other_page.get_by_role("link", name="Rockets").click()
    expect(other_page.get_by_text("AUD 0.000306").first).to_be_visible()
    page.goto(f"{served.url}/usage")
    page.get_by_role("link", name="Rockets").click()
    expect(page.get_by_role("row", name="house-model").first).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("AUD 0.000306 for 1 call")

    assert call(served, secret)
    with pytest.raises(openai.RateLimitError) as limit:
        call(served, secret)
    assert limit.value.code == "spending_limit_exceeded"
    assert len(provider.seen()) == 2

    other_page.goto(f"{served.url}/keys")
    other_page.get_by_role("link", name="Rockets").click()
    other_page.get_by_role("link", name="Bob's script", exact=True).click()
    other_page.get_by_role("link", name="Revoke").click()
    other_page.get_by_role("button", name="Revoke key").click()
    expect(other_page.get_by_text("is revoked")).to_be_visible()
    with pytest.raises(openai.AuthenticationError) as revoked:
        call(served, secret)
    assert revoked.value.code == "api_key_revoked"
    page.goto(f"{served.url}/admin")
    expect(page.get_by_role("main")).to_contain_text(re.compile("books", re.IGNORECASE))
