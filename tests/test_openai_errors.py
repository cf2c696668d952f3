"""What an upstream's refusals and failures mean, and what the client is told of them."""

import json
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from openai_words import FRONT, UPSTREAM, target
from recordings import available, recording

from modelbridge import clock
from modelbridge.errors import (
    InvalidRequest,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
)


def error_of(status: int, body: object = b"", **headers: str) -> UpstreamError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return UPSTREAM.read_error(status, named, raw, target())


def openai_error(**fields: Any) -> dict[str, Any]:
    return {"error": {"message": "Words.", "type": "x", "param": None, "code": None, **fields}}


def test_our_error_has_openais_envelope() -> None:
    error = InvalidRequest("'n' must be a whole number.", param="n")
    assert FRONT.write_error(error, "req_1") == {
        "error": {
            "message": "'n' must be a whole number.",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_request",
        }
    }


@pytest.mark.skipif(not available, reason="recordings not present")
def test_a_recorded_rejection_keeps_its_message_param_and_code() -> None:
    there = recording("openai-chat-error-400-unsupported-role")
    error = UPSTREAM.read_error(there.status, there.headers, there.body, target())
    assert isinstance(error, UpstreamRejected)
    assert (error.status, error.code, error.param) == (
        400,
        "unsupported_value",
        "messages[0].role",
    )
    assert error.message.startswith("Unsupported value")
    there = recording("groq-chat-error-404")
    error = UPSTREAM.read_error(there.status, there.headers, there.body, target())
    assert (error.status, error.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, openai_error(message="Incorrect API key provided: sk-proj-abcd")),
        (402, {"error": {"message": "Insufficient credits of org-Secret"}}),
        (403, b"<html>sk-proj-abcd</html>"),
        (429, openai_error(code="insufficient_quota")),
        (429, openai_error(type="insufficient_quota")),
        (400, [{"error": {"code": 400, "details": [{"reason": "API_KEY_INVALID"}]}}]),
        (400, {"code": "invalid", "error": "Incorrect API key provided: ab***yz"}),
    ],
)
def test_trouble_with_our_credential_is_hidden_from_the_client(status: int, body: object) -> None:
    error = error_of(status, body)
    assert isinstance(error, UpstreamAuthFailed)
    assert (error.status, error.code) == (502, "upstream_auth_failed")
    assert error.refused
    assert error.retry is False
    assert "'acme'" in error.message
    assert not any(word in error.message for word in ("sk-", "Secret", "ab***yz"))


def test_a_rate_limit_keeps_its_wait() -> None:
    error = error_of(429, openai_error(message="Slow down, org-AbCdEf."), retry_after="7")
    assert isinstance(error, UpstreamRateLimited)
    assert (error.status, error.retry_after, error.refused) == (429, 7.0, True)
    assert "Slow down, (hidden)" in error.message


def test_the_wait_may_be_a_date_milliseconds_or_geminis() -> None:
    date = format_datetime(clock.now() + timedelta(seconds=90), usegmt=True)
    waits = error_of(429, retry_after=date).retry_after
    assert waits is not None
    assert 80 < waits <= 90
    past = format_datetime(clock.now() - timedelta(days=1), usegmt=True)
    assert error_of(429, retry_after=past).retry_after == 0
    assert error_of(429, retry_after_ms="1500", retry_after="2").retry_after == 1.5
    gemini = {"error": {"details": [{"@type": "RetryInfo", "retryDelay": "34.5s"}]}}
    assert error_of(429, gemini).retry_after == 34.5
    for nonsense in ("soon", "-1", "nan", "inf", ""):
        assert error_of(429, retry_after=nonsense).retry_after is None


@pytest.mark.parametrize("status", [503, 529])
def test_an_overloaded_upstream_did_nothing(status: int) -> None:
    error = error_of(status, retry_after="3")
    assert (error.status, error.refused, error.may_have_billed) == (502, True, False)
    assert error.retry_after == 3


@pytest.mark.parametrize("status", [408, 499, 500, 502, 504, 520])
def test_a_failed_upstream_may_have_billed(status: int) -> None:
    error = error_of(status, b"<html>Bad gateway</html>")
    assert (error.status, error.refused, error.may_have_billed) == (502, False, True)
    assert error.retry is False
    assert "html" not in error.message


def test_other_refusals_are_the_operators_business() -> None:
    error = error_of(405, {"detail": "Method Not Allowed"})
    assert (error.status, error.refused) == (502, True)
    assert "405" in error.message


@pytest.mark.parametrize(
    ("body", "message", "code", "param"),
    [
        (openai_error(code="c", param="p"), "Words.", "c", "p"),
        (openai_error(code=400), "Words.", "upstream_rejected", None),
        ({"error": "Words."}, "Words.", "upstream_rejected", None),
        ({"message": "Words.", "code": "c"}, "Words.", "c", None),
        ({"detail": "Words."}, "Words.", "upstream_rejected", None),
        (
            {"detail": [{"loc": ["body", "messages", 0], "msg": "Words."}]},
            "Words.",
            "upstream_rejected",
            "messages.0",
        ),
        (
            {"object": "error", "message": {"detail": [{"loc": ["body", "n"], "msg": "Words."}]}},
            "Words.",
            "upstream_rejected",
            "n",
        ),
        ([{"error": {"code": 400, "message": "Words."}}], "Words.", "upstream_rejected", None),
    ],
)
@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_every_shape_of_rejection_is_read(
    status: int, body: object, message: str, code: str, param: str | None
) -> None:
    error = error_of(status, body)
    assert isinstance(error, UpstreamRejected)
    assert (error.status, error.message, error.code, error.param) == (status, message, code, param)
    assert error.type == "invalid_request_error"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"error": 5}', b'{"detail": []}']
)
def test_a_rejection_without_words_still_says_who_rejected(body: bytes) -> None:
    assert error_of(400, body).message == "The upstream 'acme' rejected the request (HTTP 400)."


def test_a_novel_is_not_passed_on() -> None:
    assert len(error_of(400, {"error": "x" * 10_000}).message) == 4_000
