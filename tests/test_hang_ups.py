"""Clients that leave, keys that are revoked, processes that die: charged what it came to."""

import json
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from hostile import HostileUpstream, hang, recorded, reply, stream
from people import Key, Person, TestBridge, wait_for

from modelbridge.gateway import streaming
from modelbridge.store.tables import Hold


def leave_after(bridge: TestBridge, key: Key, upstream: HostileUpstream, frames: int) -> None:
    """Read that many frames on a socket of one's own, then hang up without a word."""
    body = '{"model": "gpt-test", "stream": true, "messages": [{"role": "user", "content": "Hi"}]}'
    address = urlsplit(bridge.url)
    with socket.create_connection((address.hostname, address.port)) as line:
        line.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {key.secret}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        seen = b""
        while seen.count(b"data: ") < frames:
            piece = line.recv(4096)
            assert piece, seen
            seen += piece
        upstream.wait_for(1)


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_a_client_that_leaves_is_charged_what_the_upstream_bills(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, frames: int
) -> None:
    upstream.will(stream(20, 0.02, prompt_tokens=100, stops_when_client_leaves=False))
    leave_after(bridge, key, upstream, frames)
    wait_for(bridge.calls)
    receipt = bridge.last_call()
    assert receipt.finish == "client_left"
    assert receipt.usage_source == "reported"
    assert (receipt.input_tokens, receipt.output_tokens) == (100, 20)


def test_where_closing_stops_the_meter_the_stream_is_closed_and_estimated(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    bridge.upstream("local", upstream.base_url, "llamacpp")
    bridge.model("gpt-test", "local")
    upstream.will(stream(100, 0.05))
    leave_after(bridge, key, upstream, 4)
    upstream.wait(lambda seen: bool(seen) and seen[0]["client_left"])
    wait_for(bridge.calls)
    receipt = bridge.last_call()
    assert (receipt.finish, receipt.usage_source) == ("client_left", "estimated")
    assert 0 < receipt.output_tokens < 50


def test_a_hang_up_is_noticed_within_a_second_while_the_upstream_is_silent(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    bridge.upstream("local", upstream.base_url, "llamacpp")
    bridge.model("gpt-test", "local")
    upstream.will(hang())
    leave_after(bridge, key, upstream, 0)
    left = time.monotonic()
    wait_for(bridge.calls)
    assert time.monotonic() - left < 1.5
    assert bridge.last_call().finish == "client_left"


def test_what_came_before_an_upstream_fell_silent_is_kept_should_the_bridge_die(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(stream(10, prompt_tokens=100, gate_after=(6, "door")))
    with key.stream() as answer:
        lines = answer.iter_lines()
        next(line for line in lines if b"w4" in line)
        evidence = wait_for(lambda: bridge.rows(Hold)[0].evidence, 2 * streaming.EVIDENCE_SECONDS)
        assert evidence["answered"]
        assert evidence["output_bytes"] == len("w0 w1 w2 w3 w4 ")
        upstream.open("door")
        assert b"[DONE]" in list(lines)[-2]
    bridge.settle_down()
    assert bridge.last_call().usage_source == "reported"


@pytest.mark.parametrize("code", [429, 400, 500])
def test_a_client_that_leaves_while_a_refusal_is_read_pays_nothing_for_it(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, code: int
) -> None:
    """What the head said is enough: an upstream that refuses bills nothing."""
    bridge.upstream("local", upstream.base_url, "llamacpp")
    bridge.model("gpt-test", "local")
    slow: dict[str, Any] = {"piece_bytes": 5, "gate_after": (1, "never")}
    upstream.will(recorded(code, "application/json", b'{"error": {"message": "no"}}', **slow))
    leave_after(bridge, key, upstream, 0)
    wait_for(bridge.calls)
    bridge.settle_down()
    (hold,) = bridge.rows(Hold)
    assert (hold.state, hold.charged_nanos) == ("void", None)
    assert hold.flagged == (code == 500)  # which may have been billed
    assert bridge.last_call().cost_nanos is None
    upstream.open("never")


def test_a_client_that_never_reads_its_stream_still_pays(
    bridge: TestBridge, alice: Person, key: Key, upstream: HostileUpstream
) -> None:
    upstream.will(stream(5, prompt_tokens=10))
    leave_after(bridge, key, upstream, 0)
    wait_for(bridge.calls)
    assert bridge.last_call().output_tokens == 5


@pytest.mark.parametrize("streamed", [True, False])
def test_revoking_a_key_cuts_its_calls_within_a_second(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, streamed: bool
) -> None:
    if streamed:
        upstream.will(stream(500, 0.05))
        with key.stream() as answer:
            lines = answer.iter_lines()
            next(lines)
            key.revoke()
            revoked = time.monotonic()
            rest = b"\n".join(lines)
        assert time.monotonic() - revoked < 1.5
        assert b"api_key_revoked" in rest
        assert b"[DONE]" not in rest
    else:
        from concurrent.futures import ThreadPoolExecutor

        upstream.will(hang())
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(key.chat)
            upstream.wait_for(1)
            key.revoke()
            assert call.result(timeout=2).json()["error"]["code"] == "api_key_revoked"
    bridge.settle_down()
    receipt = bridge.last_call()
    assert (receipt.finish, receipt.usage_source) == ("revoked", "estimated")
    assert receipt.cost_nanos
    answer = key.chat()
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "api_key_revoked"


def test_a_disabled_persons_keys_stop_at_once(bridge: TestBridge, alice: Person, key: Key) -> None:
    from modelbridge import clock
    from modelbridge.store.tables import User

    assert key.chat().status_code == 200
    with bridge.database.transaction() as session:
        session.get_one(User, alice.id).disabled_at = clock.now()
    answer = key.chat()
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "api_key_revoked"


def test_a_team_key_is_charged_to_the_team_and_dies_with_the_membership(
    bridge: TestBridge, alice: Person, bob: Person
) -> None:
    from modelbridge.identity import teams, users
    from modelbridge.store.tables import Membership

    account_id = bridge.team("Rockets", alice, aud="5")
    with bridge.database.transaction() as session:
        team, member = teams.find_team(session, "Rockets"), users.get_user(session, bob.id)
        assert team is not None
        assert member is not None
        teams.add_member(session, team, member, "member")
    key = bridge.key(account_id=account_id, user_id=bob.id)
    assert key.chat().status_code == 200
    assert bridge.account(account_id).balance_nanos < 5_000_000_000
    assert bob.account.balance_nanos == 10_000_000_000
    with bridge.database.transaction() as session:
        session.query(Membership).filter_by(user_id=bob.id).delete()
    assert key.chat().json()["error"]["code"] == "api_key_revoked"


def test_when_all_workers_are_busy_a_call_gets_503_and_pages_still_answer(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import requests

    slots = bridge.bridge.gateway.slots
    slots.size = 3
    upstream.will(reply(gate="door"))
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(key.chat) for _ in range(3)]
        upstream.wait_for(3)
        started = time.monotonic()
        answer = key.chat()
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "overloaded"
        assert answer.headers["retry-after"]
        assert requests.get(f"{bridge.url}/healthz", timeout=5).status_code == 200
        assert requests.get(f"{bridge.url}/login", timeout=5).status_code == 200
        assert key.get("/v1/models").status_code == 200
        assert time.monotonic() - started < 2
        upstream.open("door")
        assert [call.result().status_code for call in calls] == [200] * 3


def test_comments_keep_a_silent_stream_alive(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelbridge.gateway.streaming import StreamBody

    monkeypatch.setattr(StreamBody, "keep_alive_seconds", 0.1)
    upstream.will(stream(3, gate_after=(2, "door")))
    with key.stream() as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(b":")) == b": keep-alive"
        upstream.open("door")
        assert b"data: [DONE]" in list(lines)


@pytest.mark.parametrize(("switch", "source"), [("close", "estimated"), ("drain", "reported")])
def test_the_operator_may_say_what_a_hang_up_does_at_an_upstream(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, switch: str, source: str
) -> None:
    from modelbridge.catalog import admin

    with bridge.database.transaction() as session:
        admin.set_on_hang_up(session, "hostile", switch)
    upstream.will(stream(20, 0.02, stops_when_client_leaves=False))
    leave_after(bridge, key, upstream, 3)
    wait_for(bridge.calls)
    assert bridge.last_call().usage_source == source


def test_an_upstream_is_heard_out_for_a_time_and_then_paid_by_what_came(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "DRAIN_SECONDS", 0.2)
    upstream.will(stream(20, gate_after=(5, "door"), stops_when_client_leaves=False))
    leave_after(bridge, key, upstream, 3)
    wait_for(bridge.calls)
    receipt = bridge.last_call()
    assert (receipt.finish, receipt.usage_source) == ("client_left", "estimated")
    assert receipt.cost_nanos
    upstream.open("door")


def test_so_many_are_heard_out_at_once_and_the_next_is_paid_by_what_came(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    bridge.bridge.gateway.drains = threading.Semaphore(1)
    upstream.will(stream(20, gate_after=(5, "door"), stops_when_client_leaves=False))
    leave_after(bridge, key, upstream, 3)
    wait_for(lambda: bridge.bridge.gateway.drains._value == 0)
    leave_after(bridge, key, upstream, 3)
    wait_for(bridge.calls)
    assert bridge.last_call().usage_source == "estimated"
    upstream.open("door")
    wait_for(lambda: len(bridge.calls()) == 2)
    assert {call.usage_source for call in bridge.calls()} == {"reported", "estimated"}
    assert {call.finish for call in bridge.calls()} == {"client_left"}


def test_a_slow_client_gets_every_byte_and_delays_nobody(
    bridge: TestBridge, key: Key, upstream: HostileUpstream
) -> None:
    words = "".join(f"word{number} " for number in range(40_000))
    upstream.will(stream(400, text=words, completion_tokens=1000), reply("quick"))
    with key.stream() as answer:
        time.sleep(0.5)  # nothing is read: what the sockets cannot hold waits in the bridge
        started = time.monotonic()
        assert key.chat().status_code == 200
        assert time.monotonic() - started < 2
        pieces = [
            json.loads(line.removeprefix(b"data: "))["choices"][0]["delta"].get("content", "")
            for line in answer.iter_lines(chunk_size=257)
            if line.startswith(b"data: {")
        ]
    assert "".join(pieces) == words
