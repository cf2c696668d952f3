"""What can go wrong, as meaning. One class per meaning; HTTP is written in `v1/errors.py` alone.

Each class carries the status, type and code of the table in docs/errors.md. `retry=False` becomes
`x-should-retry: false`, which the official SDKs obey: one failure then is one HTTP request.
"""

from modelbridge import clock


class BridgeError(Exception):
    """Anything that ModelBridge refuses or that failed on the way.

    `param` names the field of the request at fault. `retry_after` is in seconds.
    """

    status = 500
    type = "server_error"
    code: str | None = "internal_error"
    retry: bool | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        code: str | None = None,
        retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if retry is not None:
            self.retry = retry


# The key


class AuthenticationError(BridgeError):
    """The credential does not open the door."""

    status, type, code = 401, "authentication_error", "invalid_api_key"


class MissingApiKey(AuthenticationError):
    """No credential was sent."""

    code = "missing_api_key"


class InvalidApiKey(AuthenticationError):
    """Unknown, or mistyped. The key is never echoed."""


class ApiKeyRevoked(AuthenticationError):
    """Revoked, or its person is disabled or no longer in the team."""

    code = "api_key_revoked"


class ApiKeyExpired(AuthenticationError):
    """The key's expiry has passed."""

    code = "api_key_expired"


class AddressNotAllowed(BridgeError):
    """The key may be used from a list of networks only, and the client's address is in none."""

    status, type, code = 403, "permission_error", "address_not_allowed"


class AmbiguousCredentials(BridgeError):
    """Two different credentials in one call."""

    status, type, code = 400, "invalid_request_error", "ambiguous_credentials"


# The request


class InvalidRequest(BridgeError):
    """The request is malformed or out of range; `param` names the field."""

    status, type, code = 400, "invalid_request_error", "invalid_request"


class UnsupportedParameter(InvalidRequest):
    """The request asks for something that the chosen model or we cannot do or cannot bound."""

    code = "unsupported_parameter"


class RequestTooLarge(BridgeError):
    """The body is above the limit."""

    status, type, code = 413, "invalid_request_error", "request_too_large"


class UnsupportedMediaType(BridgeError):
    """The content type or encoding is not plain JSON."""

    status, type, code = 415, "invalid_request_error", "unsupported_media_type"


class MethodNotAllowed(BridgeError):
    """The path exists, the method does not."""

    status, type, code = 405, "invalid_request_error", "method_not_allowed"


class NotFound(BridgeError):
    """No such path or object."""

    status, type, code = 404, "invalid_request_error", "not_found"


class ModelNotFound(BridgeError):
    """No such model here."""

    status, type, code = 404, "invalid_request_error", "model_not_found"


class ModelNotAllowed(BridgeError):
    """The model exists, this key may not call it."""

    status, type, code = 403, "permission_error", "model_not_allowed"


class ModelNotPriced(BridgeError):
    """A model without a price cannot be called with a live key."""

    status, type, code, retry = 503, "server_error", "model_not_priced", False


# The money


class SpendingLimitReached(BridgeError):
    """The key's or the account's own limit is spent; the message says which."""

    status, type, code, retry = 429, "insufficient_quota", "spending_limit_exceeded", False


class InsufficientBalance(BridgeError):
    """The account has too little money left."""

    status, type, code, retry = 429, "insufficient_quota", "insufficient_balance", False


class MaxTokensUnaffordable(BridgeError):
    """The maximum that the client named is beyond the money; the message has the affordable one."""

    status, type, code, retry = 429, "insufficient_quota", "max_tokens_unaffordable", False


class BudgetInFlight(BridgeError):
    """The money is there, but other calls hold it."""

    status, type, code = 429, "rate_limit_error", "budget_in_flight"


class IdempotencyInFlight(BridgeError):
    """A call with this Idempotency-Key is still running."""

    status, type, code, retry = 409, "invalid_request_error", "idempotency_in_flight", False


class IdempotencyDone(BridgeError):
    """The call with this Idempotency-Key is done; the message has its receipt's id and cost."""

    status, type, code, retry = 409, "invalid_request_error", "idempotency_done", False


class IdempotencyMismatch(BridgeError):
    """The same Idempotency-Key came with another body."""

    status, type, code, retry = 422, "invalid_request_error", "idempotency_mismatch", False


# The rates


class RateLimited(BridgeError):
    """The key makes more calls a minute, or at once, than it may."""

    status, type, code = 429, "requests", "rate_limit_exceeded"


class TokensRateLimited(RateLimited):
    """The key uses more tokens a minute than it may."""

    type = "tokens"


# The house


class Overloaded(BridgeError):
    """All workers are busy, or the ledger's queue is full, or we are shutting down."""

    status, type, code = 503, "server_error", "overloaded"


# The upstream


class UpstreamError(BridgeError):
    """The upstream failed.

    `refused`: it said no before doing any work (or was never reached), so nothing was spent and
    another target may be tried. `may_have_billed`: nobody saw the outcome; it may be on the bill.
    """

    status, type, code = 502, "server_error", "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        refused: bool = False,
        may_have_billed: bool = False,
        param: str | None = None,
        retry_after: float | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(
            message,
            param=param,
            retry_after=retry_after,
            code=code,
            retry=False if may_have_billed else None,
        )
        self.refused = refused
        self.may_have_billed = may_have_billed


class UpstreamTimeout(UpstreamError):
    """The upstream took too long."""

    status, code = 504, "upstream_timeout"


class UpstreamRateLimited(UpstreamError):
    """The upstream said 429; `retry_after` is its own."""

    status, type, code = 429, "rate_limit_error", "upstream_rate_limited"


class UpstreamAuthFailed(UpstreamError):
    """The upstream refuses our credential: the operator's problem, never the client's 401."""

    code, retry = "upstream_auth_failed", False


class UpstreamRejected(UpstreamError):
    """The upstream found the request wrong (400, 404, 413, 422): status and message are kept."""

    type, code, retry = "invalid_request_error", "upstream_rejected", None

    def __init__(
        self, message: str, *, status: int, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, refused=False, code=code, param=param)
        self.status = status


class CutByRevocation(BridgeError):
    """The key was revoked while its stream was running."""

    status, type, code, retry = 401, "authentication_error", "api_key_revoked", False


def refuse_dead_key(
    revoked_at: int | None,
    expires_at: int | None,
    disabled_at: int | None,
    left_team: bool,
    now_micros: int,
) -> None:
    """Raises ApiKeyRevoked or ApiKeyExpired unless the key is alive.

    Moments in microseconds since 1970. One rule for the door, the admission and live streams.
    """
    if revoked_at is not None:
        raise ApiKeyRevoked("This API key has been revoked.")
    if disabled_at is not None:
        raise ApiKeyRevoked("The person that this API key belongs to has been disabled.")
    if left_team:
        raise ApiKeyRevoked("The person that this API key belongs to is no longer in its team.")
    if expires_at is not None and expires_at <= now_micros:
        when = clock.from_micros(expires_at)
        raise ApiKeyExpired(f"This API key expired on {when:%Y-%m-%d at %H:%M:%S UTC}.")
