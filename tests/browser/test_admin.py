"""Administration, models, playground and docs in a real browser: looked at, and used."""

import re
from datetime import timedelta

import pytest
from dashboard_world import PASSWORD
from playwright.sync_api import Page, expect

from browser.axe import look
from browser.conftest import ServedWorld
from modelbridge import clock
from modelbridge.catalog import admin
from modelbridge.identity import auditlog, preferences, teams, users
from modelbridge.ledger import accounts, postings
from modelbridge.store.tables import BooksCheck, Feedback, User

ALICE = "alice@example.com"


@pytest.fixture
def alice(served_world: ServedWorld) -> User:
    served_world.world.bridge.database.start_writer()
    return served_world.world.person(ALICE, name="Alice Archer", is_admin=True)


def log_in(page: Page, served_world: ServedWorld) -> None:
    page.goto(f"{served_world.url}/login")
    page.fill("#email", ALICE)
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{served_world.url}/")


def furnish(served_world: ServedWorld, alice: User) -> None:
    world, now = served_world.world, clock.now()
    with world.transaction() as session:
        for name, provider in (("anthropic", "anthropic"), ("openai", "openai")):
            admin.add_upstream(
                session,
                name=name,
                provider=provider,
                base_url=None,
                allow_private=True,
                sealed_credential=lambda _: "sealed",
            )
        admin.add_upstream(
            session,
            name="basement-llama",
            provider="llamacpp",
            base_url="http://192.168.1.20:8080/v1",
            allow_private=True,
            sealed_credential=lambda _: None,
        )
        admin.add_model(
            session,
            name="house-model",
            targets=[("basement-llama", "smollm2"), ("openai", "gpt-5.4-mini")],
            prices={"input": "0.15", "output": "0.60", "cache_read": "0.015"},
            context_window=8192,
        )
        admin.add_model(session, name="scratch", targets=[("basement-llama", "x")], free=True)
        postings.top_up(session, alice.account_id, 18_765_432_109)
        team = accounts.open_account(session, "team")
        postings.top_up(session, team.id, 250_000_000_000)
        row = session.get_one(User, alice.id)
        made = teams.create_team(session, name="Research", owner=row, account_id=team.id)
        for name in ("bob", "charlie.with.a.rather.long.address", "dora"):
            user = users.create_user(
                session,
                email=f"{name}@example.com",
                name=name.partition(".")[0].title(),
                account_id=accounts.open_account(session, "user").id,
                password_hash="x" if name != "dora" else None,
            )
            teams.add_member(session, made, user, "member")
            if name.startswith("charlie"):
                users.disable(session, user)
        for action, subject, details in (
            ("user.setup", ALICE, None),
            ("upstream.add", "openai", {"provider": "openai"}),
            ("fx.set", "1.53 AUD per USD", {"before": "1.50"}),
            ("user.disable", "charlie@example.com", None),
        ):
            auditlog.record(
                session,
                actor=row,
                action=action,
                subject_kind=action.partition(".")[0],
                subject_id="x",
                subject=subject,
                details=details,
                address="192.0.2.7",
            )
        session.add(
            BooksCheck(
                id="chk_1",
                at=now - timedelta(hours=3),
                ok=True,
                problems=[],
                counts={"accounts": 5, "holds": 12_402, "balance_transactions": 12_610},
                duration_micros=412_000,
            )
        )
        for number, (name, helpful, comment) in enumerate(
            (("errors", True, ""), ("billing", False, "How do I read a statement?"))
        ):
            session.add(
                Feedback(
                    id=f"fb_{number}",
                    page=name,
                    helpful=helpful,
                    comment=comment,
                    user_id=alice.id,
                    created_at=now - timedelta(hours=number),
                )
            )
    with world.bridge.database.reading() as session:
        rows = {row.name: row.id for row in admin.list_upstreams(session)}
    world.bridge.gateway.health.worked(rows["openai"])
    world.bridge.gateway.health.failed(rows["basement-llama"], 300)


def test_the_pages_of_a_bridge_that_is_in_use(
    page: Page, served_world: ServedWorld, alice: User
) -> None:
    furnish(served_world, alice)
    log_in(page, served_world)
    url = served_world.url
    for path, name in (
        ("", "admin-state"), ("/users", "admin-users"), (f"/users/{alice.id}", "admin-user"),
        ("/users/new", "admin-user-new"), ("/teams", "admin-teams"),
        ("/accounts", "admin-accounts"), ("/upstreams", "admin-upstreams"),
        ("/upstreams/new", "admin-upstream-new"),
        ("/upstreams/openai/credential", "admin-upstream-credential"),
        ("/upstreams/openai/edit", "admin-upstream-edit"),
        ("/upstreams/openai/remove", "admin-upstream-remove"), ("/models", "admin-models"),
        ("/models/edit/house-model", "admin-model-edit"), ("/exchange-rate", "admin-fx"),
        ("/settings", "admin-settings"), ("/audit", "admin-audit"),
        ("/feedback", "admin-feedback"),
    ):  # fmt: skip
        page.goto(f"{url}/admin{path}")
        look(page, name)
    page.goto(f"{url}/models")
    look(page, "models")
    page.goto(f"{url}/models?q=nothing-like-this")
    look(page, "models-none")


def test_the_pages_of_an_empty_bridge_and_what_they_refuse(
    page: Page, served_world: ServedWorld, alice: User
) -> None:
    log_in(page, served_world)
    url = served_world.url
    for path, name in (
        ("/admin", "admin-state-empty"), ("/admin/upstreams", "admin-upstreams-empty"),
        ("/admin/models", "admin-models-empty"), ("/admin/teams", "admin-teams-empty"),
        ("/admin/feedback", "admin-feedback-empty"), ("/models", "models-empty"),
        ("/playground", "playground-empty"),
    ):  # fmt: skip
        page.goto(url + path)
        look(page, name)
    for path, button, name in (
        ("/admin/upstreams/new", "Add upstream", "admin-upstream-refused"),
        ("/admin/models/new", "Save", "admin-model-refused"),
        ("/admin/users/new", "Add and make a link", "admin-user-refused"),
        ("/admin/exchange-rate", "Set the rate", "admin-fx-refused"),
    ):
        page.goto(url + path)
        if path.endswith("upstreams/new"):
            page.select_option("#provider", "vllm")
        page.get_by_role("button", name=button).click()
        look(page, name)


@pytest.mark.parametrize(
    "name", ["quickstart", "authentication", "errors", "models", "billing", "sdks"]
)
def test_the_docs(page: Page, served_world: ServedWorld, alice: User, name: str) -> None:
    log_in(page, served_world)
    page.goto(f"{served_world.url}/docs/{name}")
    look(page, f"docs-{name}")


def test_registration(page: Page, served_world: ServedWorld, alice: User) -> None:
    with served_world.world.transaction() as session:
        preferences.set_registration(session, "open")
    page.goto(f"{served_world.url}/login")
    page.get_by_role("link", name="Register").click()
    look(page, "register")
    page.get_by_label("Your name").fill("Bob")
    page.get_by_label("E-mail address").fill("bob@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_text("Welcome, Bob")).to_be_visible()
    expect(page.get_by_role("link", name="Administration")).to_have_count(0)


def test_an_upstream_is_added_from_a_preset(
    page: Page, served_world: ServedWorld, alice: User
) -> None:
    log_in(page, served_world)
    page.get_by_role("link", name="Administration").click()
    page.get_by_role("link", name="Upstreams", exact=True).click()
    page.get_by_role("link", name="Add the first upstream").click()
    page.get_by_label("Provider").select_option("anthropic")
    expect(page.get_by_label("Name", exact=True)).to_have_value("anthropic")
    base_url = page.get_by_label("Base URL")
    expect(base_url).to_have_attribute("placeholder", "https://api.anthropic.com")
    page.get_by_label("API key", exact=True).fill("sk-ant-test")
    page.get_by_role("button", name="Add upstream").click()
    expect(page.get_by_text("anthropic is added")).to_be_visible()
    assert "sk-ant" not in page.content()
    page.get_by_role("link", name="Models", exact=True).click()
    page.get_by_label("Search by name or upstream").fill("sonnet 4-6")
    page.keyboard.press("Enter")
    expect(page.get_by_role("rowheader", name="claude-sonnet-4-6").first).to_be_visible()


def test_on_a_phone_the_current_tab_is_in_sight(
    page: Page, served_world: ServedWorld, alice: User
) -> None:
    log_in(page, served_world)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{served_world.url}/admin/feedback")
    tabs = page.get_by_role("navigation", name="Administration")
    expect(tabs.get_by_role("link", name="Feedback")).to_be_in_viewport(ratio=1)
    expect(tabs.get_by_role("link", name="State")).not_to_be_in_viewport()
    tabs.get_by_role("link", name="Feedback").focus()
    page.keyboard.press("Shift+Tab")
    expect(tabs.get_by_role("link", name="Audit log")).to_be_in_viewport(ratio=1)


def test_a_person_is_disabled_after_a_question(
    page: Page, served_world: ServedWorld, alice: User
) -> None:
    bob = served_world.world.person("bob@example.com", name="Bob")
    log_in(page, served_world)
    page.goto(f"{served_world.url}/admin/users/{bob.id}")
    page.get_by_role("link", name="Disable").click()
    dialog = page.get_by_role("dialog", name="Disable bob@example.com?")
    expect(dialog).to_contain_text("get 401")
    dialog.get_by_role("button", name="Disable").click()
    expect(page.get_by_text("their keys have stopped")).to_be_visible()


def test_the_playground_streams_and_says_what_it_cost(
    page: Page, served_world: ServedWorld, alice: User
) -> None:
    served_world.world.key(alice, "Live one")
    test_key = served_world.world.key(alice, "CI", test=True)
    log_in(page, served_world)
    page.goto(f"{served_world.url}/playground")
    page.get_by_label("Key").select_option(test_key.id)
    page.get_by_label("Model").fill("claude-sonnet-4-6")
    message = page.get_by_label("Message")
    message.fill("Say <b>hello</b> & sandbox:echo")
    page.get_by_role("button", name="Send").click()
    log = page.get_by_role("log")
    expect(log.locator(".said-assistant")).to_have_text("Say <b>hello</b> & sandbox:echo")
    expect(page.get_by_text(re.compile(r"\d+ tokens in, \d+ out, AUD 0\.00, "))).to_be_visible()
    expect(message).to_have_value("")
    look(page, "playground")

    page.get_by_label("Model").fill("sandbox-limit")
    message.fill("Again")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("[data-note]")).to_contain_text("limit")
    expect(message).to_have_value("Again")
    look(page, "playground-refused")

    page.get_by_label("Model").fill("sandbox-slow")
    message.fill("A long story, please: " + "once upon a time " * 40)
    page.get_by_role("button", name="Send").click()
    expect(log.locator(".said-assistant").last).not_to_be_empty()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped.")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_a_page_of_the_docs_takes_an_answer(
    page: Page, served_world: ServedWorld, alice: User
) -> None:
    log_in(page, served_world)
    page.get_by_role("link", name="Docs").click()
    page.get_by_role("link", name="Billing", exact=True).last.click()
    page.get_by_label("No", exact=True).check()
    page.get_by_label("What is missing or wrong?").fill("How do refunds work?")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("Thank you.")).to_be_visible()
    page.goto(f"{served_world.url}/admin/feedback")
    expect(page.get_by_text("How do refunds work?")).to_be_visible()
