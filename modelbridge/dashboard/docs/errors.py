"""The table of errors: status, type and code from the errors themselves, the words from here."""

from collections.abc import Iterator
from dataclasses import dataclass

from modelbridge import errors
from modelbridge.errors import BridgeError, UpstreamRejected

# Code: what it means, what to do; what is written in programs stands in backticks. A test holds
# this against errors.py.
WORDS = {
    "missing_api_key": "No key came with the call. Send `Authorization: Bearer mb_live_…`.",
    "invalid_api_key": "No such key here, or a typo. Copy it again, or make a new one.",
    "api_key_revoked": "The key was revoked, or its person was disabled or left the team. Make a "
    "new one. A running stream of it ends with this error.",
    "api_key_expired": "The key's expiry has passed. Make a new one, or give it a later expiry.",
    "ambiguous_credentials": "Two different keys in one call. Send one.",
    "model_not_allowed": "The key is limited to certain models, and this is none of them.",
    "address_not_allowed": "The key works only from certain IP addresses, and the call came from "
    "another. Change the key's list.",
    "rate_limit_exceeded": "The key's calls or tokens a minute, or its calls at once, are used up: "
    "`x-ratelimit-…` headers say how it stands, `retry-after` when to try again.",
    "invalid_request": "Malformed JSON, a wrong type or a value out of range: `param` names it.",
    "unsupported_parameter": "The model's provider has no such thing, or its cost cannot be "
    "bounded beforehand. Leave the field out.",
    "model_not_found": "No model of that name here. Names are case-sensitive; the message names "
    "the nearest.",
    "not_found": "No such path. The base URL ends in `/v1`.",
    "method_not_allowed": "The path exists, the method does not.",
    "request_too_large": "The body is above this bridge's limit. Send less.",
    "unsupported_media_type": "Send `Content-Type: application/json`, uncompressed.",
    "idempotency_in_flight": "A call with this `Idempotency-Key` is still running.",
    "idempotency_done": "A call with this `Idempotency-Key` is done: the message has its receipt's "
    "id and cost.",
    "idempotency_mismatch": "The same `Idempotency-Key` came with another body. Use a new one.",
    "spending_limit_exceeded": "The spending limit of the key or of the account is reached: the "
    "message says which, and when its period ends.",
    "insufficient_balance": "The account has too little money left for this call. Have it topped "
    "up.",
    "max_tokens_unaffordable": "The maximum that was asked for costs more than there is. The "
    "message has the largest that is affordable.",
    "budget_in_flight": "There is money, but other running calls hold it. Try again when they end.",
    "internal_error": "A fault of the bridge. Report it with the request id.",
    "overloaded": "Every worker is busy, or the bridge is shutting down. Try again.",
    "model_not_priced": "Nobody told this bridge what the model costs. An administrator gives it a "
    "price.",
    "upstream_rate_limited": "The provider limits the operator's account. Try again later.",
    "upstream_rejected": "The provider found the request wrong: its status and message are kept.",
    "upstream_auth_failed": "The provider refuses the operator's credential. Tell an "
    "administrator.",
    "upstream_error": "The provider failed or could not be reached.",
    "upstream_timeout": "The provider took too long.",
}
REJECTION_STATUSES = "400, 404, 413, 422"


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One line of the table. `retry` is what official clients are told, or "" for their choice."""

    status: str
    type: str
    code: str
    words: str
    retry: str


def error_rows() -> list[ErrorRow]:
    """Every error that a client can get, by status."""
    found: dict[tuple[str, str], ErrorRow] = {}
    for kind in _kinds(BridgeError):
        row = _row(kind)
        found.setdefault((row.status, row.code), row)
    return sorted(found.values(), key=lambda row: (row.status, row.code))


def _row(kind: type[BridgeError]) -> ErrorRow:
    code = kind.code or ""
    status = REJECTION_STATUSES if kind is UpstreamRejected else str(kind.status)
    retry = "" if kind.retry is None else "yes" if kind.retry else "no"
    return ErrorRow(status, kind.type, code, WORDS[code], retry)


def _kinds(kind: type[BridgeError]) -> Iterator[type[BridgeError]]:
    if kind.__module__ == errors.__name__:
        yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)
