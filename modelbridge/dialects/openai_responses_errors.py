"""Errors of the Responses format: OpenAI's envelope, and what ends a stream that failed.

The SDKs raise on an event with `error` in it; Codex and others look at `response.failed`, which is
what OpenAI sends after it. Source: OpenAI's OpenAPI document, ResponseErrorEvent and
ResponseFailedEvent, whose fields stand beside the envelope.
"""

from modelbridge import clock, jsonio
from modelbridge.dialects import openai_errors
from modelbridge.dialects.openai_errors import read_complaint, write_error
from modelbridge.errors import BridgeError, UpstreamError
from modelbridge.jsonio import JSONDict
from modelbridge.wire.target import Target

__all__ = ["event_frame", "read_error", "write_error", "write_stream_error"]

# How many events went before is not known where a stream breaks off, only that it was fewer.
_AFTER_EVERYTHING = 2**31 - 2


def read_error(status: int, headers: dict[str, str], body: bytes, target: Target) -> UpstreamError:
    """What an answer that is no success means; header names are in lower case.

    A server without this format has no such path, and has done nothing: another target, or another
    format, may be tried.
    """
    complaint = read_complaint(body)
    about_request = complaint.code == "model_not_found" or complaint.param is not None
    if status in (404, 405, 501) and not about_request:
        return UpstreamError(
            f"The upstream {target.upstream!r} has no Responses API (HTTP {status}).", refused=True
        )
    return openai_errors.read_error(status, headers, body, target)


def write_stream_error(error: BridgeError, request_id: str) -> bytes:
    """The error as an `error` event, and the response as failed; nothing may follow."""
    told: JSONDict = write_error(error, request_id)["error"]
    plain = {"code": told["code"], "message": told["message"], "param": told["param"]}
    first = {"type": "error", "sequence_number": _AFTER_EVERYTHING, **plain, "error": told}
    failed = {
        "type": "response.failed",
        "sequence_number": _AFTER_EVERYTHING + 1,
        "response": _failed(plain, request_id),
    }
    return event_frame("error", first) + event_frame("response.failed", failed)


def event_frame(name: str, data: JSONDict) -> bytes:
    """One event as OpenAI writes it: its name, then its data in one line."""
    return b"event: " + name.encode() + b"\ndata: " + jsonio.dumps(data) + b"\n\n"


def _failed(error: JSONDict, request_id: str) -> JSONDict:
    """A response of which nothing is known but that it failed."""
    return {
        "id": "resp_" + request_id.removeprefix("req_"),
        "object": "response",
        "created_at": clock.now_micros() // 1_000_000,
        "status": "failed",
        "error": {"code": "server_error", "message": error["message"]},
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
    }
