"""Overview, usage, billing and receipts: what Alice and Bob see of their money, and Charlie not."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from dashboard_world import Browser, World, world_in
from sqlalchemy import select

from bench import seed_calls
from modelbridge import clock
from modelbridge.catalog import fx
from modelbridge.dashboard import attention, periods
from modelbridge.identity import teams
from modelbridge.ledger import accounts, postings
from modelbridge.money import NANOS, format_amount, parse_amount
from modelbridge.store.tables import ApiKey, Call, Spending, Team, User

ZONE = seed_calls.ZONE


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Three teams with a year of calls; nobody changes anything in these tests."""
    with world_in(tmp_path_factory.mktemp("house")) as world:
        seed_calls.seed(world.bridge, 3_000)
        yield world


@pytest.fixture(scope="module")
def alice(house: World) -> Browser:
    """Alice owns the team Search."""
    return house.browser("alice@example.com")


@pytest.fixture(scope="module")
def bob(house: World) -> Browser:
    """Bob is a member of it."""
    return house.browser("bob@example.com")


@pytest.fixture(scope="module")
def charlie(house: World) -> Browser:
    """Charlie is in no team and has called nothing."""
    house.person("charlie@example.com", name="Charlie")
    return house.browser("charlie@example.com")


@pytest.fixture
def search(house: World) -> Team:
    with house.bridge.database.reading() as session:
        team: Team = session.scalars(select(Team).where(Team.name == "Search")).one()
    return team


def words(page: str) -> str:
    """What can be read of a page, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).replace("\xa0", " ").split())


def calls_of(house: World, team: Team) -> list[Call]:
    with house.bridge.database.reading() as session:
        found = select(Call).where(Call.account_id == team.account_id)
        return list(session.scalars(found.order_by(Call.started_at.desc(), Call.id.desc())))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_overview_tells_what_there_is_and_what_was_spent(
    house: World, alice: Browser, search: Team
) -> None:
    page = words(alice.get(f"/?team={search.id}").text)
    with house.bridge.database.reading() as session:
        view = accounts.account_view(session, search.account_id)
    month = periods.named("month", ZONE)
    calls = [call for call in calls_of(house, search) if call.started_at >= month.start]
    spent = sum(call.cost_nanos or 0 for call in calls)
    assert f"Available AUD {format_amount(view.available_nanos)}" in page
    assert f"Spent this month AUD {format_amount(spent)}" in page
    assert f"Calls this month {len(calls)}" in page


def test_a_charts_numbers_can_be_read_without_seeing_it(alice: Browser, search: Team) -> None:
    page = alice.get(f"/usage?team={search.id}&period=12m").text
    assert 'role="img"' in page
    assert '<details class="chart-table">' in page
    assert "style=" not in page


@pytest.mark.parametrize("path", ["/", "/first-steps", "/usage", "/usage.csv", "/billing"])
def test_a_foreign_team_does_not_exist(charlie: Browser, search: Team, path: str) -> None:
    assert charlie.get(f"{path}?team={search.id}").status_code == 404
    assert charlie.get(f"{path}?team=team_unknown").status_code == 404
    assert charlie.get(path).status_code == 200


def test_a_member_sees_usage_but_not_billing(bob: Browser, search: Team) -> None:
    month = periods.today(ZONE).strftime("%Y-%m")
    assert bob.get(f"/usage?team={search.id}").status_code == 200
    assert bob.get(f"/?team={search.id}").status_code == 200
    for path in ("/billing", f"/billing/statements/{month}", f"/billing/statements/{month}.csv"):
        assert bob.get(f"{path}?team={search.id}").status_code == 404


def test_a_member_is_not_told_what_the_team_has(alice: Browser, bob: Browser, search: Team) -> None:
    told = "<dt>Available</dt>"
    assert told in alice.get(f"/?team={search.id}").text
    assert told not in bob.get(f"/?team={search.id}").text
    assert told in bob.get("/").text


def test_a_receipt_is_for_those_who_see_the_usage(
    house: World, alice: Browser, bob: Browser, charlie: Browser, search: Team
) -> None:
    call = calls_of(house, search)[0]
    assert alice.get(f"/receipts/{call.id}").status_code == 200
    assert bob.get(f"/receipts/{call.id}").status_code == 200
    assert charlie.get(f"/receipts/{call.id}").status_code == 404
    assert house.browser("ada@example.com").get(f"/receipts/{call.id}").status_code == 404
    assert alice.get("/receipts/call_unknown").status_code == 404


def test_a_receipt_shows_the_whole_reckoning(house: World, alice: Browser, search: Team) -> None:
    call = next(call for call in calls_of(house, search) if call.cost_nanos)
    page = words(alice.get(f"/receipts/{call.id}").text)
    with house.bridge.database.reading() as session:
        rate = fx.current(session).aud_per_usd_nanos
    assert f"Charged AUD {format_amount(call.cost_nanos or 0)}" in page
    assert f"{call.input_tokens:,}" in page
    assert call.price_version is not None
    assert call.price_version in page
    assert "from genai-prices" in page
    assert f"USD 1 = AUD {format_amount(rate)}" in page
    assert "4,096 tokens" in page
    assert "Reported by the provider" in page or "Estimated" in page


def test_a_failed_calls_receipt_says_that_nothing_was_charged(
    house: World, alice: Browser, search: Team
) -> None:
    call = next(one for one in calls_of(house, search) if one.status == 502)
    page = words(alice.get(f"/receipts/{call.id}").text)
    assert "Nothing was charged" in page
    assert "upstream_error" in page


def test_the_export_has_every_call_that_fits(house: World, alice: Browser, search: Team) -> None:
    expected = [call for call in calls_of(house, search) if call.model == "gpt-5.4"]
    answer = alice.get(f"/usage.csv?team={search.id}&period=12m&model=gpt-5.4")
    assert answer.is_streamed
    assert answer.mimetype == "text/csv"
    rows = rows_of(answer.text)
    start = periods.named("12m", ZONE).start
    assert [row["call"] for row in rows] == [
        call.id for call in expected if call.started_at >= start
    ]
    assert sum(parse_amount(row["cost_aud"] or "0") for row in rows) == sum(
        call.cost_nanos or 0 for call in expected if call.started_at >= start
    )


def test_filters_that_make_no_sense_are_named_and_not_applied(alice: Browser, search: Team) -> None:
    page = alice.get(f"/usage?team={search.id}&period=custom&from=2026-11-10&to=2026-11-01")
    assert page.status_code == 200
    assert "Choose a day that is not before the first." in page.text
    for nonsense in ("period=x", "key=key_of_somebody", "status=x", "by=x", "before=x",
                     "period=custom&from=0001-01-01", "period=custom&from=x"):  # fmt: skip
        assert alice.get(f"/usage?team={search.id}&{nonsense}").status_code == 200


def test_a_statement_and_its_csv_say_the_same(alice: Browser, search: Team) -> None:
    last_month = periods.named("last_month", ZONE).first.strftime("%Y-%m")
    page = words(alice.get(f"/billing/statements/{last_month}?team={search.id}").text)
    rows = rows_of(alice.get(f"/billing/statements/{last_month}.csv?team={search.id}").text)
    opening, *posted, closing = rows
    assert opening["kind"] == "opening balance"
    assert closing["kind"] == "closing balance"
    assert f"Opening balance AUD {opening['balance_aud']}" in page
    assert f"Closing balance AUD {closing['balance_aud']}" in page
    total = sum(parse_amount(row["amount_aud"]) for row in posted)
    before, after = parse_amount(opening["balance_aud"]), parse_amount(closing["balance_aud"])
    assert before + total == after
    usage = sum(parse_amount(row["amount_aud"]) for row in posted if row["kind"] == "usage")
    assert f"Usage −AUD {format_amount(-usage)}" in page
    assert page.count(f"Together AUD {format_amount(-usage)}") == 3
    persons = page.partition("Usage by person")[2]
    assert "Alice" in persons
    assert not any(key in persons for key in seed_calls.KEYS)
    assert "Usage by person" not in alice.get(f"/billing/statements/{last_month}").text


@pytest.mark.parametrize(
    "month", ["2026-13", "2026-1", "x", "2026-11-01", "1999-01", "2026-11.txt"]
)
def test_a_month_that_is_none_is_not_found(alice: Browser, month: str) -> None:
    assert alice.get(f"/billing/statements/{month}").status_code == 404


def test_a_key_named_like_a_formula_is_no_formula_in_a_spreadsheet(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        seed_calls.seed(world.bridge, 50)
        with world.transaction() as session:
            for key in session.scalars(select(ApiKey)):
                key.name = "=HYPERLINK(1)"
        browser = world.browser("alice@example.com")
        with world.bridge.database.reading() as session:
            team = session.scalars(select(Team).where(Team.name == "Search")).one()
        rows = rows_of(browser.get(f"/usage.csv?team={team.id}&period=12m").text)
        assert rows
        assert {row["key"] for row in rows} == {"'=HYPERLINK(1)"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_in(tmp_path, MODELBRIDGE_PUBLIC_URL="https://bridge.test") as world:
        yield world


def test_with_nothing_yet_the_overview_says_what_to_do_first(world: World) -> None:
    user = world.person("dora@example.com", name="Dora")
    browser = world.browser("dora@example.com")
    page = browser.get("/").text
    assert "https://bridge.test/v1/chat/completions" in page
    assert 'data-refresh-url="/first-steps"' in page
    assert "Ask an administrator to top it up." in words(page)
    key = world.key(user, test=True)
    with world.transaction() as session:
        session.add(call_of(user, key))
    piece = browser.get("/first-steps").text
    assert "data-refresh-url" not in piece
    assert "Your first call has arrived" in piece
    assert "<html" not in piece
    assert "Latest calls" in browser.get("/").text


def call_of(user: User, key: ApiKey) -> Call:
    return Call(
        id="call_1", key_id=key.id, account_id=user.account_id, user_id=user.id, mode="test",
        endpoint="/v1/chat/completions", model="gpt-5.4", started_at=clock.now(),
        duration_micros=1, status=200, finish="answered",
    )  # fmt: skip


def test_keys_that_need_attention_say_why(world: World) -> None:
    user = world.person("dora@example.com")
    now = clock.now()
    world.key(user, "Free", test=True)
    world.key(user, "Boundless")
    world.key(user, "Fine", limit_nanos=NANOS)
    world.key(user, "Ending", limit_nanos=NANOS, expires_at=now + timedelta(days=6, hours=23))
    world.key(user, "Lasting", limit_nanos=NANOS, expires_at=now + timedelta(days=8))
    near, full, old, gone = (
        world.key(user, name, limit_nanos=NANOS) for name in ("Near", "Full", "Old", "Gone")
    )
    with world.transaction() as session:
        session.get_one(ApiKey, old.id).created_at = now - timedelta(days=31)
        session.get_one(ApiKey, gone.id).revoked_at = now
        session.add(Spending(subject_id=near.id, window_start=0, spent_nanos=800_000_000))
        session.add(Spending(subject_id=full.id, window_start=0, spent_nanos=NANOS))
        session.add(Spending(subject_id=gone.id, window_start=0, spent_nanos=NANOS))
    with world.bridge.database.reading() as session:
        found = attention.concerns(session, user.account_id)
    assert [(one.kind, one.key.name) for one in found] == [
        ("limit_reached", "Full"), ("near_limit", "Near"), ("expiring", "Ending"),
        ("unused", "Old"), ("no_limit", "Boundless"),
    ]  # fmt: skip
    page = words(world.browser("dora@example.com").get("/").text)
    assert "80 % of its limit is spent: AUD 0.80 of AUD 1.00 in total." in page
    assert "Limit reached: calls get 429." in page


def test_a_member_is_not_warned_of_other_peoples_keys(world: World) -> None:
    owner, member = world.person("dora@example.com"), world.person("emil@example.com")
    with world.transaction() as session:
        account = accounts.open_account(session, "team")
        team = teams.create_team(session, name="Duo", owner=owner, account_id=account.id)
        teams.add_member(session, team, member, "member")
    world.key(owner, "Of the owner", account_id=team.account_id)
    assert "Of the owner" in world.browser("dora@example.com").get(f"/?team={team.id}").text
    assert "Of the owner" not in world.browser("emil@example.com").get(f"/?team={team.id}").text


def test_tiny_amounts_keep_their_digits(world: World) -> None:
    user = world.person("dora@example.com")
    with world.transaction() as session:
        postings.top_up(session, user.account_id, 31_000)
    page = words(world.browser("dora@example.com").get("/billing").text)
    assert "+ AUD 0.000031" in page or "+AUD 0.000031" in page
    with world.transaction() as session:
        postings.adjust(session, user.account_id, -1, note="", actor_id=user.id)
    assert "−AUD 0.000000001" in words(world.browser("dora@example.com").get("/billing").text)
