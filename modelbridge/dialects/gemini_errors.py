"""Gemini, upstream half: what a failure means. Source: https://ai.google.dev/api/troubleshooting;
the envelope is google.rpc.Status (https://cloud.google.com/apis/design/errors).
"""

from modelbridge.dialects.openai_errors import read_complaint, read_retry_after
from modelbridge.errors import (
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamTimeout,
)
from modelbridge.jsonio import JSONDict, loads
from modelbridge.wire.target import Target

_LONGEST_MESSAGE = 4_000
# 400s that are about the operator's key, project or country, and not about the request.
_OPERATORS = (b'"API_KEY_INVALID"', b'"API_KEY_SERVICE_BLOCKED"', b'"FAILED_PRECONDITION"')
_LONGEST_CODE = 64


def read_error(status: int, headers: dict[str, str], body: bytes, target: Target) -> UpstreamError:
    """What an answer that is no success means; header names are in lower case.

    What is about our key, our project or our quota is told without Google's words, which name them.
    """
    name = target.upstream
    if status in (401, 402, 403) or (status == 400 and any(mark in body for mark in _OPERATORS)):
        return UpstreamAuthFailed(
            f"The upstream {name!r} does not accept the credential that ModelBridge has for it, or "
            "has no money left there. Nothing is wrong with your key: tell your administrator.",
            refused=True,
        )
    if status == 429:
        return UpstreamRateLimited(
            f"The upstream {name!r} is limiting its rate: try again later.",
            refused=True,
            retry_after=read_retry_after(headers, body),
        )
    if status == 503:
        return UpstreamError(
            f"The upstream {name!r} is overloaded or down for now (HTTP {status}).",
            refused=True,
            retry_after=read_retry_after(headers, body),
        )
    if status in (400, 404, 413, 422):
        words = read_complaint(body).message[:_LONGEST_MESSAGE]
        words = words or f"The upstream {name!r} rejected the request (HTTP {status})."
        return UpstreamRejected(words, status=status, code=_kind(body))
    if status == 504:
        return UpstreamTimeout(f"The upstream {name!r} timed out.", may_have_billed=True)
    refused = 400 <= status < 500 and status not in (408, 499)
    return UpstreamError(
        f"The upstream {name!r} failed (HTTP {status}).",
        refused=refused,
        may_have_billed=not refused,
    )


def failure_of(data: JSONDict) -> UpstreamError:
    """An error after the 200: in the stream, or instead of a reply."""
    kind = kind_of(data)
    if kind == "RESOURCE_EXHAUSTED":
        return UpstreamRateLimited("The upstream's rate limit was reached.", may_have_billed=True)
    what = "is overloaded" if kind == "UNAVAILABLE" else "failed"
    return UpstreamError(f"The upstream {what} while it was answering.", may_have_billed=True)


def kind_of(data: object) -> str:
    """`error.status` of google.rpc.Status, such as "INVALID_ARGUMENT"; "" if there is none."""
    data = data[0] if isinstance(data, list) and data else data
    error = data.get("error") if isinstance(data, dict) else None
    status = error.get("status") if isinstance(error, dict) else None
    return status[:_LONGEST_CODE] if isinstance(status, str) else ""


def _kind(body: bytes) -> str | None:
    try:
        return kind_of(loads(body)).lower() or None
    except ValueError:
        return None
