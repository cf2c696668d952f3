"""Acceptance checks of what calls are charged, each named after its number in docs/acceptance.md.

Against a bridge in a process of its own, in front of an upstream that counts for itself. Check 35,
that the books balance, is made after every test of this file by the `till` that they ask for.
"""

import json
import random
import shutil
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import requests
from hostile import HostileUpstream, Step, cut_after, recorded, reply, reset_after_body, stream
from people import wait_for
from running import ALICE, cost_nanos
from till import (
    CALL_NANOS,
    CALL_TOKENS,
    CLAUDE,
    EXACT_TOKEN_NANOS,
    GEMINI,
    GPT,
    Till,
    aud,
    error_of,
)  # fmt: skip
from torture.kills import kills
from torture.real_bridge import new_name

HELLO: Any = [{"role": "user", "content": "Hello"}]


def gpt_nanos(input: int, output: int) -> int:
    return cost_nanos(GPT, "openai", input=input, output=output)


def ask(till: Till, secret: str, path: str, **more: Any) -> requests.Response:
    url, headers = f"{till.url}/v1/{path}", {"Authorization": f"Bearer {secret}"}
    return requests.post(url, json={"messages": HELLO} | more, headers=headers, timeout=60)


def test_check_22_a_thousand_mixed_calls_cost_what_the_upstream_counted(
    till: Till, upstream: HostileUpstream
) -> None:
    chance, secret = random.Random(22), till.live_key()
    upstream.will(*(_some_answer(chance) for _ in range(1000)))
    before = till.bridge.balance_nanos()
    wanted = [(new_name(), chance.choice(["plain", "stream", "messages"])) for _ in range(1000)]

    def call(name: str, kind: str) -> tuple[str, str]:
        if kind == "messages":
            more: dict[str, Any] = {"model": CLAUDE, "metadata": {"user_id": name}}
        else:
            more = {"model": GPT, "user": name, "stream": kind == "stream"}
        path = "messages" if kind == "messages" else "chat/completions"
        answer = ask(till, secret, path, max_tokens=100, **more)
        assert answer.status_code == 200
        return name, answer.headers["x-request-id"]

    with ThreadPoolExecutor(16) as pool:
        ids = dict(pool.map(lambda one: call(*one), wanted))
    bill = 0
    for one in upstream.seen():
        body, said = one["body"], one["usage"]
        price = {"input": said["prompt_tokens"], "output": said["completion_tokens"]}
        claude = one["path"].endswith("/messages")
        expected = cost_nanos(*((CLAUDE, "anthropic") if claude else (GPT, "openai")), **price)
        name = body["metadata"]["user_id"] if claude else body["user"]
        assert till.bridge.receipt(ids[name])["cost_nanos"] == expected
        bill += expected
    assert len(upstream.seen()) == len(ids) == 1000
    assert before - till.bridge.balance_nanos() == bill


def _some_answer(chance: random.Random) -> Step:
    said, answered = chance.randint(1, 500), chance.randint(1, 60)
    return reply("x" * 200, said, answered, chunks=chance.randint(1, 9))


GEMINI_REPLY = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]},
                    "finishReason": "STOP", "index": 0}],
    "modelVersion": GEMINI,
    "usageMetadata": {"promptTokenCount": 1000, "cachedContentTokenCount": 600,
                      "candidatesTokenCount": 100, "thoughtsTokenCount": 300,
                      "totalTokenCount": 1400},
}  # fmt: skip


def test_check_23_cache_reasoning_and_thoughts_are_each_priced_once(
    till: Till, upstream: HostileUpstream
) -> None:
    openai_details = {"prompt_tokens_details": {"cached_tokens": 600},
                      "completion_tokens_details": {"reasoning_tokens": 300}}  # fmt: skip
    claude_details = {
        "cache_read_input_tokens": 600,
        "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    }
    gemini = json.dumps(GEMINI_REPLY).encode()
    cases: list[tuple[str, Step, int]] = [
        (GPT, reply("x" * 1600, 1000, 400, details=openai_details),
         cost_nanos(GPT, "openai", input=400, cache_read=600, output=400)),
        (CLAUDE, reply("x" * 1600, 400, 400, details=claude_details),
         cost_nanos(CLAUDE, input=400, cache_read=600, cache_write=20, cache_write_1h=30,
                    output=400)),
        (GEMINI, recorded(200, "application/json", gemini),
         cost_nanos(GEMINI, "google", input=400, cache_read=600, output=400)),
    ]  # fmt: skip
    text = {"type": "text", "text": "long " * 400, "cache_control": {"type": "ephemeral"}}
    messages = [{"role": "user", "content": [text]}]
    secret = till.live_key()
    for model, step, expected in cases:
        upstream.will(step)
        answer = till.call(secret, model=model, messages=messages, max_tokens=1000)
        assert answer.status_code == 200, answer.text
        hold, receipt = till.settled(answer)
        assert hold["charged_nanos"] == receipt["cost_nanos"] == expected, model
        assert (receipt["input_tokens"], receipt["cache_read_tokens"]) == (400, 600)
        assert (receipt["output_tokens"], receipt["usage_source"]) == (400, "reported")


def test_check_24_a_stream_whose_usage_nobody_asked_for_is_billed_and_not_told(
    till: Till, upstream: HostileUpstream
) -> None:
    upstream.will(stream(5, prompt_tokens=100))
    answer = till.call(till.live_key(), model=GPT, stream=True, max_tokens=50)
    frames = [json.loads(one[6:]) for one in answer.text.split("\n\n") if one.startswith("data: {")]
    assert upstream.seen()[0]["body"]["stream_options"] == {"include_usage": True}
    assert all(one["choices"] and not one.get("usage") for one in frames)
    assert answer.text.endswith("data: [DONE]\n\n")
    assert till.settled(answer)[1]["cost_nanos"] == gpt_nanos(100, 5)


@pytest.mark.parametrize("frames", [0, 10, 20], ids=["one-byte", "half", "before-the-last"])
def test_check_25_a_client_that_leaves_is_charged_what_the_upstream_counted(
    till: Till, upstream: HostileUpstream, frames: int
) -> None:
    upstream.will(stream(20, 0.02, prompt_tokens=100, stops_when_client_leaves=False))
    body = {"model": GPT, "stream": True, "messages": HELLO, "max_tokens": 50}
    key_id, secret = till.key(till.alice(), mode="live")
    with till.line(secret, json.dumps(body).encode()) as line:
        seen = line.recv(1)
        while seen.count(b"data: ") < frames:
            seen += line.recv(4096)
    wait_for(lambda: upstream.seen()[0]["answered"])
    (receipt,) = wait_for(lambda: till.bridge.rows("SELECT * FROM calls WHERE key_id = ?", key_id))
    assert receipt["finish"] == "client_left"
    hold = till.hold(receipt["id"])
    assert (hold["state"], hold["charged_nanos"]) == ("posted", gpt_nanos(100, 20))
    assert till.value("SELECT count(*) FROM holds WHERE state IN ('held', 'unknown')") == 0


def test_check_26_a_refused_connection_costs_nothing(till: Till, upstream: HostileUpstream) -> None:
    before = till.bridge.balance_nanos()
    upstream.refuse()
    answer = till.call(till.live_key(), model=GPT)
    assert error_of(answer) == (502, "upstream_error")
    assert till.settled(answer)[0]["state"] == "void"
    assert till.bridge.balance_nanos() == before


def test_check_26_a_reset_after_the_body_is_unknown_and_not_tried_again(
    till: Till, upstream: HostileUpstream
) -> None:
    before = till.bridge.balance_nanos()
    upstream.will(reset_after_body())
    answer = till.call(till.live_key(), model=GPT)
    hold = till.hold(answer.headers["x-request-id"])
    assert error_of(answer) == (502, "upstream_error")
    assert answer.headers["x-should-retry"] == "false"
    assert (hold["state"], hold["charged_nanos"]) == ("unknown", None)
    assert len(upstream.seen()) == 1
    # Nobody saw an answer, so once the grace is over it is void, and listed for the administrator.
    hold, _ = till.settled(answer)
    assert (hold["state"], hold["flagged"]) == ("void", 1)
    assert hold["call_id"] in till.alice().get("/admin/money/flagged").text
    assert till.bridge.balance_nanos() == before


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_check_27_a_cut_stream_says_so_and_is_charged_by_the_evidence(
    till: Till, upstream: HostileUpstream, framing: Any
) -> None:
    upstream.will(cut_after(4, framing=framing))
    answer = till.call(till.live_key(), model=GPT, stream=True, max_tokens=50)
    assert '"error"' in answer.text
    assert "[DONE]" not in answer.text
    assert '"finish_reason":"stop"' not in answer.text.replace(" ", "")
    hold, receipt = till.settled(answer)
    assert 0 < hold["charged_nanos"] <= hold["amount_nanos"]
    assert (hold["flagged"], receipt["usage_source"], receipt["finish"]) == (
        1, "estimated", "failed",
    )  # fmt: skip


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": -5, "completion_tokens": 5}])
def test_check_28_missing_and_negative_usage_is_estimated_within_the_hold(
    till: Till, upstream: HostileUpstream, usage: Any
) -> None:
    upstream.will(reply("four" * 10, usage=usage))
    answer = till.call(till.live_key(), model=GPT, max_tokens=50)
    assert answer.status_code == 200
    hold, receipt = till.settled(answer)
    assert (receipt["usage_source"], receipt["output_tokens"]) == ("estimated", 10)
    assert 0 < hold["charged_nanos"] <= hold["amount_nanos"]


def test_check_28_usage_of_three_holds_is_charged_once_told_and_listed(
    till: Till, upstream: HostileUpstream
) -> None:
    three = {"prompt_tokens": 0, "completion_tokens": 3 * CALL_TOKENS}
    upstream.will(reply("x" * 40, usage=three))
    answer = till.exact(till.live_key())
    hold, receipt = till.settled(answer)
    assert hold["charged_nanos"] == hold["amount_nanos"] == receipt["cost_nanos"] == CALL_NANOS
    query = "SELECT amount_nanos FROM shortfalls WHERE hold_id = ?"
    assert till.value(query, hold["id"]) == 2 * CALL_NANOS


@pytest.mark.parametrize("path", ["chat/completions", "messages"])
def test_check_29_an_error_after_the_200_is_not_shown_as_success(
    till: Till, upstream: HostileUpstream, path: str
) -> None:
    model = GPT if path == "chat/completions" else CLAUDE
    upstream.will(stream(5, error_after=2))
    answer = ask(till, till.live_key(), path, model=model, stream=True, max_tokens=50)
    assert answer.status_code == 200
    assert '"error"' in answer.text
    for end in ("[DONE]", "message_stop", '"finish_reason":"stop"', "end_turn"):
        assert end not in answer.text
    hold, receipt = till.settled(answer)
    assert receipt["finish"] == "failed"
    assert hold["charged_nanos"] <= hold["amount_nanos"]


def test_check_30_after_a_kill_each_call_is_posted_as_counted_or_unknown(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    """Three times; `make torture` does it 200 times."""
    found = kills(3, tmp_path, upstream, seed=30)
    assert found["kills"] == 3
    assert found["seen by the upstream and posted"] > 0


def test_check_31_a_price_or_rate_that_changes_in_mid_stream_changes_nothing(
    till: Till, upstream: HostileUpstream
) -> None:
    bridge, secret = till.bridge, till.live_key()
    bridge.flask("model", "add", "gpt-dear", "--upstream", "hostile", "--input=1", "--output=2")
    upstream.will(
        stream(3, prompt_tokens=100, completion_tokens=500, gate_after=(2, "price")),
        reply("x" * 2000, prompt_tokens=100, completion_tokens=500),
    )
    wanted: dict[str, Any] = {"model": "gpt-dear", "max_tokens": 600}
    try:
        with till.call(secret, **wanted, stream=True) as running:
            assert running.status_code == 200
            new = ("--input=10", "--output=20")
            bridge.flask("model", "add", "gpt-dear", "--upstream", "hostile", *new)
            bridge.flask("fx", "set", "3.2")
            upstream.open("price")
            assert running.text.endswith("data: [DONE]\n\n")
        assert till.settled(running)[1]["cost_nanos"] == (100 + 2 * 500) * 1600
        after = till.call(secret, **wanted)
        assert till.settled(after)[1]["cost_nanos"] == (100 + 2 * 500) * 1600 * 20
    finally:
        bridge.flask("fx", "set", "1.6")


def test_check_32_fifty_calls_with_one_idempotency_key_are_one_at_the_upstream(
    till: Till, upstream: HostileUpstream
) -> None:
    secret, once = till.live_key(), {"Idempotency-Key": new_name()}
    upstream.will(reply(delay=0.2))
    answers = till.at_once(50, lambda: till.exact(secret, headers=once))
    codes = Counter(
        answer.status_code if answer.status_code == 200 else error_of(answer) for answer in answers
    )
    refused = codes[409, "idempotency_in_flight"] + codes[409, "idempotency_done"]
    assert (codes[200], refused) == (1, 49)
    assert {a.headers.get("x-should-retry") for a in answers if a.status_code == 409} == {"false"}
    other = till.exact(secret, CALL_TOKENS - 1, headers=once)
    assert error_of(other) == (422, "idempotency_mismatch")
    assert len(upstream.seen()) == 1


def test_check_33_a_top_up_with_the_same_reference_is_one_credit(till: Till) -> None:
    before = till.bridge.balance_nanos()
    for _ in range(2):
        till.bridge.flask("topup", ALICE, "5", "--reference", "INV-33")
    assert till.bridge.balance_nanos() - before == 5 * 10**9
    account = till.value("SELECT account_id FROM users WHERE email = ?", ALICE)
    page = f"/admin/money/accounts/{account}/top-up"
    for amount in ("-5", "0", "0.00", "100000001", "9" * 30, "1e3", "NaN", ""):
        answer = till.alice().submit(page, amount=amount, reference="", note="")
        assert answer.status_code == 400, amount
    assert till.bridge.balance_nanos() - before == 5 * 10**9


def test_check_34_refunds_never_exceed_the_charge(till: Till) -> None:
    answer = till.exact(till.live_key())
    hold, _ = till.settled(answer)
    charged, before = int(hold["charged_nanos"]), till.bridge.balance_nanos()
    page = f"/admin/money/receipts/{hold['call_id']}/refund"

    def refund(amount_nanos: int) -> int:
        return till.alice().submit(page, amount=aud(amount_nanos), note="").status_code

    assert charged == 5 * EXACT_TOKEN_NANOS
    assert refund(charged + 1) == 400
    assert refund(charged - 1) == 303
    assert [refund(2), refund(1), refund(1)] == [400, 303, 400]
    assert till.bridge.balance_nanos() - before == charged


def test_check_35_the_audit_says_that_the_books_balance_and_finds_when_they_do_not(
    till: Till, tmp_path: Path
) -> None:
    assert till.exact(till.live_key()).status_code == 200
    assert json.loads(till.bridge.flask("books", "check", "--json"))["problems"] == []
    copy = tmp_path / "modelbridge.db"
    till.bridge.flask("backup", str(copy))
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE accounts SET balance_nanos = balance_nanos + 1")
    for name in ("master.key", "secret.key"):
        shutil.copy(till.bridge.data_dir / name, tmp_path)
    done = till.bridge.flask_done("books", "check", MODELBRIDGE_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "balance" in done.stdout + done.stderr


def test_check_28_the_operator_is_alerted_of_a_shortfall(
    till: Till, upstream: HostileUpstream
) -> None:
    """Last, because alerts are looked for every half minute."""
    if not till.value("SELECT count(*) FROM shortfalls"):
        three = {"prompt_tokens": 0, "completion_tokens": 3 * CALL_TOKENS}
        upstream.will(reply("x" * 40, usage=three))
        till.settled(till.exact(till.live_key()))
    query = "SELECT next_step FROM alerts WHERE kind = 'shortfall'"
    assert wait_for(lambda: till.value(query), 60)
    told = unescape(till.alice().get("/admin/alerts").text)
    assert till.value(query) in told
