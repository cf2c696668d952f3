"""From a request to a Call, and from what the gateway gives back to a Response."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Request, Response, g
from flask.globals import request_ctx
from werkzeug.datastructures import Headers

from modelbridge import ids, jsonio
from modelbridge.dialects.base import Face
from modelbridge.errors import (
    BridgeError,
    InvalidRequest,
    UnsupportedMediaType,
)
from modelbridge.gateway import journal, pipeline, serving
from modelbridge.gateway.call import Call
from modelbridge.gateway.pump import Outlet
from modelbridge.gateway.services import Gateway
from modelbridge.identity.callers import Caller
from modelbridge.jsonio import JSONDict
from modelbridge.v1.errors import error_response, name_as, name_response, request_id
from modelbridge.v1.guard import gateway

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

UNSENT_BYTES = "modelbridge.unsent_bytes"
MAX_IDEMPOTENCY_KEY = 255


def serve(caller: Caller, front: Face, endpoint: str) -> Response:
    """Make the call that this request asks for, and answer it in the front's format."""
    g.front = front
    asked = request_ctx.request
    call = Call(
        caller=caller,
        front=front,
        endpoint=endpoint,
        body={},
        id=request_id(),
        client_gone=asked.environ.get("waitress.client_disconnected", _never_gone),
    )
    bridge = gateway()
    try:
        call.body = read_body(asked)
        call.idempotency = _idempotency(asked)
        call.stream = call.body.get("stream") is True
        serving.take_slot(bridge, call)
        return _stream(bridge, call) if call.stream else _complete(bridge, call)
    except BridgeError as error:
        journal.write_later(bridge, call, finish="refused", error=error)
        return error_response(error, call.notes)


def read_body(asked: Request) -> JSONDict:
    """The request's JSON object. Raises InvalidRequest or UnsupportedMediaType."""
    kind = asked.mimetype
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            f"The content type is {kind!r}; send «Content-Type: application/json»."
        )
    encoding = asked.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(
            f"The content encoding {encoding!r} is not supported; send the JSON as it is."
        )
    try:
        body = jsonio.read_strict(asked.get_data())
    except jsonio.StrictJSONError as error:
        raise InvalidRequest(
            f"The body is not JSON that we accept: {error}.", param=error.path
        ) from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return body


def json_response(body: JSONDict) -> Response:
    """An answer of ours, with the request's id."""
    response = Response(jsonio.dumps(body), content_type="application/json")
    name_response(response)
    return response


def _complete(bridge: Gateway, call: Call) -> Response:
    try:
        answer = pipeline.complete(bridge, call)
    finally:
        serving.give_back(bridge, call)
    response = WholeResponse(answer.body, content_type="application/json")
    _write_notes(response, call)
    return response


class WholeResponse(Response):
    """An answer of which all is known: its length is among its headers, and nothing is to mend."""

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:
        """As they are."""
        return self.headers


class StreamResponse(Response):
    """A stream. Where the server tells how far its client has got, other threads write to it."""

    def __init__(self, body: serving.SlottedBody) -> None:
        super().__init__(
            body, content_type="text/event-stream; charset=utf-8", direct_passthrough=True
        )
        self._body = body

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """WSGI: the server iterates what is returned, and `write` may be called before that."""
        body, status, headers = self.get_wsgi_response(environ)
        write = start_response(status, headers)
        unsent_bytes = environ.get(UNSENT_BYTES)
        if unsent_bytes is not None:
            self._body.attach(Outlet(write, unsent_bytes))
        return body


def _stream(bridge: Gateway, call: Call) -> Response:
    response = StreamResponse(serving.stream(bridge, call))
    response.headers["Cache-Control"] = "no-cache, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    _write_notes(response, call)
    return response


def _write_notes(response: Response, call: Call) -> None:
    name_as(response, call.id, call.front)
    for name, value in call.notes.items():
        response.headers[name] = value


def _idempotency(asked: Request) -> tuple[str, str] | None:
    name = asked.headers.get("Idempotency-Key", "").strip()
    if not name:
        return None
    if len(name) > MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest(
            f"Idempotency-Key: at most {MAX_IDEMPOTENCY_KEY} characters.", param="Idempotency-Key"
        )
    return name, ids.sha256_hex(asked.get_data().decode())


def _never_gone() -> bool:
    return False
