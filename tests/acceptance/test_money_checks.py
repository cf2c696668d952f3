"""Acceptance checks of limits and balance, each named after its number in docs/acceptance.md.

Against a bridge in a process of its own. Check 10, several replicas, does not apply.
"""

import threading
import unicodedata
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anthropic
import openai
import pytest
import requests
from hostile import HostileUpstream, reply, stream
from people import ROOT
from running import RunningBridge, cost_nanos, set_up
from till import CALL_NANOS, CALL_TOKENS, EXACT, EXACT_TOKEN_NANOS, GPT, Till, aud, error_of
from torture.limits import CALLS, at_once
from web_site import ALICE, CHARLIE

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def _exact_answers(upstream: HostileUpstream) -> None:
    """Every answer uses up its maximum, so that it costs what was held."""
    upstream.will(reply("x" * 400, completion_tokens=CALL_TOKENS))


@pytest.mark.parametrize("k", [0, 1, 7])
def test_check_09_of_500_calls_at_once_as_many_pass_as_the_limit_pays_for(
    till: Till, upstream: HostileUpstream, k: int
) -> None:
    answers = at_once(till.url, till.live_key(k * CALL_NANOS))
    assert answers["200"] == k
    refused = answers["spending_limit_exceeded"] + answers["budget_in_flight"]  # each a 429
    assert (sum(answers.values()), refused) == (CALLS, CALLS - k)
    assert len(upstream.seen()) == k


def test_check_11_the_balance_is_never_below_nothing_however_often_one_looks(
    till: Till, upstream: HostileUpstream
) -> None:
    """At least twenty times while calls are upstream: none is answered before."""
    upstream.will(reply("x" * 400, completion_tokens=CALL_TOKENS, gate="door"))
    charlie = till.browser(CHARLIE)
    secret = till.key(charlie, mode="live")[1]
    till.bridge.flask("topup", CHARLIE, aud(7 * CALL_NANOS))
    account = str(till.value("SELECT account_id FROM users WHERE email = ?", CHARLIE))
    over, seen = threading.Event(), []

    def look() -> None:
        query = "SELECT balance_nanos, balance_nanos - held_nanos FROM accounts WHERE id = ?"
        while not over.is_set():
            (row,) = till.bridge.rows(query, account)
            seen.append(min(row.values()))
            if seen.count(0) == 20:
                upstream.open("door")
            over.wait(0.002)

    looking = threading.Thread(target=look)
    looking.start()
    answers = till.at_once(60, lambda: till.exact(secret))
    over.set()
    looking.join()
    assert Counter(answer.status_code for answer in answers) == {200: 7, 429: 53}
    assert seen.count(0) >= 20
    assert min(seen) == 0
    assert "AUD\xa00.00" in charlie.get("/billing").text


def test_check_12_a_refusal_for_money_says_what_is_left_and_until_when(till: Till) -> None:
    secret = till.live_key(CALL_NANOS, "day")
    assert till.exact(secret).status_code == 200
    answer = till.exact(secret)
    assert error_of(answer) == (429, "spending_limit_exceeded")
    error = answer.json()["error"]
    assert error["type"] == "insufficient_quota"
    assert "AUD 0.00 is left" in error["message"]
    midnight = (datetime.now(ZoneInfo("Australia/Sydney")) + timedelta(days=1)).replace(hour=0)
    assert f"afresh on {midnight.astimezone(UTC):%Y-%m-%d at %H}:00 UTC" in (error["message"])
    assert answer.headers["x-should-retry"] == "false"


def test_check_12_the_stock_sdks_send_a_refused_call_once(
    till: Till, upstream: HostileUpstream
) -> None:
    secret = till.live_key(0)
    sent: list[Any] = []
    hooks: Any = {"request": [sent.append]}
    with openai.DefaultHttpxClient(event_hooks=hooks) as http:
        client = openai.OpenAI(api_key=secret, base_url=f"{till.url}/v1", http_client=http)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model=GPT, messages=HELLO)
    assert len(sent) == 1
    with anthropic.DefaultHttpxClient(event_hooks=hooks) as http:
        other = anthropic.Anthropic(api_key=secret, base_url=till.url, http_client=http)
        with pytest.raises(anthropic.RateLimitError):
            other.messages.create(model=GPT, messages=HELLO, max_tokens=9)
    assert len(sent) == 2
    assert upstream.seen() == []


def test_check_13_the_keys_limit_blocks_alone(till: Till) -> None:
    secret = till.live_key(CALL_NANOS)
    assert till.exact(secret).status_code == 200
    refused = till.exact(secret)
    assert error_of(refused) == (429, "spending_limit_exceeded")
    assert "this API key" in refused.json()["error"]["message"]
    assert till.exact(till.live_key()).status_code == 200


def test_check_13_the_accounts_limit_and_its_balance_each_block_alone(till: Till) -> None:
    till.bridge.flask("team", "create", "Poor", "--owner", ALICE)
    team = str(till.value("SELECT id FROM teams WHERE name = 'Poor'"))
    secret = till.key(till.alice(), mode="live", account=team)[1]
    refused = till.exact(secret)
    assert error_of(refused) == (429, "insufficient_balance")
    till.bridge.flask("topup", "team:Poor", "5")
    assert till.exact(secret).status_code == 200
    till.bridge.flask("account", "limit", "team:Poor", aud(CALL_NANOS))
    refused = till.exact(secret)
    assert error_of(refused) == (429, "spending_limit_exceeded")
    assert "account" in refused.json()["error"]["message"]
    till.bridge.flask("account", "limit", "team:Poor", "none")
    assert till.exact(secret).status_code == 200


def test_check_14_a_lowered_limit_refuses_and_a_raised_one_admits_at_once(till: Till) -> None:
    key_id, secret = till.key(till.alice(), mode="live", limit=aud(5 * CALL_NANOS))

    def set_limit(amount_nanos: int) -> None:
        fields = {"name": "A key", "limit": aud(amount_nanos), "window": "none"}
        answer = till.alice().submit(f"/keys/{key_id}/edit", **fields, expires="never")
        assert answer.status_code == 303

    assert [till.exact(secret).status_code for _ in range(2)] == [200, 200]
    set_limit(CALL_NANOS)
    assert error_of(till.exact(secret)) == (429, "spending_limit_exceeded")
    headers = {"Authorization": f"Bearer {secret}"}
    shown = requests.get(f"{till.url}/v1/key", headers=headers, timeout=60).json()
    assert (shown["limit"], shown["spent"]) == (aud(CALL_NANOS), aud(2 * CALL_NANOS))
    set_limit(3 * CALL_NANOS)
    assert [till.exact(secret).status_code for _ in range(2)] == [200, 429]


def test_check_15_without_a_maximum_the_upstream_gets_one_that_the_money_pays_for(
    till: Till, upstream: HostileUpstream
) -> None:
    for affordable in (50, 5000):
        answer = till.call(till.live_key(affordable * EXACT_TOKEN_NANOS), model=EXACT)
        assert answer.status_code == 200
        cap = upstream.seen()[-1]["body"]["max_completion_tokens"]
        assert 0 < cap <= affordable
        assert answer.headers["x-modelbridge-output-cap"] == str(cap)


def test_check_16_an_unaffordable_maximum_is_a_429_with_the_affordable_number(
    till: Till, upstream: HostileUpstream
) -> None:
    secret = till.live_key(CALL_NANOS)
    refused = till.exact(secret, CALL_TOKENS + 1)
    assert error_of(refused) == (429, "max_tokens_unaffordable")
    assert f" {CALL_TOKENS} tokens" in refused.json()["error"]["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert upstream.seen() == []
    assert till.exact(secret, CALL_TOKENS).status_code == 200


def test_check_18_u_fdfa_ten_thousand_times_stays_below_its_hold(
    till: Till, upstream: HostileUpstream
) -> None:
    text = "\ufdfa" * 10_000
    tokens = len(unicodedata.normalize("NFKC", text).encode())
    assert tokens > 5 * len(text.encode())
    upstream.will(reply(prompt_tokens=tokens, completion_tokens=20))
    messages = [{"role": "user", "content": text}]
    answer = till.call(till.live_key(), model="gpt-4.1", messages=messages, max_tokens=20)
    assert answer.status_code == 200
    hold, receipt = till.settled(answer)
    assert (receipt["input_tokens"], receipt["usage_source"]) == (tokens, "reported")
    assert hold["charged_nanos"] == cost_nanos("gpt-4.1", "openai", input=tokens, output=20)
    assert hold["charged_nanos"] <= hold["amount_nanos"]
    assert till.value("SELECT count(*) FROM shortfalls WHERE hold_id = ?", hold["id"]) == 0


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("chat/completions", "service_tier", "priority"),
        ("chat/completions", "tools", [{"type": "web_search"}]),
        ("chat/completions", "web_search_options", {}),
        ("chat/completions", "background", True),
        ("responses", "tools", [{"type": "web_search"}]),
        ("responses", "background", True),
        ("messages", "tools", [{"type": "web_search_20250305", "name": "web_search"}]),
    ],
)
def test_check_20_what_cannot_be_bounded_is_a_400_that_names_it(
    till: Till, upstream: HostileUpstream, path: str, name: str, value: Any
) -> None:
    said = {"input": "Hello"} if path == "responses" else {"messages": HELLO, "max_tokens": 9}
    answer = requests.post(
        f"{till.url}/v1/{path}",
        json={"model": GPT, name: value} | said,
        headers={"Authorization": f"Bearer {till.live_key()}"},
        timeout=60,
    )
    assert answer.status_code == 400, answer.text
    assert name.rstrip("s") in answer.json()["error"]["message"]
    assert upstream.seen() == []


def test_check_20_several_answers_are_priced_in_and_unknown_fields_are_kept(
    till: Till, upstream: HostileUpstream
) -> None:
    held = []
    for n in (1, 3):
        answer = till.exact(till.live_key(), n=n, x_new={"a": 1}, service_tier="auto")
        assert answer.status_code == 200
        held.append(till.settled(answer)[0]["amount_nanos"])
        body = upstream.seen()[-1]["body"]
        assert (body["x_new"], body["service_tier"]) == ({"a": 1}, "default")
    assert held == [CALL_NANOS, 3 * CALL_NANOS]


CLOCK = """
import pathlib, sys
from datetime import datetime
sys.path.insert(0, {root!r})
from modelbridge import clock
clock.now = lambda: datetime.fromisoformat(pathlib.Path({file!r}).read_text())
clock.now_micros = lambda: clock.to_micros(clock.now())
"""
SYDNEY = ZoneInfo("Australia/Sydney")


class Clock:
    """What the bridge's process, and each command beside it, takes for the time."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "now"
        code = CLOCK.format(root=str(ROOT), file=str(self._file))
        (folder / "sitecustomize.py").write_text(code, encoding="utf-8")

    def set(self, moment: datetime) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(moment.astimezone(UTC).isoformat(), encoding="utf-8")
        draft.replace(self._file)


CHANGES = [datetime(2026, 10, 4, tzinfo=SYDNEY), datetime(2027, 4, 4, tzinfo=SYDNEY)]
MOMENT = timedelta(milliseconds=1)


def test_check_21_windows_begin_at_local_midnight_when_daylight_saving_changes(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    clock = Clock(tmp_path)
    clock.set(CHANGES[0] - timedelta(hours=12))
    with RunningBridge.start(tmp_path, PYTHONPATH=str(tmp_path)) as bridge:
        set_up(bridge)
        bridge.upstream("hostile", "openai", upstream.base_url, "sk-upstream-secret")
        prices = ("--input", "0", "--output", "2")
        bridge.flask("model", "add", EXACT, "--upstream", "hostile", *prices)
        secret = bridge.key("daily", "--limit", aud(CALL_NANOS), "--window", "day")
        headers = {"Authorization": f"Bearer {secret}"}
        body = {"model": EXACT, "messages": HELLO, "max_tokens": CALL_TOKENS}

        def call(**more: Any) -> requests.Response:
            url, streamed = f"{bridge.url}/v1/chat/completions", bool(more)
            return requests.post(
                url, json=body | more, headers=headers, timeout=60, stream=streamed
            )

        for day in CHANGES:
            _two_days(call, day, clock, upstream)
        bridge.check_books()


def _two_days(call: Any, day: datetime, clock: Clock, upstream: HostileUpstream) -> None:
    """The day's clock is put forward or back; its limit pays for one call on each day."""
    upstream.will(reply("x" * 400, completion_tokens=CALL_TOKENS))
    clock.set(day - MOMENT)
    assert [call().status_code for _ in range(2)] == [200, 429]
    clock.set(day)
    upstream.will(
        stream(4, completion_tokens=CALL_TOKENS, gate_after=(2, str(day))),
        reply("x" * 400, completion_tokens=CALL_TOKENS),
    )
    with call(stream=True) as running:
        assert running.status_code == 200
        tomorrow = (day + timedelta(days=1)).astimezone(UTC)
        assert tomorrow - day.astimezone(UTC) in (timedelta(hours=23), timedelta(hours=25))
        clock.set(tomorrow - MOMENT)
        assert error_of(call()) == (429, "budget_in_flight")
        clock.set(tomorrow)
        upstream.open(str(day))
        assert running.text.rstrip().endswith("data: [DONE]")
    # What the stream cost belongs to the day of its admission: this one is untouched.
    assert [call().status_code for _ in range(2)] == [200, 429]
