"""How calls to an upstream fail: what was spent, what is said to whom, and that nothing leaks."""

import logging
import queue
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from certificates import certificate
from hostile import HostileUpstream, Step, cut_after, drop, raw, reply, reset_after_body, stream
from upstream_calls import CREDENTIAL, InBackground, client_with, exchange, target, whole

from modelbridge.errors import UpstreamError
from modelbridge.upstream.client import UpstreamClient

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
LOOK_UP = "modelbridge.upstream.dial._look_up"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[UpstreamClient]:
    with client_with(tmp_path) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_secret_is_said(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert CREDENTIAL not in caplog.text


def failure(call: Callable[[], object]) -> UpstreamError:
    """The error; its message tells a stranger neither address nor credential."""
    with pytest.raises(UpstreamError) as caught:
        call()
    message = caught.value.message
    for secret in (CREDENTIAL, "127.0.0.1", "localhost", "http", "169.254", ".invalid"):
        assert secret not in message
    assert "'box'" in message
    return caught.value


# Nothing was sent


def test_a_refused_connection_costs_nothing(
    client: UpstreamClient, upstream: HostileUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.refuse()
    one = exchange(client, target(upstream))
    error = failure(one.start)
    assert (error.refused, error.may_have_billed, one.sent) == (True, False, False)
    assert "ECONNREFUSED" in caplog.text
    upstream.accept()
    whole(exchange(client, target(upstream)))


def test_a_name_that_does_not_resolve_costs_nothing(client: UpstreamClient) -> None:
    for host in ("upstream.invalid", f"{'a' * 70}.example"):
        error = failure(exchange(client, target(f"https://{host}/v1")).start)
        assert (error.refused, error.may_have_billed) == (True, False)
        assert "does not resolve" in error.message


def test_tls_with_a_server_that_speaks_none_costs_nothing(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    error = failure(exchange(client, target(f"https://127.0.0.1:{upstream.port}/v1")).start)
    assert (error.refused, error.may_have_billed) == (True, False)
    assert upstream.seen() == []


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%2", "::ffff:169.254.169.254"])
def test_a_name_that_leads_to_a_metadata_service_is_never_connected_to(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def look_up(host: str, port: int, answers: "queue.SimpleQueue[Any]") -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        answers.put([(family, (address, port))])

    monkeypatch.setattr(LOOK_UP, look_up)
    error = failure(exchange(client, target("http://innocent.example/v1")).start)
    assert error.refused
    assert "not allowed" in error.message


def test_a_name_with_a_dead_address_is_reached_by_its_other_one(
    client: UpstreamClient, upstream: HostileUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        addresses = [dead.getsockname(), ("127.0.0.1", upstream.port)]

        def look_up(host: str, port: int, answers: "queue.SimpleQueue[Any]") -> None:
            answers.put([(socket.AF_INET, address) for address in addresses])

        monkeypatch.setattr(LOOK_UP, look_up)
        assert whole(exchange(client, target(f"http://two.example:{upstream.port}/v1")))


# TLS that works, and that does not


def test_certificates_are_verified(tmp_path: Path) -> None:
    pem = certificate(tmp_path, "localhost")
    with (
        HostileUpstream.start(certificate=pem) as upstream,
        client_with(tmp_path, ca_file=str(pem)) as trusting,
        client_with(tmp_path) as strict,
    ):
        good = target(f"https://localhost:{upstream.port}/v1")
        for _ in range(3):
            assert whole(exchange(trusting, good, stream=True)).endswith(b"[DONE]\n\n")
        assert upstream.connections() == 1
        wrong_name = target(f"https://127.0.0.1:{upstream.port}/v1")
        for call in (exchange(strict, good), exchange(trusting, wrong_name)):
            error = failure(call.start)
            assert (error.refused, error.may_have_billed) == (True, False)
            assert "TLS" in error.message
        upstream.will(stream(10, gate_after=(3, "never")))
        one = exchange(trusting, good, stream=True)
        one.start()
        reading = InBackground(lambda: one.read_all(10**6))
        upstream.wait_for(4)
        gone = UpstreamError("gone")
        one.cut(gone)
        assert reading.outcome() is gone


def test_a_handshake_that_never_ends_costs_nothing(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        client_with(tmp_path, connect_seconds=0.3) as client,
    ):
        one = exchange(client, target(f"https://127.0.0.1:{silent.getsockname()[1]}/v1"))
        error = failure(one.start)
        assert (error.status, error.refused, error.may_have_billed) == (504, True, False)


# Something was sent


@pytest.mark.parametrize(
    "step",
    [
        reset_after_body(),
        raw(b""),
        raw(b"", then="reset"),
        raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        raw(b"HTTP/2 200\r\n\r\n"),
        raw(b"HTTP/1.1 abc OK\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 101 + b"\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 70_000 + b"\r\n\r\n"),
    ],
)
def test_an_answer_without_a_proper_head_may_have_been_billed(
    client: UpstreamClient, upstream: HostileUpstream, step: Step
) -> None:
    upstream.will(step)
    error = failure(exchange(client, target(upstream)).start)
    assert (error.status, error.refused, error.may_have_billed) == (502, False, True)
    assert error.retry is False
    assert len(upstream.seen()) == 1  # and it was not sent again


def test_a_connection_dropped_at_once_may_have_been_billed_for_all_we_know(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    upstream.will(drop())
    one = exchange(client, target(upstream))
    error = failure(one.start)
    assert (error.refused, error.may_have_billed) == (not one.sent, one.sent)
    assert upstream.seen() == []


@pytest.mark.parametrize(
    "step",
    [
        cut_after(4, "chunked"),
        cut_after(4, "length"),
        cut_after(4, "chunked", "reset"),
        cut_after(4, "close", "reset"),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n"),
        raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"),
        raw(HEAD + b"Content-Length: 100\r\n\r\nhello"),
        raw(HEAD + b"X-Request-"),
    ],
)
def test_a_truncated_answer_may_have_been_billed(
    client: UpstreamClient, upstream: HostileUpstream, step: Step
) -> None:
    upstream.will(step)
    one = exchange(client, target(upstream), stream=True)

    def call() -> None:
        one.start()  # a reset may overtake the head
        one.read_all(10**6)

    error = failure(call)
    assert (error.refused, error.may_have_billed) == (False, True)
    upstream.will(reply())
    assert whole(exchange(client, target(upstream)))


def test_the_end_of_an_unframed_answer_cannot_be_told_from_a_cut(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    upstream.will(cut_after(4, "close"))
    assert whole(exchange(client, target(upstream), stream=True)).count(b"data:") == 4


def test_an_empty_unframed_error_keeps_its_status(
    client: UpstreamClient, upstream: HostileUpstream
) -> None:
    upstream.will(raw(b"HTTP/1.1 503 Busy\r\n\r\n"))
    one = exchange(client, target(upstream))
    assert whole(one) == b""
    assert one.status == 503


def test_closing_the_client_ends_what_runs(tmp_path: Path, upstream: HostileUpstream) -> None:
    upstream.will(stream(5, gate_after=(2, "never")))
    with client_with(tmp_path) as client:
        one = exchange(client, target(upstream), stream=True)
        one.start()
        reading = InBackground(lambda: one.read_all(10**6))
        client.close()
        error = reading.outcome()
    assert isinstance(error, UpstreamError)
    assert error.may_have_billed


# As others mock it


@responses.activate
def test_answers_can_be_mocked(client: UpstreamClient) -> None:
    url = "https://api.example.com/v1/chat/completions"
    at = target("https://api.example.com/v1")
    responses.post(url, json={"ok": True}, headers={"x-request-id": "r1", "x-other": "2"})
    one = exchange(client, at)
    assert whole(one) == b'{"ok": true}'
    assert one.headers == {"content-type": "application/json", "x-request-id": "r1"}
    sent = responses.calls[0].request
    assert sent.headers["authorization"] == f"Bearer {CREDENTIAL}"


@responses.activate
def test_what_an_answer_that_we_do_not_take_says_of_the_bill(client: UpstreamClient) -> None:
    url = "https://api.example.com/v1/chat/completions"
    responses.post(url, body="{}", status=302, headers={"location": "https://evil.example"})
    responses.post(url, body="{}", headers={"content-encoding": "br"})
    responses.post(url, body="{}", status=429, headers={"content-encoding": "br"})
    responses.post(url, body=requests.ConnectionError(f"no route to {url}"))
    at = target("https://api.example.com/v1")
    errors = [failure(exchange(client, at).start) for _ in range(4)]
    assert [error.refused for error in errors] == [True, False, True, True]
    assert [error.may_have_billed for error in errors] == [False, True, False, False]
