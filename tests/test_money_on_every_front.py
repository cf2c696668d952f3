"""Money on every front alike: one call for one Idempotency-Key, one request of a stock SDK for one
failure, a revoked key's streams and a client's hang-up noticed within a second."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai
import pytest
import requests
from faulty import make_faulty, writer_held_up
from hostile import HostileUpstream, Step, hang, reply, reset_after_body, status, stream
from people import HELLO, Key, Person, TestBridge, wait_for

from modelbridge.gateway.services import MAX_DRAINS

Body = dict[str, Any]
CHAT: Body = {"messages": HELLO}
# Each front, asked for a model that its upstream speaks the same format for, and for another.
FRONTS: dict[str, tuple[str, Body]] = {
    "chat": ("/v1/chat/completions", {"model": "gpt-test"} | CHAT),
    "chat, translated": ("/v1/chat/completions", {"model": "claude-test"} | CHAT),
    "messages": ("/v1/messages", {"model": "claude-test", "max_tokens": 50} | CHAT),
    "messages, translated": ("/v1/messages", {"model": "gpt-test", "max_tokens": 50} | CHAT),
    "responses": ("/v1/responses", {"model": "gpt-test", "input": "Hello"}),
    "responses, translated": ("/v1/responses", {"model": "claude-test", "input": "Hello"}),
    "completions": ("/v1/completions", {"model": "gpt-test", "prompt": "Hello"}),
    "embeddings": (
        "/v1/embeddings",
        {"model": "text-embedding-3-small", "input": "Hello"},
    ),
}
EVERY_FRONT = pytest.mark.parametrize("front", FRONTS)
STREAMS = [name for name in FRONTS if name != "embeddings"]
EVERY_STREAM = pytest.mark.parametrize("front", STREAMS)


def ask(key: Key, front: str, headers: dict[str, str] | None = None, **more: Any) -> Any:
    path, body = FRONTS[front]
    headers = key.headers | {"anthropic-version": "2023-06-01"} | (headers or {})
    url, streamed = f"{key.bridge.url}{path}", bool(more.get("stream"))
    return requests.post(url, json=body | more, headers=headers, timeout=60, stream=streamed)


# Idempotency-Key


@EVERY_FRONT
def test_a_call_under_an_idempotency_key_is_made_once_and_its_repetition_is_told_why(
    key: Key, upstream: HostileUpstream, front: str
) -> None:
    once = {"Idempotency-Key": "order-17"}
    upstream.will(reply(gate="door"))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, key, front, once)
        upstream.wait_for(1)
        again = ask(key, front, once)
        assert (again.status_code, again.headers["x-should-retry"]) == (409, "false")
        assert "is not resolved yet" in again.text
        upstream.open("door")
        made = first.result()
    assert made.status_code == 200
    done = ask(key, front, once)
    assert (done.status_code, done.headers["x-should-retry"]) == (409, "false")
    told = f"is done: receipt {made.headers['x-request-id']}, cost AUD 0.0"
    assert told in done.text
    other = ask(key, front, once, user="somebody else")
    assert (other.status_code, other.headers["x-should-retry"]) == (422, "false")
    assert len(upstream.seen()) == 1


@EVERY_FRONT
def test_a_call_that_ended_void_frees_its_idempotency_key_on_every_front(
    key: Key, upstream: HostileUpstream, front: str
) -> None:
    once = {"Idempotency-Key": "order-18"}
    upstream.will(status(503))
    assert ask(key, front, once).status_code == 502
    upstream.reset()
    assert ask(key, front, once).status_code == 200
    assert ask(key, front, once).status_code == 409
    assert len(upstream.seen()) == 1


@EVERY_STREAM
def test_a_stream_under_an_idempotency_key_is_made_once(
    key: Key, upstream: HostileUpstream, front: str
) -> None:
    once = {"Idempotency-Key": "order-19"}
    upstream.will(stream(4, gate_after=(3, "door")))
    with ask(key, front, once, stream=True) as first:
        again = ask(key, front, once, stream=True)
        assert again.status_code == 409
        assert "is not resolved yet" in again.text
        upstream.open("door")
        assert first.content
    done = ask(key, front, once, stream=True)
    assert done.status_code == 409
    assert f"is done: receipt {first.headers['x-request-id']}" in done.text
    assert len(upstream.seen()) == 1


# The stock SDKs


class Sdk:
    """The SDK that belongs to a front, with its own way to retry. `made`: its HTTP requests."""

    def __init__(self, key: Key, front: str) -> None:
        self.made: list[object] = []
        self._front, hooks = front, {"request": [self.made.append]}
        self._client: Any
        if front.startswith("messages"):
            self._client = anthropic.Anthropic(
                api_key=key.secret,
                base_url=key.bridge.url,
                http_client=anthropic.DefaultHttpxClient(event_hooks=hooks),
            )
        else:
            self._client = key.openai(http_client=openai.DefaultHttpxClient(event_hooks=hooks))
        assert self._client.max_retries == 2

    def ask(self, **more: Any) -> None:
        """One call, read to its end. Raises what the SDK raises."""
        kind = self._front.partition(",")[0]
        ways: dict[str, Any] = {
            "chat": lambda: self._client.chat.completions,
            "messages": lambda: self._client.messages,
            "responses": lambda: self._client.responses,
            "completions": lambda: self._client.completions,
            "embeddings": lambda: self._client.embeddings,
        }
        with self._client:
            answer = ways[kind]().create(**FRONTS[self._front][1] | more)
            if more.get("stream"):
                for _ in answer:
                    pass


def refused(sdk: Sdk, **more: Any) -> int | None:
    """The status that the SDK raised with; None in the middle of a stream."""
    with pytest.raises((openai.APIError, anthropic.APIError)) as failure:
        sdk.ask(**more)
    return getattr(failure.value, "status_code", None)


@EVERY_FRONT
def test_a_limit_that_is_reached_is_told_once_to_the_stock_sdk(
    bridge: TestBridge, alice: Person, upstream: HostileUpstream, front: str
) -> None:
    sdk = Sdk(alice.key(limit="0"), front)
    assert refused(sdk) == 429
    assert len(sdk.made) == 1
    assert upstream.seen() == []


@EVERY_FRONT
def test_an_empty_account_is_told_once_to_the_stock_sdk(
    bridge: TestBridge, charlie: Person, upstream: HostileUpstream, front: str
) -> None:
    sdk = Sdk(charlie.key(), front)
    assert refused(sdk) == 429
    assert len(sdk.made) == 1
    assert upstream.seen() == []


@EVERY_FRONT
def test_what_an_upstream_may_have_billed_is_asked_once_by_the_stock_sdk(
    key: Key, upstream: HostileUpstream, front: str
) -> None:
    upstream.will(reset_after_body(prompt_tokens=10, completion_tokens=5))
    sdk = Sdk(key, front)
    assert refused(sdk) == 502
    assert (len(sdk.made), len(upstream.seen())) == (1, 1)


@EVERY_STREAM
def test_a_stream_that_breaks_off_is_asked_for_once_by_the_stock_sdk(
    key: Key, upstream: HostileUpstream, front: str
) -> None:
    upstream.will(stream(10, stop_after=5, ending="cut"))
    sdk = Sdk(key, front)
    refused(sdk, stream=True)
    assert (len(sdk.made), len(upstream.seen())) == (1, 1)


@EVERY_FRONT
def test_a_call_whose_settlement_has_to_wait_is_asked_once_by_the_stock_sdk(
    bridge: TestBridge, key: Key, alice: Person, upstream: HostileUpstream, front: str
) -> None:
    broken, sdk = make_faulty(bridge.database), Sdk(key, front)
    upstream.will(reply(gate="door"))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(refused, sdk)
        upstream.wait_for(1)
        broken.fail_at(1, still=True)
        upstream.open("door")
        assert call.result() == 503
    broken.fail_at(None)
    wait_for(lambda: alice.account.held_nanos == 0)
    assert (len(sdk.made), len(upstream.seen())) == (1, 1)
    assert bridge.last_call().cost_nanos


# Revocation and hang-ups


@EVERY_STREAM
def test_a_revoked_keys_stream_ends_within_a_second_and_is_charged_for_what_came(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, front: str
) -> None:
    upstream.will(stream(500, 0.05, prompt_tokens=10))
    with ask(key, front, stream=True, **_enough(front)) as answer:
        pieces = answer.iter_content(None)
        told = next(pieces) + next(pieces)
        key.revoke()
        revoked = time.monotonic()
        told += b"".join(pieces)
        seconds = time.monotonic() - revoked
    assert seconds < 1.2  # half a second apart it is looked, and the machine may be busy
    assert b"revoked while its call was running" in told
    bridge.settle_down()
    receipt = bridge.last_call()
    assert (receipt.finish, receipt.usage_source) == ("revoked", "estimated")
    assert receipt.output_tokens < 250
    assert receipt.cost_nanos


def _enough(front: str) -> Body:
    """The front's own words for five hundred tokens at most."""
    if front.startswith("responses"):
        return {"max_output_tokens": 500}
    return {"max_tokens": 500}


def leave_when(
    key: Key, front: str, upstream: HostileUpstream, *, streamed: bool, begun: bool
) -> float:
    """A client that hangs up when the upstream has begun to answer, or has only heard; when."""
    path, body = FRONTS[front]
    content = json.dumps(body | ({"stream": True} if streamed else {}))
    address = urlsplit(key.bridge.url)
    with socket.create_connection((address.hostname, address.port)) as line:
        line.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key.secret}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            f"{content}".encode()
        )
        upstream.wait_for(1)
        seen = b""
        while begun and b"data: " not in seen:
            seen += line.recv(4096)
    return time.monotonic()


SILENCES: dict[str, tuple[Step, dict[str, bool]]] = {
    "before its answer": (hang(), {"streamed": False, "begun": False}),
    "before its stream": (hang(), {"streamed": True, "begun": False}),
    "in mid-stream": (stream(9, gate_after=(4, "door")), {"streamed": True, "begun": True}),
}


@pytest.mark.parametrize("when", SILENCES)
@EVERY_STREAM
def test_a_hang_up_is_noticed_within_a_second_while_the_upstream_is_silent_on_every_front(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, front: str, when: str
) -> None:
    set_on_hang_up(bridge, "close")
    step, how = SILENCES[when]
    upstream.will(step)
    left = leave_when(key, front, upstream, **how)
    wait_for(bridge.calls)
    assert time.monotonic() - left < 1.2
    receipt = bridge.last_call()
    assert (receipt.finish, receipt.usage_source) == ("client_left", "estimated")
    upstream.wait(lambda seen: seen[0]["client_left"])


@EVERY_STREAM
def test_a_hang_up_is_noticed_within_a_second_and_heard_out_where_closing_stops_no_meter(
    bridge: TestBridge, key: Key, upstream: HostileUpstream, front: str
) -> None:
    upstream.will(
        stream(9, prompt_tokens=40, gate_after=(4, "door"), stops_when_client_leaves=False)
    )
    left = leave_when(key, front, upstream, streamed=True, begun=True)
    wait_for(lambda: bridge.bridge.gateway.drains._value == MAX_DRAINS - 1)
    assert time.monotonic() - left < 1.2
    upstream.open("door")
    wait_for(bridge.calls)
    receipt = bridge.last_call()
    assert (receipt.finish, receipt.usage_source) == ("client_left", "reported")
    assert (receipt.input_tokens, receipt.output_tokens) == (40, 9)
    wait_for(lambda: bridge.bridge.gateway.drains._value == MAX_DRAINS)


def set_on_hang_up(bridge: TestBridge, what: str) -> None:
    from modelbridge.catalog import admin

    with bridge.database.transaction() as session:
        for name in ("hostile", "hostile-anthropic"):
            admin.set_on_hang_up(session, name, what)


# The writer's queue


@EVERY_FRONT
def test_a_writer_with_too_much_to_do_is_a_503_and_the_upstream_hears_nothing(
    bridge: TestBridge,
    key: Key,
    upstream: HostileUpstream,
    monkeypatch: pytest.MonkeyPatch,
    front: str,
) -> None:
    from modelbridge.store import writer

    committed: list[str] = []
    with writer_held_up(bridge.database):
        monkeypatch.setattr(writer, "MAX_QUEUED", 1)
        bridge.database.enqueue(lambda cursor: committed.append("what waited"))
        answer = ask(key, front)
        monkeypatch.undo()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "The ledger's queue is full" in answer.text
    assert upstream.seen() == []
    assert ask(key, front).status_code == 200
    assert committed == ["what waited"]
