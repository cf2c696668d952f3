"""What Gemini's refusals mean, and whose business they are."""

from typing import Any

import pytest
from gemini_words import DIALECT, target

from modelbridge.errors import (
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
)
from modelbridge.jsonio import dumps


def error_of(status: int, kind: str = "", message: str = "secret", *details: Any) -> UpstreamError:
    error = {"code": status, "message": message, "status": kind, "details": list(details)}
    return DIALECT.read_error(status, {}, dumps({"error": error}), target())


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (401, "UNAUTHENTICATED", ""),
        (403, "PERMISSION_DENIED", ""),
        (400, "INVALID_ARGUMENT", "API_KEY_INVALID"),
        (400, "FAILED_PRECONDITION", ""),
    ],
)
def test_what_is_the_operators_matter_is_told_without_googles_words(
    status: int, kind: str, reason: str
) -> None:
    error = error_of(status, kind, "secret", {"reason": reason})
    assert isinstance(error, UpstreamAuthFailed)
    assert (error.refused, error.may_have_billed, error.retry) == (True, False, False)
    assert "secret" not in error.message
    assert "tell your administrator" in error.message


def test_a_rate_limit_keeps_the_time_to_wait_and_hides_the_quota() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    error = error_of(429, "RESOURCE_EXHAUSTED", "secret", info)
    assert isinstance(error, UpstreamRateLimited)
    assert (error.retry_after, error.refused, error.may_have_billed) == (34.5, True, False)
    assert "secret" not in error.message
    down = error_of(503, "UNAVAILABLE")
    assert (down.status, down.refused) == (502, True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (413, "INVALID_ARGUMENT")],
)
def test_what_is_wrong_with_the_request_keeps_its_status_and_words(status: int, kind: str) -> None:
    error = error_of(status, kind, "contents: too long")
    assert isinstance(error, UpstreamRejected)
    assert (error.status, error.message, error.code) == (status, "contents: too long", kind.lower())
    assert len(error_of(400, kind, "y" * 9999).message) == 4000


def test_failures_after_work_may_have_begun_may_be_on_the_bill() -> None:
    for status in (500, 502, 504, 408, 499):
        error = error_of(status, "INTERNAL", "secret")
        assert (error.may_have_billed, error.refused, error.retry) == (True, False, False)
        assert "secret" not in error.message
    assert isinstance(error_of(504), UpstreamTimeout)
    assert error_of(409, "ABORTED").refused


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":"x"}', b"[7]", b"\xff", b"7"])
def test_bodies_that_are_not_geminis_are_tolerated(body: bytes) -> None:
    error = DIALECT.read_error(400, {}, body, target())
    assert isinstance(error, UpstreamRejected)
    in_a_list = b'[{"error":{"message":"m","status":"INVALID_ARGUMENT"}}]'
    error = DIALECT.read_error(400, {}, in_a_list, target())
    assert (error.message, error.code) == ("m", "invalid_argument")
