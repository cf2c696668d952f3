"""The upstream client against a real server: what goes out, what comes back, what is kept."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import HostileUpstream, gzipped, huge, raw, recorded, redirect, reply, status, stream
from upstream_calls import CREDENTIAL, client_with, exchange, target, whole

from modelbridge.errors import UpstreamAuthFailed, UpstreamError
from modelbridge.upstream import connections
from modelbridge.upstream.client import UpstreamClient
from modelbridge.upstream.credentials import CredentialError
from modelbridge.wire.target import Auth, Target, WireRequest


@pytest.fixture
def client(tmp_path: Path) -> Iterator[UpstreamClient]:
    with client_with(tmp_path) as client:
        yield client


def test_a_reply_comes_back_whole(client: UpstreamClient, upstream: HostileUpstream) -> None:
    upstream.will(reply("Good morning"))
    one = exchange(client, target(upstream))
    body = json.loads(whole(one))
    assert one.status == 200
    assert one.headers == {"content-type": "application/json"}
    assert body["choices"][0]["message"]["content"] == "Good morning"
    assert upstream.seen()[0]["path"] == "/v1/chat/completions"
    assert upstream.seen()[0]["body"] == {"model": "m", "stream": False}


def test_only_listed_headers_go_out(client: UpstreamClient, upstream: HostileUpstream) -> None:
    request = WireRequest("/chat/completions", {"model": "m"}, {"Anthropic-Version": "2023-06-01"})
    whole(client.open(target(upstream), request, stream=True))
    assert upstream.seen()[0]["headers"] == {
        "host": f"127.0.0.1:{upstream.port}",
        "content-type": "application/json",
        "content-length": "13",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "user-agent": "ModelBridge",
        "authorization": f"Bearer {CREDENTIAL}",
        "anthropic-version": "2023-06-01",
    }


@pytest.mark.parametrize(
    ("auth", "name", "value"),
    [
        ("bearer", "authorization", f"Bearer {CREDENTIAL}"),
        ("x-api-key", "x-api-key", CREDENTIAL),
        ("x-goog-api-key", "x-goog-api-key", CREDENTIAL),
        ("api-key", "api-key", CREDENTIAL),
    ],
)
def test_the_credential_goes_where_the_provider_wants_it(
    client: UpstreamClient, upstream: HostileUpstream, auth: Auth, name: str, value: str
) -> None:
    whole(exchange(client, target(upstream, auth)))
    sent = upstream.seen()[0]["headers"]
    assert sent[name] == value
    assert [one for one in sent.values() if CREDENTIAL in one] == [value]


def test_an_upstream_without_a_credential_gets_none(
    tmp_path: Path, client: UpstreamClient, upstream: HostileUpstream
) -> None:
    whole(exchange(client, target(upstream, "none")))
    with client_with(tmp_path, lambda _: None) as other:
        whole(exchange(other, target(upstream)))
    assert all("authorization" not in one["headers"] for one in upstream.seen())


def test_nothing_is_taken_from_the_environment(
    client: UpstreamClient,
    upstream: HostileUpstream,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login root password stolen\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    whole(exchange(client, target(upstream)))
    assert upstream.seen()[0]["headers"]["authorization"] == f"Bearer {CREDENTIAL}"


def test_cookies_are_not_kept(client: UpstreamClient, upstream: HostileUpstream) -> None:
    upstream.will(reply(headers={"Set-Cookie": "who=alice", "X-Secret": "1", "Connection": "x"}))
    one = exchange(client, target(upstream))
    whole(one)
    whole(exchange(client, target(upstream)))
    assert "cookie" not in upstream.seen()[1]["headers"]
    assert one.headers == {"content-type": "application/json"}


def test_headers_that_matter_come_back(client: UpstreamClient, upstream: HostileUpstream) -> None:
    kept = {
        "Retry-After": "7",
        "retry-after-ms": "7000",
        "X-Request-Id": "req-1",
        "request-id": "req-2",
        "openai-processing-ms": "12",
        "X-RateLimit-Remaining-Requests": "9",
    }
    upstream.will(status(429, headers={**kept, "Server": "nginx", "Set-Cookie": "a=b"}))
    one = exchange(client, target(upstream))
    whole(one)
    assert one.status == 429
    assert one.headers == {name.lower(): value for name, value in kept.items()} | {
        "content-type": "application/json"
    }


def test_bytes_are_read_as_soon_as_they_have_come(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    for framing in ("chunked", "close", "length"):
        upstream.reset()
        upstream.will(stream(5, gate_after=(2, "door"), framing=framing))
        one = exchange(client, target(upstream), stream=True)
        one.start()
        got = one.read()
        while got.count(b"\n\n") < 2:
            got += one.read()
        assert got.count(b"\n\n") == 2, framing
        upstream.open("door")
        assert one.read_all(10**6).endswith(b"data: [DONE]\n\n")
        one.close()


def test_many_chunks_that_have_come_are_one_read(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    upstream.will(stream(100, framing="chunked"))
    one = exchange(client, target(upstream), stream=True)
    one.start()
    upstream.wait(lambda seen: seen[0]["answered"])
    reads = []
    while data := one.read():
        reads.append(data)
    one.close()
    assert len(reads) <= 3
    assert b"".join(reads).count(b"\n\n") == 103


def test_a_connection_is_used_again(client: UpstreamClient, upstream: HostileUpstream) -> None:
    for _ in range(5):
        whole(exchange(client, target(upstream)))
        whole(exchange(client, target(upstream), stream=True))
    assert upstream.connections() == 1


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    client: UpstreamClient, upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole(exchange(client, target(upstream)))
    monkeypatch.setattr(connections, "MAX_IDLE_SECONDS", 0.0)
    whole(exchange(client, target(upstream)))
    assert upstream.connections() == 2


def test_idle_connections_are_closed_in_time(
    client: UpstreamClient, upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole(exchange(client, target(upstream)))
    client.adapter.tidy()
    whole(exchange(client, target(upstream)))
    assert upstream.connections() == 1
    monkeypatch.setattr(connections, "MAX_IDLE_SECONDS", 0.0)
    client.adapter.tidy()
    monkeypatch.undo()
    whole(exchange(client, target(upstream)))
    assert upstream.connections() == 2


def test_a_connection_that_the_upstream_closed_is_not_used_again(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    upstream.will(raw(answer, then="close"))
    for _ in range(3):
        assert whole(exchange(client, target(upstream))) == b"{}"
        (pool,) = client.adapter._pools.values()
        assert pool.pool is not None
        while pool.pool.queue[-1].is_connected:
            time.sleep(0.001)
    assert upstream.connections() == 3


def test_a_connection_with_stray_bytes_is_not_used_again(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    stray = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
    for head, body in (
        (b"Content-Length: 2", b"{}"),
        (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n"),
    ):
        upstream.will(raw(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body + stray, then="keep"))
        assert whole(exchange(client, target(upstream))) == b"{}"
        upstream.will(recorded(200, "application/json", b"mine"))
        assert whole(exchange(client, target(upstream))) == b"mine"


def test_a_body_that_was_not_read_to_its_end_costs_the_connection(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    one = exchange(client, target(upstream))
    one.start()
    one.close()
    one.close()
    whole(exchange(client, target(upstream)))
    assert upstream.connections() == 2


def test_http_1_0_and_100_continue_are_understood(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    upstream.will(raw(b"HTTP/1.0 200 OK\r\n\r\nold"))
    assert whole(exchange(client, target(upstream))) == b"old"
    upstream.will(
        raw(
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Type: text/plain\r\n\r\nlate",
            then="keep",
        )
    )
    assert whole(exchange(client, target(upstream))) == b"late"


def test_an_answer_without_a_body_is_empty(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    upstream.will(raw(b"HTTP/1.1 204 No Content\r\n\r\n", then="keep"))
    assert whole(exchange(client, target(upstream))) == b""
    upstream.will(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", then="keep"))
    assert whole(exchange(client, target(upstream))) == b""
    assert upstream.connections() == 1


def test_a_redirect_is_not_followed(client: UpstreamClient, upstream: HostileUpstream) -> None:
    for code in (301, 302, 307, 308):
        upstream.will(redirect(upstream.decoy_url, code))
        with pytest.raises(UpstreamError, match="redirect") as caught:
            whole(exchange(client, target(upstream)))
        assert caught.value.refused
        assert not caught.value.may_have_billed
    assert [one["path"] for one in upstream.seen()] == ["/v1/chat/completions"] * 4


def test_a_compressed_answer_is_refused_unopened(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    upstream.will(gzipped())
    with pytest.raises(UpstreamError, match="compressed") as caught:
        whole(exchange(client, target(upstream)))
    assert caught.value.may_have_billed


def test_an_answer_above_the_limit_is_refused(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    upstream.will(huge(50_000_000))
    one = exchange(client, target(upstream))
    one.start()
    with pytest.raises(UpstreamError, match="too large") as caught:
        one.read_all(1_000_000)
    assert caught.value.may_have_billed
    with pytest.raises(UpstreamError):
        one.read()


def test_two_hundred_exchanges_at_once(client: UpstreamClient, upstream: HostileUpstream) -> None:
    upstream.will(stream(20, gate_after=(5, "door")))
    bodies: list[bytes] = []

    def call() -> None:
        bodies.append(whole(exchange(client, target(upstream), stream=True)))

    threads = [threading.Thread(target=call) for _ in range(200)]
    for thread in threads:
        thread.start()
    upstream.wait_for(200, seconds=30)
    upstream.open("door")
    for thread in threads:
        thread.join(30)
    assert len(bodies) == 200
    assert len(set(bodies)) == 1
    assert upstream.most_at_once() == 200


def test_a_credential_that_no_header_can_carry_is_the_operators_problem(
    tmp_path: Path, upstream: HostileUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(_: Target) -> str:
        raise CredentialError("the stored credential is damaged: set it again")

    for credential_of in (lambda _: "sk-bad\r\nX-Evil: 1", lambda _: "sk-ü", damaged):
        with (
            client_with(tmp_path, credential_of) as client,
            pytest.raises(UpstreamAuthFailed) as caught,
        ):
            exchange(client, target(upstream)).start()
        assert caught.value.refused
        assert "sk-" not in caught.value.message
    assert upstream.connections() == 0
    assert "sk-" not in caplog.text


def test_a_path_or_a_header_that_would_change_the_request_is_refused(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    with pytest.raises(ValueError, match="slash"):
        client.open(target(upstream), WireRequest("@evil.example/v1", {}), stream=False)
    request = WireRequest("/messages", {}, {"anthropic-beta": "x\r\nX-Evil: 1"})
    with pytest.raises(UpstreamError) as caught:
        client.open(target(upstream), request, stream=False).start()
    assert caught.value.refused
    assert upstream.connections() == 0


def test_reading_before_the_start_is_a_mistake(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    one = exchange(client, replace(target(upstream), upstream="other"))
    with pytest.raises(RuntimeError, match="started"):
        one.read()
