"""OpenAI's errors: the envelope for our clients, and what an upstream's answer means.

Compatible servers wrap their errors in many ways; every shape that was seen is read here.
"""

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from modelbridge import clock, ids, jsonio
from modelbridge.errors import (
    BridgeError,
    UpstreamAuthFailed,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRejected,
)
from modelbridge.jsonio import JSONDict
from modelbridge.wire.sse import data_frame
from modelbridge.wire.target import Target

_LONGEST_MESSAGE = 4_000
_OUT_OF_MONEY = frozenset(
    {
        "insufficient_quota",
        "billing_not_active",
        "billing_hard_limit_reached",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    }
)
# Who the operator is at the provider, and pieces of a credential: no business of the client's.
_IDENTITIES = re.compile(r"\b(?:org|proj|sk)-[A-Za-z0-9_*-]{4,}")
_RETRY_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,9}(?:\.\d{1,9})?)s"')


class Complaint(NamedTuple):
    """What an upstream said of its failure; `message` is empty if it said nothing readable."""

    message: str = ""
    type: str | None = None
    code: str | None = None
    param: str | None = None


# For the client


def write_error(error: BridgeError, request_id: str) -> JSONDict:
    """OpenAI's envelope. The request's id is in a header there, not in the body.

    The message may quote what the client sent: a key that stands where it should not is hidden.
    """
    del request_id
    return {
        "error": {
            "message": ids.hide_keys(error.message),
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


def write_stream_error(error: BridgeError, request_id: str) -> bytes:
    """The envelope as one frame; the official SDKs raise on it, and no `[DONE]` may follow."""
    return data_frame(jsonio.dumps(write_error(error, request_id)))


# From the upstream


def read_error(status: int, headers: dict[str, str], body: bytes, target: Target) -> UpstreamError:
    """What an answer that is no success means; header names are in lower case.

    The upstream's words are kept only where they are about the client's request (400, 404, 413,
    422 and the like): what it says of our credential or our money is the operator's business.
    """
    complaint = read_complaint(body)
    name = target.upstream
    if _is_about_our_credential(status, body, complaint):
        return UpstreamAuthFailed(
            f"The upstream {name!r} does not accept the credential that ModelBridge has for it, or "
            "has no money left there. Nothing is wrong with your key: tell your administrator.",
            refused=True,
        )
    retry_after = read_retry_after(headers, body)
    if status == 429:
        return UpstreamRateLimited(
            f"The upstream {name!r} is limiting its rate: {complaint.message or 'it said 429'}",
            refused=True,
            retry_after=retry_after,
        )
    if status in (503, 529):
        return UpstreamError(
            f"The upstream {name!r} is overloaded or down for now (HTTP {status}).",
            refused=True,
            retry_after=retry_after,
        )
    if status in (400, 404, 413, 422):
        return UpstreamRejected(
            complaint.message or f"The upstream {name!r} rejected the request (HTTP {status}).",
            status=status,
            code=complaint.code,
            param=complaint.param,
        )
    if 400 <= status < 500 and status not in (408, 499):
        return UpstreamError(
            f"The upstream {name!r} refused the request (HTTP {status}): "
            f"{complaint.message or 'it gave no reason'}",
            refused=True,
        )
    return UpstreamError(f"The upstream {name!r} failed (HTTP {status}).", may_have_billed=True)


def find_error(body: JSONDict, event: str = "") -> UpstreamError | None:
    """The failure that a frame in mid-stream, or a body that came with 200, reports, or None.

    `{"error": …}` beside anything else (OpenAI, OpenRouter), `{"object": "error", …}` (vLLM), or
    whatever comes in an event named `error`.
    """
    if body.get("error") is None and body.get("object") != "error" and event != "error":
        return None
    complaint = _complaint(body)
    return UpstreamError(
        f"The upstream failed: {complaint.message or 'it gave no reason'}", may_have_billed=True
    )


def read_complaint(body: bytes) -> Complaint:
    """The upstream's own words, whatever their shape.

    `{"error": {...}}`, `{"error": "text"}`, `{"message": ...}`, `{"detail": ...}`, a list around
    any of them (Gemini), or no JSON at all (then nothing: proxies send pages of HTML).
    """
    try:
        value = jsonio.loads(body)
    except ValueError:
        return Complaint()
    if isinstance(value, list) and value:
        value = value[0]
    return _complaint(value) if isinstance(value, dict) else Complaint()


def read_retry_after(headers: dict[str, str], body: bytes = b"") -> float | None:
    """Seconds to wait, from `retry-after-ms`, `retry-after` or Gemini's `retryDelay`; or None."""
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after", "").strip()
    if text:
        seconds = _seconds(text)
        return seconds if seconds is not None else _seconds_until(text)
    found = _RETRY_DELAY.search(body)
    return float(found[1]) if found else None


def _is_about_our_credential(status: int, body: bytes, complaint: Complaint) -> bool:
    if status in (401, 402, 403):
        return True
    if status == 429:
        return complaint.code in _OUT_OF_MONEY or complaint.type in _OUT_OF_MONEY
    # Gemini and xAI answer a bad key with 400.
    return status == 400 and (
        b'"API_KEY_INVALID"' in body or complaint.message.startswith("Incorrect API key")
    )


def _complaint(value: JSONDict) -> Complaint:
    error = value.get("error")
    if isinstance(error, str):
        return Complaint(_bounded(error), _text(value.get("type")), _text(value.get("code")))
    source = error if isinstance(error, dict) else value
    message = source.get("message")
    param = _text(source.get("param"))
    if not isinstance(message, str):
        message, param = _detail(value.get("detail") or message, param)
    return Complaint(_bounded(message), _text(source.get("type")), _text(source.get("code")), param)


def _detail(detail: object, param: str | None) -> tuple[str, str | None]:
    """FastAPI's `detail`: a text, or a list of `{"loc": ["body", …], "msg": …}`."""
    if isinstance(detail, dict):  # Mistral nests it once more
        detail = detail.get("detail") or detail.get("message")
    if isinstance(detail, str):
        return detail, param
    if not (isinstance(detail, list) and detail and isinstance(detail[0], dict)):
        return "", param
    place = detail[0].get("loc")
    if isinstance(place, list):
        param = ".".join(str(step) for step in place if step != "body") or param
    return str(detail[0].get("msg") or ""), param


def _bounded(message: str) -> str:
    return _IDENTITIES.sub("(hidden)", message.strip()[:_LONGEST_MESSAGE])


def _text(value: object) -> str | None:
    """A code, type or param that is a text; llama.cpp's integer codes only repeat the status."""
    return value[:200] if isinstance(value, str) and value else None


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _seconds_until(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - clock.now()).total_seconds())
