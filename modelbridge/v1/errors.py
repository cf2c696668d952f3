"""The one mapping from what went wrong to an HTTP answer under /v1."""

import logging
import math
from collections.abc import Mapping

from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from modelbridge import ids, jsonio
from modelbridge.dialects import anthropic_messages, openai_chat
from modelbridge.dialects.base import Face
from modelbridge.errors import (
    BridgeError,
    InvalidRequest,
    MethodNotAllowed,
    MissingApiKey,
    NotFound,
    RequestTooLarge,
)

_MESSAGES, _MODELS = "/v1/messages", "/v1/models/"
_GEMINIS = "enerateContent"  # how the paths of Gemini's own format end, streamed or not
# What the providers' APIs have and we don't, yet, by the first words of the path.
_NOT_YET = {
    "images": "Making and changing images",
    "videos": "Making videos",
    "audio": "Speech and transcription",
    "realtime": "Realtime sessions",
    "moderations": "Moderation",
    "rerank": "Reranking",
    "edits": "Edits",
    "batches": "Batches",
    "messages/batches": "Batches",
    "files": "Files",
    "uploads": "Files",
    "vector_stores": "Vector stores",
    "containers": "Containers",
    "fine_tuning": "Fine-tuning",
    "assistants": "Assistants",
    "threads": "Assistants",
    "conversations": "Stored conversations",
    "evals": "Evaluations",
    "skills": "Skills",
}
_log = logging.getLogger("modelbridge.v1")


def request_id() -> str:
    """The id of this request, the same in the answer, the journal and the log."""
    found: str | None = g.get("request_id")
    if found is None:
        found = g.request_id = ids.new_id("req")
    return found


def front_of_request() -> Face:
    """The format in which this endpoint speaks, errors included: the path tells it before a view.

    So a wrong key, a wrong method and a path that is none are told in the client's own format.
    """
    if "front" not in g:
        g.front = anthropic_messages if _is_anthropics() else openai_chat
    found: Face = g.front
    return found


def _is_anthropics() -> bool:
    """Anthropic's clients name its version with every request; of the lists there are two forms."""
    path = request.path
    in_header = "anthropic-version" in request.headers and f"{path}/".startswith(_MODELS)
    return path.startswith(_MESSAGES) or in_header


def name_response(response: Response) -> None:
    """The response says the request's id, in the header that the format's own clients read, too."""
    name_as(response, request_id(), front_of_request())


def name_as(response: Response, name: str, front: Face) -> None:
    """`name_response` for whoever knows the id and the format."""
    response.headers["x-request-id"] = name
    if front.NAME == anthropic_messages.NAME:
        response.headers["request-id"] = name


def error_response(error: BridgeError, notes: Mapping[str, str] | None = None) -> Response:
    """The error in the endpoint's own envelope, with the headers that clients obey."""
    body = front_of_request().write_error(error, request_id())
    response = Response(jsonio.dumps(body), error.status, content_type="application/json")
    headers = response.headers
    headers.update(notes or {})
    name_response(response)
    headers["Cache-Control"] = "no-store"
    if isinstance(error, MissingApiKey):
        headers["WWW-Authenticate"] = "Bearer"
    if error.retry is not None:
        headers["x-should-retry"] = "true" if error.retry else "false"
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(max(0, error.retry_after)))
    return response


def http_error_response(error: HTTPException) -> Response:
    """What Flask and Werkzeug refuse, in our words."""
    response = error_response(_meaning(error))
    if error.code == 405:
        response.headers["Allow"] = ", ".join(getattr(error, "valid_methods", None) or ())
    return response


def unexpected_response(error: Exception) -> Response:
    """A fault of ours: logged whole, told without detail."""
    _log.exception("request %s failed", request_id(), exc_info=error)
    return error_response(
        BridgeError(
            f"ModelBridge failed on this request ({request_id()}). Its log says why.", retry=False
        )
    )


def server_refusal(status: int, reason: str) -> tuple[dict[str, str], bytes]:
    """Headers and body for what the HTTP server refuses before Flask sees it."""
    found: BridgeError
    if status == 413:
        found = RequestTooLarge("The body is larger than this bridge accepts.")
    elif status >= 500 and status != 501:
        found = BridgeError("ModelBridge failed on this request. Its log says why.", retry=False)
    else:
        found = InvalidRequest(f"This is not an HTTP request that we accept: {reason.rstrip('.')}.")
    name = ids.new_id("req")
    headers = {
        "Content-Type": "application/json",
        "Cache-Control": "no-store",
        "x-request-id": name,
    }
    if found.retry is False:
        headers["x-should-retry"] = "false"
    return headers, jsonio.dumps(openai_chat.write_error(found, name))


def _not_offered_yet(path: str) -> str | None:
    """What a path of the providers' APIs is for, if we don't offer it yet."""
    below = f"{path.removeprefix('/v1/')}/"
    return next((what for start, what in _NOT_YET.items() if below.startswith(f"{start}/")), None)


def _meaning(error: HTTPException) -> BridgeError:
    if error.code in (404, 405) and request.path.endswith(_GEMINIS):
        return NotFound(
            "Gemini's own format is spoken to upstreams only. Call the same model with a client of "
            "OpenAI's or Anthropic's: at /v1/chat/completions, /v1/responses or /v1/messages."
        )
    if error.code == 404:
        if (name := _not_offered_yet(request.path)) is not None:
            return NotFound(
                f"{name}: not offered by this bridge yet, so there is no {request.path} here. "
                "Chat, responses, messages, completions and embeddings are."
            )
        return NotFound(
            f"There is no {request.path} here. GET /v1/models lists the models; "
            "POST /v1/chat/completions calls one."
        )
    if error.code == 405:
        return MethodNotAllowed(f"{request.path} does not take {request.method}.")
    if error.code == 413:
        return RequestTooLarge("The body is larger than this bridge accepts.")
    if error.code is not None and 400 <= error.code < 500:
        return InvalidRequest(error.description or "The request cannot be read.")
    return BridgeError("ModelBridge failed on this request.", retry=False)
