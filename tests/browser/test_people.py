"""Teams, their keys and the account in a real browser: how they look, and one whole story."""

import re
from datetime import timedelta

import pytest
from dashboard_world import PASSWORD
from playwright.sync_api import Browser, Page, expect
from sqlalchemy.orm import Session
from team_world import TeamWorld, team_world_of

from browser.axe import look
from browser.conftest import ServedWorld
from modelbridge import clock
from modelbridge.identity import rotation
from modelbridge.ledger import limits, postings
from modelbridge.money import NANOS
from modelbridge.store.tables import ApiKey, Call, DailyUsage, Membership


@pytest.fixture
def research(served_world: ServedWorld) -> TeamWorld:
    return team_world_of(served_world.world)


def log_in(page: Page, url: str, name: str) -> None:
    page.goto(f"{url}/login")
    page.fill("#email", f"{name}@example.com")
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(re.compile(r"^(?!.*/login)"))


def furnish(research: TeamWorld) -> ApiKey:
    """Money, a limit, keys of several people, an invitation, and a key with a past."""
    research.key("alice", "Nightly reports", limit_nanos=20 * NANOS, window="month")
    research.key("amy", "Amy's notebook", expires_at=clock.now() + timedelta(days=6))
    research.key("bob", "CI", test=True)
    busy = research.key("bob", "Support bot", models=["gpt-5.4", "claude-sonnet-4-6"])
    research.invite("dora@example.com", "admin")
    research.invite("a.very.long.address.of.somebody.else@department.example.com", "viewer")
    with research.world.transaction() as session:
        postings.top_up(session, research.team.account_id, 250 * NANOS)
        limits.set_account_limit(session, research.team.account_id, 500 * NANOS, "month")
        rotation.rotate(session, session.get_one(ApiKey, busy.id), 24)
        use(session, busy)
    return busy


def use(session: Session, key: ApiKey) -> None:
    """Thirty days of calls, as the journal would have written them down."""
    for days_ago in range(30):
        at = clock.now() - timedelta(days=days_ago, minutes=7)
        for number, model in enumerate(("gpt-5.4", "claude-sonnet-4-6")):
            cost = (days_ago * 37 % 11) * 31_415_926 * (number + 1)
            session.add(
                DailyUsage(
                    day=f"{at:%Y-%m-%d}", account_id=key.account_id, key_id=key.id,
                    user_id=key.user_id, model=model, mode="live", calls=3, errors=0,
                    input_tokens=900, output_tokens=300, cost_nanos=cost,
                )
            )  # fmt: skip
            session.add(
                Call(
                    id=f"req_{days_ago}_{number}", key_id=key.id, account_id=key.account_id,
                    user_id=key.user_id, mode="live", endpoint="chat/completions", model=model,
                    started_at=at, duration_micros=1_234_567, finish="stop",
                    status=200 if days_ago % 4 else 429, cost_nanos=cost if days_ago % 4 else None,
                    error_code=None if days_ago % 4 else "spending_limit_exceeded",
                    input_tokens=300, output_tokens=100, usage_source="reported",
                )
            )  # fmt: skip
    row = session.get_one(ApiKey, key.id)
    row.last_used_at = clock.now() - timedelta(minutes=7)


def test_the_pages_of_a_team(page: Page, served_world: ServedWorld, research: TeamWorld) -> None:
    url, path = served_world.url, research.path
    log_in(page, url, "charlie")
    page.goto(f"{url}/teams")
    look(page, "teams-empty")
    page.goto(f"{url}/teams/new")
    page.fill("#name", "research")
    page.click("button:has-text('Create team')")
    look(page, "team-new-refused")
    page.context.clear_cookies()
    log_in(page, url, "alice")
    page.goto(f"{url}{path}")
    look(page, "team-without-money")
    furnish(research)
    page.goto(f"{url}/teams")
    look(page, "teams")
    page.goto(f"{url}{path}")
    look(page, "team")
    page.goto(f"{url}{path}/settings")
    look(page, "team-settings")
    page.goto(f"{url}{path}/delete")
    look(page, "team-delete-with-money")
    page.goto(f"{url}{path}/leave")
    look(page, "team-leave-last-owner")
    page.goto(url + research.member_path("bob", "remove"))
    look(page, "member-remove")
    page.goto(url + research.member_path("bob", "role"))
    page.select_option("#role", "viewer")
    look(page, "member-role")


def test_an_invitation_from_both_sides(
    page: Page, served_world: ServedWorld, research: TeamWorld
) -> None:
    url = served_world.url
    log_in(page, url, "amy")
    page.goto(f"{url}{research.path}/invite")
    page.fill("#email", "bob@example.com")
    page.click("button:has-text('Make the link')")
    look(page, "invite-refused")
    page.fill("#email", "dora@example.com")
    page.click("button:has-text('Make the link')")
    look(page, "invited")
    link = page.locator("#invitation-link").inner_text()
    page.goto(link)
    look(page, "invitation-of-somebody-else")
    page.context.clear_cookies()
    page.goto(link)
    look(page, "invitation-register")
    page.fill("#name", "Dora")
    page.fill("#password", "short")
    page.click("button:has-text('Create account')")
    look(page, "invitation-refused")
    page.fill("#password", "wholly unrelated otters")
    page.click("button:has-text('Create account')")
    expect(page.get_by_text("You are in “Research” now.")).to_be_visible()
    look(page, "team-as-member")
    page.goto(link)
    look(page, "invitation-gone")


def test_the_pages_of_team_keys(page: Page, served_world: ServedWorld, research: TeamWorld) -> None:
    url = served_world.url
    log_in(page, url, "alice")
    page.goto(f"{url}/keys?team={research.team.id}")
    look(page, "team-keys-empty")
    busy = furnish(research)
    page.goto(f"{url}/keys?team={research.team.id}")
    look(page, "team-keys")
    page.goto(f"{url}/keys/new?team={research.team.id}")
    look(page, "team-key-new")
    page.goto(f"{url}/keys/{busy.id}")
    look(page, "key-page")
    page.goto(f"{url}/keys/{busy.id}/edit")
    look(page, "key-edit")
    page.fill("#name", "")
    page.fill("#limit", "a lot")
    page.click("button:has-text('Save')")
    look(page, "key-edit-refused")
    page.goto(f"{url}/keys/{busy.id}/rotate")
    page.fill("#overlap", "100")
    page.click("button:has-text('Rotate key')")
    look(page, "key-rotate-refused")
    page.fill("#overlap", "12")
    page.click("button:has-text('Rotate key')")
    look(page, "key-rotated")
    page.goto(f"{url}/keys/{busy.id}/end-overlap")
    look(page, "key-end-overlap")


def test_the_account_page(page: Page, served_world: ServedWorld, research: TeamWorld) -> None:
    url = served_world.url
    research.browser("alice")
    log_in(page, url, "alice")
    page.goto(f"{url}/account")
    look(page, "account")
    page.fill("#email", "bob@example.com")
    page.fill("#email_password", "wrong")
    page.click("button:has-text('Change address')")
    look(page, "account-refused")
    page.goto(f"{url}/account/sessions/end-others")
    look(page, "account-end-others")


def test_a_key_is_given_to_somebody_else_while_its_maker_is_removed(
    page: Page, chromium: Browser, served_world: ServedWorld, research: TeamWorld
) -> None:
    url = served_world.url
    kept, lost = research.key("bob", "Kept"), research.key("bob", "Lost")
    log_in(page, url, "amy")
    page.goto(f"{url}{research.path}")
    page.get_by_role("link", name="Remove Bob").click()
    page.get_by_label("Kept").select_option(label="Transfer to Amy")
    page.get_by_role("button", name="Remove from the team").click()
    expect(page.get_by_text("1 key was transferred and 1 key was revoked.")).to_be_visible()
    expect(page.get_by_role("row", name="Bob")).to_have_count(0)
    with research.world.bridge.database.reading() as session:
        assert session.get_one(ApiKey, kept.id).user_id == research.people["amy"].id
        assert session.get_one(ApiKey, lost.id).revoked_at is not None
        assert session.get(Membership, (research.team.id, research.people["bob"].id)) is None
