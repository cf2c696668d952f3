"""Administrators and money: credited once, given back at most once, and always written down."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dashboard_world import Browser, World, world_in
from sqlalchemy import select

from bench import seed_calls
from modelbridge.ledger import accounts
from modelbridge.ledger.audit import check_books
from modelbridge.money import NANOS, format_amount
from modelbridge.store.tables import AuditEvent, BalanceTransaction, Call, Hold, User

ADA, CHARLIE = "ada@example.com", "charlie@example.com"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """After every test the books add up."""
    with world_in(tmp_path) as world:
        yield world
        with world.bridge.database.reading() as session:
            assert check_books(session).problems == []


@pytest.fixture
def charlie(world: World) -> User:
    return world.person(CHARLIE, name="Charlie")


@pytest.fixture
def ada(world: World) -> Browser:
    world.person(ADA, name="Ada", is_admin=True)
    return world.browser(ADA)


@pytest.fixture
def calls(world: World) -> list[Call]:
    """Charged calls, newest first; Ada is the administrator."""
    seed_calls.seed(world.bridge, 800)
    with world.bridge.database.reading() as session:
        charged = select(Call).where(Call.cost_nanos > 0).order_by(Call.started_at.desc())
        return list(session.scalars(charged))


def balance(world: World, account_id: str) -> int:
    with world.bridge.database.reading() as session:
        return accounts.account_view(session, account_id).balance_nanos


def post(browser: Browser, path: str, **fields: str) -> str:
    """Fills in the form, agrees to what it will do; returns the page that comes then."""
    asked = browser.submit(path, **fields)
    if asked.status_code != 200:
        return asked.text
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    done = browser.post(path, **hidden)
    if done.status_code != 303:
        return done.text
    return browser.get(done.location).text


def events(world: World) -> list[AuditEvent]:
    with world.bridge.database.reading() as session:
        return list(session.scalars(select(AuditEvent).order_by(AuditEvent.sequence)))


def test_a_top_up_is_shown_before_it_is_posted(world: World, ada: Browser, charlie: User) -> None:
    path = f"/admin/money/accounts/{charlie.account_id}/top-up"
    asked = ada.submit(path, amount="12.50", reference="INV-1", note="Cash")
    assert "Credit AUD\xa012.50?" in asked.text
    assert balance(world, charlie.account_id) == 0
    page = post(ada, path, amount="12.50", reference="INV-1", note="Cash")
    assert "AUD\xa012.50 went to charlie@example.com" in page
    assert balance(world, charlie.account_id) == 12_500_000_000
    event = events(world)[-1]
    assert (event.actor, event.action, event.subject) == (ADA, "account.top_up", CHARLIE)
    assert event.details is not None
    assert event.details["amount"] == "12.50"
    assert "Cash" in world.browser(CHARLIE).get("/billing").text


def test_another_amount_has_to_be_confirmed_again(
    world: World, ada: Browser, charlie: User
) -> None:
    path = f"/admin/money/accounts/{charlie.account_id}/top-up"
    asked = ada.submit(path, amount="1", reference="", note="")
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    again = ada.post(path, **{**hidden, "amount": "1000"})
    assert "Credit AUD\xa01000.00?" in again.text
    assert balance(world, charlie.account_id) == 0


def test_the_same_reference_twice_is_one_credit(world: World, ada: Browser, charlie: User) -> None:
    path = f"/admin/money/accounts/{charlie.account_id}/top-up"
    post(ada, path, amount="5", reference="INV-1", note="")
    before = len(events(world))
    page = post(ada, path, amount="5", reference=" INV-1 ", note="")
    assert "the same reference twice is one top-up" in page
    assert balance(world, charlie.account_id) == 5 * NANOS
    assert len(events(world)) == before
    page = post(ada, path, amount="6", reference="INV-1", note="")
    assert "was already used on" in page
    assert 'value="6"' in page
    assert balance(world, charlie.account_id) == 5 * NANOS


def test_a_confirmation_that_is_sent_twice_is_one_credit(
    world: World, ada: Browser, charlie: User
) -> None:
    path = f"/admin/money/accounts/{charlie.account_id}/top-up"
    asked = ada.submit(path, amount="5", reference="INV-1", note="")
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    before = len(events(world))
    assert [ada.post(path, **hidden).status_code for _ in range(2)] == [303, 303]
    assert "was posted before, so nothing was added" in ada.get("/keys").text
    assert balance(world, charlie.account_id) == 5 * NANOS
    assert len(events(world)) == before + 1


@pytest.mark.parametrize(
    "amount", ["", "0", "-5", "x", "1e3", "0.0000000001", "100000001", "99999999999999999999"]
)
def test_an_amount_that_cannot_be_is_refused_beside_the_field(
    world: World, ada: Browser, charlie: User, amount: str
) -> None:
    path = f"/admin/money/accounts/{charlie.account_id}/top-up"
    page = post(ada, path, amount=amount, reference="", note="kept")
    assert 'id="amount-error"' in page
    assert "kept" in page
    assert balance(world, charlie.account_id) == 0


def test_an_adjustment_takes_no_more_than_is_there(
    world: World, ada: Browser, charlie: User
) -> None:
    where = f"/admin/money/accounts/{charlie.account_id}"
    post(ada, f"{where}/top-up", amount="10", reference="", note="")
    page = post(ada, f"{where}/adjust", amount="10.01", direction="take", reference="", note="Typo")
    assert "does not have that much available" in page
    page = post(ada, f"{where}/adjust", amount="4", direction="take", reference="", note="Typo")
    assert "AUD\xa04.00 was taken from charlie@example.com" in page
    page = post(ada, f"{where}/adjust", amount="1", direction="add", reference="", note="")
    assert "Say why" in page
    assert balance(world, charlie.account_id) == 6 * NANOS


def test_a_refund_is_at_most_the_charge(world: World, calls: list[Call]) -> None:
    ada, call = world.browser(ADA), calls[0]
    assert call.account_id is not None
    before = balance(world, call.account_id)
    cost = call.cost_nanos or 0
    path = f"/admin/money/receipts/{call.id}/refund"
    assert f'value="{format_amount(cost)}"' in ada.get(path).text
    assert ada.submit(path, amount=format_amount(cost + 1), note="").status_code == 400
    assert ada.submit(path, amount="0.000000001", note="A hair").status_code == 303
    refused = ada.submit(path, amount=format_amount(cost), note="")
    assert f"At most {format_amount(cost - 1)} AUD" in refused.text
    assert ada.submit(path, amount=format_amount(cost - 1), note="The rest").status_code == 303
    assert "All of it was given back before." in ada.get(path).text
    assert balance(world, call.account_id) == before + cost
    receipt = ada.get(f"/admin/money/receipts/{call.id}").text
    assert "A hair" in receipt
    assert "The rest" in receipt
    assert events(world)[-1].action == "account.refund"


def test_flagged_calls_are_given_back_with_one_click(world: World, calls: list[Call]) -> None:
    ada = world.browser(ADA)
    page = ada.get("/admin/money/flagged").text
    flagged = re.findall(r"/admin/money/receipts/(call_\w+)/refund-all", page)
    assert flagged
    with world.bridge.database.reading() as session:
        holds = session.scalars(select(Hold).where(Hold.flagged)).all()
    assert sorted(flagged) == sorted(hold.call_id for hold in holds)
    path = f"/admin/money/receipts/{flagged[0]}/refund-all"
    assert ada.submit("/admin/money/flagged", to=path).status_code == 303
    assert "of the call went back" in ada.get("/admin/money/flagged").text
    ada.submit("/admin/money/flagged", to=path)
    assert "it was given back before" in ada.get("/admin/money/flagged").text
    assert ada.get(path).status_code == 302


def test_only_administrators_find_these_pages(world: World, calls: list[Call]) -> None:
    call = calls[0]
    for browser in (world.browser("alice@example.com"), world.browser("bob@example.com")):
        for path in (
            "/admin/money/flagged",
            f"/admin/money/accounts/{call.account_id}",
            f"/admin/money/accounts/{call.account_id}/top-up",
            f"/admin/money/accounts/{call.account_id}/adjust",
            f"/admin/money/receipts/{call.id}",
            f"/admin/money/receipts/{call.id}/refund",
            f"/admin/money/receipts/{call.id}/refund-all",
        ):
            assert browser.get(path).status_code == 404
            if not path.endswith(("flagged", str(call.account_id), call.id)):
                assert browser.submit("/keys", to=path, amount="1").status_code == 404


def test_what_is_not_there_is_not_found(world: World, ada: Browser) -> None:
    for path in ("accounts/acct_x", "accounts/acct_x/top-up", "receipts/call_x",
                 "receipts/call_x/refund"):  # fmt: skip
        assert ada.get(f"/admin/money/{path}").status_code == 404


def test_every_posting_names_who_made_it(world: World, ada: Browser, charlie: User) -> None:
    path = f"/admin/money/accounts/{charlie.account_id}/top-up"
    post(ada, path, amount="5", reference="", note="")
    with world.bridge.database.reading() as session:
        row = session.scalars(select(BalanceTransaction)).one()
        assert row.actor_id is not None
        assert session.get_one(User, row.actor_id).email == ADA
    assert f"by {ADA}" in world.browser(CHARLIE).get("/billing").text
