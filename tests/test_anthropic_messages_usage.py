"""What Anthropic counted, and what its refusals mean."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from anthropic_words import (
    DIALECT,
    STOP,
    delta,
    events_of,
    start,
    target,
)

from modelbridge import clock
from modelbridge.errors import (
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
)
from modelbridge.jsonio import dumps
from modelbridge.money import Usage
from modelbridge.wire.reply import (
    UsageReported,
)

# Usage


def usage_of(**usage: Any) -> Usage | None:
    return DIALECT.read_reply({"content": [], "usage": usage}).usage


def test_usage_comes_in_disjoint_classes() -> None:
    assert usage_of(
        input_tokens=1,
        cache_read_input_tokens=2,
        cache_creation_input_tokens=7,
        cache_creation={"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        output_tokens=9,
        output_tokens_details={"thinking_tokens": 5},
        server_tool_use={"web_search_requests": 1},
    ) == Usage(input=1, cache_read=2, cache_write=3, cache_write_1h=4, output=9, reasoning=5)
    assert usage_of(input_tokens=1, output_tokens=2, cache_creation_input_tokens=7) == Usage(
        input=1, cache_write=7, output=2
    )


ABSURD = [-1, "5", 1.5, True, 2**53 + 1, 1e400, [], {}]


@pytest.mark.parametrize("absurd", ABSURD)
@pytest.mark.parametrize(
    "name",
    [
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "ephemeral_5m_input_tokens",
        "ephemeral_1h_input_tokens",
        "thinking_tokens",
    ],
)
def test_an_absurd_count_makes_the_report_worth_nothing(name: str, absurd: Any) -> None:
    """Left out alone it would make what it counts free, and nobody would be told."""
    counts: dict[str, Any] = {"input_tokens": 1, "output_tokens": 1, name: absurd}
    if name.startswith("ephemeral"):
        counts["cache_creation"] = {name: counts.pop(name)}
    elif name == "thinking_tokens":
        counts["output_tokens_details"] = {name: counts.pop(name)}
    assert usage_of(**counts) is None


def test_a_null_is_no_count_and_no_absurd_one() -> None:
    assert usage_of(input_tokens=None, output_tokens=1) is None
    assert usage_of(input_tokens=1, output_tokens=None) is None
    nothing = {"cache_read_input_tokens": None, "cache_creation": None}
    assert usage_of(input_tokens=1, output_tokens=1, **nothing) == Usage(input=1, output=1)


@pytest.mark.parametrize("split", [[], "7", 7])
def test_cache_writes_that_are_no_object_make_the_report_worth_nothing(split: Any) -> None:
    assert usage_of(input_tokens=1, output_tokens=1, cache_creation=split) is None


def reports(*payloads: Any) -> list[UsageReported]:
    return [event for event in events_of(*payloads) if isinstance(event, UsageReported)]


def test_the_last_event_may_leave_out_what_the_first_one_said() -> None:
    lifetimes = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    first = start(
        input_tokens=1, cache_creation_input_tokens=7, cache_creation=lifetimes, output_tokens=1
    )
    whole = Usage(input=1, cache_write=3, cache_write_1h=4, output=9)
    assert reports(first, delta(output_tokens=9), STOP)[-1] == UsageReported(whole, final=True)
    same = delta(input_tokens=None, cache_creation_input_tokens=7, output_tokens=9)
    assert reports(first, same, STOP)[-1].usage == whole


def test_a_null_keeps_what_was_known_and_a_zero_replaces_it() -> None:
    first = start(input_tokens=5, output_tokens=1)
    assert reports(first, delta(input_tokens=None, output_tokens=2), STOP)[-1].usage.input == 5
    assert reports(first, delta(input_tokens=0, output_tokens=2), STOP)[-1].usage.input == 0
    zero = start(input_tokens=0, output_tokens=0)
    assert reports(zero, delta(input_tokens=8, output_tokens=2), STOP)[-1].usage.input == 8


def test_an_absurd_last_count_leaves_the_first_one_not_final() -> None:
    first = start(input_tokens=5, output_tokens=1)
    for absurd in (None, -3, "9"):
        found = reports(first, delta(output_tokens=absurd), STOP)
        assert found == [UsageReported(Usage(input=5, output=1), final=False)]


def test_the_final_usage_is_reported_once() -> None:
    first = start(input_tokens=5, output_tokens=1)
    found = reports(first, delta(None, output_tokens=2), delta(output_tokens=3), STOP)
    assert [(r.usage.output, r.final) for r in found] == [(1, False), (2, False), (3, True)]
    found = reports(first, delta(None, output_tokens=2), delta(), STOP)
    assert [(r.usage.output, r.final) for r in found] == [(1, False), (2, False), (2, True)]


def test_without_input_tokens_nothing_is_reported() -> None:
    assert reports(start(), delta(output_tokens=3), STOP) == []


# Errors


def error_of(status: int, kind: str = "", message: str = "", **headers: str) -> UpstreamError:
    body = dumps({"type": "error", "error": {"type": kind, "message": message}})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return DIALECT.read_error(status, named, body, target())


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, "authentication_error", "invalid x-api-key sk-ant-api03-secret"),
        (402, "billing_error", "secret"),
        (403, "permission_error", "secret"),
        (400, "invalid_request_error", "Your credit balance is too low, secret"),
        (400, "invalid_request_error", "You have reached your specified API usage limits. secret"),
        (404, "permission_error", "secret"),
        (429, "billing_error", "secret"),
    ],
)
def test_what_is_the_operators_matter_is_told_without_the_providers_words(
    status: int, kind: str, message: str
) -> None:
    error = error_of(status, kind, message)
    assert isinstance(error, UpstreamAuthFailed)
    assert error.refused
    assert not error.may_have_billed
    assert error.retry is False
    assert "tell your administrator" in error.message
    assert "secret" not in error.message


def test_rate_limits_and_overload_keep_the_time_to_wait() -> None:
    error = error_of(429, "rate_limit_error", "(org: secret)", retry_after="12")
    assert isinstance(error, UpstreamRateLimited)
    assert "secret" not in error.message
    assert (error.retry_after, error.refused, error.may_have_billed) == (12.0, True, False)
    for status in (503, 529):
        error = error_of(status, "overloaded_error", "Overloaded", retry_after="1.5")
        assert (error.status, error.retry_after, error.refused) == (502, 1.5, True)


def test_a_time_to_wait_may_be_a_date_or_nonsense(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 11, 23, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: now)
    later = format_datetime(now + timedelta(seconds=90), usegmt=True)
    assert error_of(429, retry_after=later).retry_after == 90
    assert error_of(429, retry_after="Mon, 23 Nov 2026 12:00:30 -0000").retry_after == 30
    assert error_of(429, retry_after="Mon, 23 Nov 1998 12:00:30 GMT").retry_after == 0
    for nonsense in ("soon", "-5", "nan", "inf", ""):
        assert error_of(429, retry_after=nonsense).retry_after is None


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_is_wrong_with_the_request_keeps_its_status_and_words(status: int) -> None:
    error = error_of(status, "invalid_request_error", "messages: too long")
    assert isinstance(error, UpstreamRejected)
    assert (error.status, error.message) == (status, "messages: too long")
    assert (error.code, error.may_have_billed) == ("invalid_request_error", False)
    assert len(error_of(status, "x", "y" * 9999).message) == 4000


def test_failures_after_work_may_have_begun_may_be_on_the_bill() -> None:
    for status in (500, 502, 504, 418 + 100, 301):
        error = error_of(status, "api_error", "secret internals")
        assert error.may_have_billed
        assert not error.refused
        assert error.retry is False
        assert "secret" not in error.message
    assert isinstance(error_of(504), UpstreamTimeout)
    assert error_of(409, "conflict_error", "x").refused
    assert error_of(408).may_have_billed
    assert error_of(499).may_have_billed  # a proxy of theirs gave up on us, not the model


@pytest.mark.parametrize(
    "body", [b"", b"<html>no</html>", b"[]", b'{"error":"x"}', b'{"error":{"message":7}}', b"\xff"]
)
def test_bodies_that_are_not_anthropics_are_tolerated(body: bytes) -> None:
    error = DIALECT.read_error(400, {}, body, target())
    assert (error.message, error.code) == (
        "The upstream 'anthropic' rejected the request (HTTP 400).",
        "upstream_rejected",
    )
    assert isinstance(DIALECT.read_error(401, {}, body, target()), UpstreamAuthFailed)
