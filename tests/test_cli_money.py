"""`flask topup`, `flask account …`, `flask fx set` and `flask books check`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Commands, commands_in
from sqlalchemy import text

ALICE = "alice@example.com"


@pytest.fixture
def flask(tmp_path: Path) -> Iterator[Commands]:
    with commands_in(tmp_path) as commands:
        commands.run("user", "create", ALICE)
        yield commands


def balance(flask: Commands) -> str:
    found = flask.json("account", "show", ALICE)["balance"]
    assert isinstance(found, str)
    return found


def test_a_top_up_prints_the_new_balance(flask: Commands) -> None:
    assert flask.out("topup", ALICE, "10") == f"The balance of {ALICE} is 10.00 AUD."
    assert flask.out("topup", ALICE, "2.5") == f"The balance of {ALICE} is 12.50 AUD."
    assert balance(flask) == "12.50"


def test_the_same_reference_twice_is_one_credit(flask: Commands) -> None:
    first = flask.run("topup", ALICE, "10", "--reference", "INV-1")
    again = flask.run("topup", ALICE, "10", "--reference", "INV-1")
    assert first.stdout == again.stdout
    assert "credited before" not in first.stderr
    assert "credited before" in again.stderr
    flask.run("topup", ALICE, "10", "--reference", "INV-2")
    assert balance(flask) == "20.00"


def test_a_reference_of_another_payment_is_refused(flask: Commands) -> None:
    flask.run("topup", ALICE, "10", "--reference", "INV-1")
    assert "reference: 'INV-1'" in flask.refused("topup", ALICE, "11", "--reference", "INV-1")
    flask.run("user", "create", "bob@example.com")
    assert "INV-1" in flask.refused("topup", "bob@example.com", "10", "--reference", "INV-1")


@pytest.mark.parametrize(
    "amount",
    ["0", "-5", "-0.01", "ten", "", "1,000", "1e3", "nan", "inf", "0.0000000001", "1" + "0" * 30,
     "9223372036", "1_000", "１０", "$5"],
)  # fmt: skip
def test_an_amount_that_is_none_credits_nothing(flask: Commands, amount: str) -> None:
    assert "amount" in flask.refused("topup", ALICE, amount).lower()
    assert balance(flask) == "0.00"


def test_the_smallest_amount_counts(flask: Commands) -> None:
    flask.run("topup", ALICE, "0.000000001")
    assert balance(flask) == "0.000000001"


@pytest.mark.parametrize(
    ("account", "complaint"),
    [
        ("bob@example.com", "no user 'bob@example.com'"),
        ("team:Sales", "no team 'Sales'"),
        ("alice", "ACCOUNT: write an e-mail address or team:NAME"),
        ("team:", "no team ''"),
        ("", "ACCOUNT: "),
    ],
)
def test_an_account_that_is_not_there_is_named(
    flask: Commands, account: str, complaint: str
) -> None:
    assert complaint in flask.refused("topup", account, "5")
    assert complaint in flask.refused("account", "show", account)
    assert complaint in flask.refused("account", "limit", account, "5")


def test_an_empty_reference_is_refused(flask: Commands) -> None:
    assert "--reference" in flask.refused("topup", ALICE, "5", "--reference", "")
    assert balance(flask) == "0.00"


def test_an_account_shows_decimal_strings(flask: Commands) -> None:
    flask.run("topup", ALICE, "10")
    assert flask.json("account", "show", ALICE) == {
        "account": ALICE,
        "balance": "10.00",
        "held": "0.00",
        "available": "10.00",
        "limit": None,
        "window": "none",
        "spent": "0.00",
        "time_zone": "Australia/Sydney",
    }
    assert "Available  10.00 AUD\n" in flask.run("account", "show", ALICE).stdout


def test_an_account_s_limit_is_set_and_lifted(flask: Commands) -> None:
    said = flask.out("account", "limit", ALICE, "20", "--window", "month")
    assert said == f"The spending limit of {ALICE}: 20.00 AUD a month."
    shown = flask.json("account", "show", ALICE)
    assert (shown["limit"], shown["window"]) == ("20.00", "month")
    assert flask.out("account", "limit", ALICE, "0") == f"The spending limit of {ALICE}: 0.00 AUD."
    assert flask.json("account", "show", ALICE)["limit"] == "0.00"
    assert flask.out("account", "limit", ALICE, "none") == f"The spending limit of {ALICE}: none."
    shown = flask.json("account", "show", ALICE)
    assert (shown["limit"], shown["window"]) == (None, "none")


def test_a_limit_below_nothing_is_refused(flask: Commands) -> None:
    assert "negative" in flask.refused("account", "limit", ALICE, "-1")
    assert "AMOUNT" in flask.refused("account", "limit", ALICE, "lots")


def test_a_window_without_a_limit_is_a_mistake(flask: Commands) -> None:
    words = ("account", "limit", ALICE, "none", "--window", "day")
    assert "--window" in flask.refused(*words, status=2)


# The exchange rate


def test_the_exchange_rate_is_set(flask: Commands) -> None:
    assert flask.out("fx", "set", "1.5") == "1 USD is 1.50 AUD from the next call on."


@pytest.mark.parametrize("rate", ["0", "-1.5", "many", "1e2"])
def test_a_rate_that_is_none_is_refused(flask: Commands, rate: str) -> None:
    assert "AUD_PER_USD" in flask.refused("fx", "set", rate)


# The books


def test_books_that_add_up_are_said_to(flask: Commands) -> None:
    flask.run("topup", ALICE, "10")
    report = flask.json("books", "check")
    assert (report["ok"], report["problems"]) == (True, [])
    assert flask.out("books", "check").startswith("The books add up")


def test_books_that_do_not_add_up_end_with_status_one(flask: Commands) -> None:
    flask.run("topup", ALICE, "10")
    with flask.bridge.database.transaction() as session:
        session.execute(text("UPDATE accounts SET balance_nanos = balance_nanos + 1"))
    told = flask.run("books", "check", status=1)
    assert "do NOT add up" in told.stdout
    assert "Problem: " in told.stderr
    assert '"ok": false' in flask.run("books", "check", "--json", status=1).stdout
    with flask.bridge.database.transaction() as session:
        session.execute(text("UPDATE accounts SET balance_nanos = balance_nanos - 1"))
