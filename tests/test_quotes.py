"""Quotes: the most that a call can cost, and the cap on output that the money allows."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hostile import HostileUpstream, reply
from hypothesis import given
from hypothesis import strategies as st
from people import TestBridge

from modelbridge.errors import (
    BridgeError,
    BudgetInFlight,
    InsufficientBalance,
    MaxTokensUnaffordable,
    SpendingLimitReached,
)
from modelbridge.gateway.admission import LEAST_TOKENS, OPEN_ENDED_TOKENS, Quote
from modelbridge.ledger.holds import Funds, Purse
from modelbridge.money import MAX_NANOS, NANOS, Price, Rates
from modelbridge.store.tables import Shortfall

TOKEN = 1_000  # nano-AUD, at USD 1 a million and AUD 1 the USD
FLAT = Price(Rates(input=NANOS, output=NANOS))


def quote(**more: Any) -> Quote:
    """10 tokens of input and up to 100,000 of output, all at a thousandth of a cent."""
    fields: dict[str, Any] = {
        "offers": (),
        "flats": ((10, FLAT),),
        "fx_version": 1,
        "aud_per_usd_nanos": NANOS,
        "choices": 1,
        "asked": None,
        "most_output": 100_000,
        "room": MAX_NANOS,
        "input_bytes": 10,
    }
    return Quote(**(fields | more))


def funds(tokens: int, if_freed: int | None = None, **more: Any) -> Funds:
    """Money for that many tokens; for `if_freed` if nobody else held any."""
    freed = tokens if if_freed is None else if_freed
    purse = Purse(more.pop("name", "balance"), tokens * TOKEN, freed * TOKEN, **more)
    return Funds((purse,), "user")


def refusal(asked: Quote, money: Funds) -> BridgeError:
    with pytest.raises(BridgeError) as refused:
        asked.cap(money)
    return refused.value


def test_a_quote_is_the_dearest_targets_for_every_answer() -> None:
    dear = Price(Rates(input=1, output=5 * NANOS), per_call=7)
    asked = quote(flats=((10, FLAT), (20, dear)), choices=3)
    assert asked.nanos(0) == 10 * TOKEN
    assert asked.nanos(2) == 3 * 2 * 5 * TOKEN + 7 + 1  # twenty tokens at a nano-dollar round up
    assert quote(choices=3).nanos(2) == (10 + 3 * 2) * TOKEN
    assert quote(aud_per_usd_nanos=2 * NANOS).nanos(2) == 2 * (10 + 2) * TOKEN


def test_what_is_affordable_is_affordable_at_every_target() -> None:
    dear = Price(Rates(output=5 * NANOS))
    asked = quote(flats=((10, FLAT), (0, dear)))
    assert asked.affordable(110 * TOKEN) == 22
    assert asked.affordable(12 * TOKEN) == 2
    assert asked.affordable(9 * TOKEN) == 0  # not even the input, at the first
    assert quote(choices=4).affordable(30 * TOKEN) == 5


@pytest.mark.parametrize(
    ("asked", "most", "least"),
    [(None, 100_000, 16), (None, 5, 5), (7, 100_000, 7), (99, 100_000, 16), (99, 5, 5), (1, 5, 1)],
)
def test_fewer_tokens_than_this_are_a_refusal(asked: int | None, most: int, least: int) -> None:
    assert quote(asked=asked, most_output=most).least == least


# Without a maximum


@pytest.mark.parametrize(
    ("tokens", "cap"),
    [
        (10 + LEAST_TOKENS, LEAST_TOKENS),  # as much as there is
        (10 + OPEN_ENDED_TOKENS - 1, OPEN_ENDED_TOKENS - 1),
        (10 + OPEN_ENDED_TOKENS + 1, OPEN_ENDED_TOKENS),
        (4 * (10 + OPEN_ENDED_TOKENS), OPEN_ENDED_TOKENS),  # a quarter buys just that
        (4 * (10 + OPEN_ENDED_TOKENS + 1), OPEN_ENDED_TOKENS + 1),
        (4 * 50_010, 50_000),
        (4 * 100_010, 100_000),
        (4 * 999_999, 100_000),  # the model's own maximum
    ],
)
def test_an_open_ended_call_gets_4096_tokens_or_what_a_quarter_of_the_money_buys(
    tokens: int, cap: int
) -> None:
    assert quote().cap(funds(tokens)) == cap


def test_an_open_ended_call_gets_no_more_than_the_window_leaves() -> None:
    assert quote(room=300).cap(funds(9_999_999)) == 300
    assert quote(room=300, most_output=200).cap(funds(9_999_999)) == 200


def test_too_little_money_for_a_short_answer_is_a_refusal() -> None:
    error = refusal(quote(), funds(10 + LEAST_TOKENS - 1))
    assert isinstance(error, InsufficientBalance)
    assert "AUD 0.000025 is left" in error.message
    assert "could cost AUD 0.000026" in error.message
    assert quote(most_output=3).cap(funds(13)) == 3
    assert isinstance(refusal(quote(most_output=3), funds(12)), InsufficientBalance)


def test_money_that_others_hold_is_worth_waiting_for_if_it_would_be_enough() -> None:
    error = refusal(quote(), funds(25, if_freed=26))
    assert isinstance(error, BudgetInFlight)
    assert error.retry_after == 1
    assert isinstance(refusal(quote(), funds(5, if_freed=25)), InsufficientBalance)


# With a maximum


def test_a_maximum_that_is_paid_for_is_taken_as_it_is() -> None:
    assert quote(asked=500).cap(funds(510)) == 500
    assert quote(asked=500, room=3).cap(funds(510)) == 500
    assert quote(asked=0, most_output=0).cap(funds(10)) == 0


def test_a_maximum_that_others_hold_the_money_for_waits() -> None:
    assert isinstance(refusal(quote(asked=500), funds(509, if_freed=510)), BudgetInFlight)


def test_a_maximum_that_cannot_be_paid_for_is_told_what_can_be() -> None:
    error = refusal(quote(asked=500), funds(100, if_freed=509))
    assert isinstance(error, MaxTokensUnaffordable)
    assert error.param == "max_completion_tokens"
    assert "at most 499 tokens" in error.message
    assert "A maximum of 500 output tokens could cost AUD 0.00051" in error.message
    assert "the personal balance leaves AUD 0.000509" in error.message
    error = refusal(quote(asked=500), funds(26))
    assert isinstance(error, MaxTokensUnaffordable)
    assert isinstance(refusal(quote(asked=500), funds(25)), InsufficientBalance)


# Whose money it is


RESETS = datetime(2026, 11, 30, 13, tzinfo=UTC)


def test_a_refusal_names_the_purse_that_is_empty_and_when_it_is_full_again() -> None:
    limited = funds(5, name="key_limit", limit=50 * TOKEN, resets_at=RESETS)
    error = refusal(quote(), limited)
    assert isinstance(error, SpendingLimitReached)
    assert "this API key (AUD 0.00005)" in error.message
    assert "It starts afresh on 2026-11-30 at 13:00 UTC." in error.message
    team = Funds((Purse("account_limit", 0, -7, 40 * TOKEN),), "team")
    error = refusal(quote(), team)
    assert isinstance(error, SpendingLimitReached)
    assert "the team's account (AUD 0.00004)" in error.message
    assert "AUD 0.00 is left" in error.message
    assert "afresh" not in error.message
    error = refusal(quote(), Funds((Purse("balance", 0, 0),), "team"))
    assert isinstance(error, InsufficientBalance)
    assert "The team's balance" in error.message


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("balance", "user", "the personal balance"),
        ("balance", "team", "the team's balance"),
        ("key_limit", "team", "the key's spending limit"),
        ("account_limit", "user", "the account's spending limit"),
    ],
)
def test_money_in_flight_is_named_by_its_purse(name: str, kind: str, words: str) -> None:
    money = Funds((Purse(name, 0, 26 * TOKEN),), kind)
    assert words in refusal(quote(), money).message


@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.one_of(st.none(), st.integers(1, 200_000)),
    st.integers(1, 8),
    st.integers(0, 50_000),
)
def test_a_cap_is_always_paid_for_and_a_wait_is_never_in_vain(
    unheld: int, held: int, asked: int | None, choices: int, bound: int
) -> None:
    one = quote(asked=asked, choices=choices, flats=((bound, FLAT),))
    money = Funds((Purse("balance", unheld, unheld + held),), "user")
    freed = Funds((Purse("balance", unheld + held, unheld + held),), "user")
    try:
        cap = one.cap(money)
    except BudgetInFlight:
        assert one.cap(freed) >= one.least
    except (InsufficientBalance, MaxTokensUnaffordable):
        assert asked is None or one.nanos(asked) > unheld + held
        with pytest.raises((InsufficientBalance, MaxTokensUnaffordable)):
            one.cap(freed)
    else:
        assert one.nanos(cap) <= unheld
        assert cap >= one.least


# Thoughts that the maximum does not bound


@pytest.mark.parametrize(
    ("more", "thoughts"),
    [
        ({}, 131_072),
        ({"thinking_budget": 1_000}, 1_000),
        ({"thinking_budget": 10**9}, 131_072),
        ({"thinking_budget": 0}, 131_072),
        ({"thinking_budget": True}, 131_072),
        ({"enable_thinking": True}, 131_072),
        ({"enable_thinking": False}, 0),
        ({"n": 3, "thinking_budget": 7}, 21),
    ],
)
def test_where_the_maximum_bounds_the_answer_alone_thoughts_are_held_for_too(
    bridge: TestBridge, upstream: HostileUpstream, more: dict[str, Any], thoughts: int
) -> None:
    bridge.upstream("qwen", upstream.base_url, "qwen")
    bridge.model("qwen-test", "qwen")
    key = bridge.person("dora").key()
    held = []
    for model in ("gpt-test", "qwen-test"):
        upstream.will(reply(completion_tokens=40, obey_maximum=False))
        assert key.chat(model, max_tokens=20, **more).status_code == 200
        bridge.settle_down()
        held.append(bridge.last_call().held_nanos or 0)
    names = len("qwen-test") - len("gpt-test")
    assert held[1] - held[0] == (names + 2 * thoughts) * 1_530
    assert bridge.rows(Shortfall) == []
