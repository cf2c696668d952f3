"""Errors in the envelope of Anthropic's API.

Source: https://platform.claude.com/docs/en/api/errors. Its SDKs choose the exception by the
status, Claude Code looks at the type, too.
"""

from modelbridge import ids, jsonio
from modelbridge.errors import BridgeError, Overloaded
from modelbridge.jsonio import JSONDict

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def write_error(error: BridgeError, request_id: str) -> JSONDict:
    """The envelope. A key that stands in the message where it should not is hidden."""
    said = {"type": _type_of(error), "message": ids.hide_keys(error.message)}
    return {"type": "error", "error": said, "request_id": request_id or None}


def write_stream_error(error: BridgeError, request_id: str) -> bytes:
    """The envelope as an `error` event; the SDKs raise on it, and no `message_stop` may follow."""
    return event_frame("error", write_error(error, request_id))


def event_frame(name: str, data: JSONDict) -> bytes:
    """One event as Anthropic writes it: its name, then its data in one line."""
    return b"event: " + name.encode() + b"\ndata: " + jsonio.dumps(data) + b"\n\n"


def _type_of(error: BridgeError) -> str:
    if isinstance(error, Overloaded):
        return "overloaded_error"
    known = _TYPES.get(error.status)
    return known or ("api_error" if error.status >= 500 else "invalid_request_error")
