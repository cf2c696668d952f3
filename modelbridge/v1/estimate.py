"""Quotes: the most that a call would cost, without making it."""

from flask import Response, request

from modelbridge.dialects.base import Face
from modelbridge.dialects.registry import FRONTS, PLAINS
from modelbridge.errors import InvalidRequest
from modelbridge.gateway import kinds
from modelbridge.gateway.admission import choose_for, quote_for
from modelbridge.identity.callers import Caller
from modelbridge.jsonio import JSONDict
from modelbridge.money import format_amount
from modelbridge.v1.endpoints import blueprint
from modelbridge.v1.guard import gateway, require_api_key
from modelbridge.v1.respond import json_response, read_body

# Every endpoint that costs money, by its path, and the face that reads its requests.
PATHS = {
    "chat/completions": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "completions": "openai_completions",
    "embeddings": "openai_embeddings",
}
_FACES: dict[str, Face] = {**FRONTS, **PLAINS}
QUOTABLE = {path: _FACES[name] for path, name in PATHS.items() if name in _FACES}


@blueprint.post("/estimate")
@require_api_key
def estimate(caller: Caller) -> Response:
    """The quote of a body; its field `endpoint` says what it is for, else its own fields do."""
    body = read_body(request)
    named = body.pop("endpoint", None)
    path = _guess(caller, body) if named is None else _path(named)
    return _quote(caller, QUOTABLE[path], body)


@blueprint.post("/estimate/<path:path>")
@require_api_key
def estimate_for(caller: Caller, path: str) -> Response:
    """The quote of a body that is sent as to that endpoint: /v1/estimate/embeddings."""
    return _quote(caller, QUOTABLE[_path(path)], read_body(request))


def _quote(caller: Caller, face: Face, body: JSONDict) -> Response:
    asked = face.read_request(body)
    kind = kinds.of_face(face.NAME)
    catalog = gateway().catalog.at(caller.catalog_version)
    offered = choose_for(kind, catalog, caller, asked["model"])
    quote = quote_for(catalog, offered, asked, kind)
    cap = quote.asked if quote.asked is not None else quote.most_output
    return json_response(
        {
            "object": "estimate",
            "model": asked["model"],
            "quote": format_amount(quote.nanos(cap)),
            "input_tokens_bound": max(bound for bound, _ in quote.flats),
            "output_tokens_cap": cap,
            "currency": "AUD",
        }
    )


def _path(named: object) -> str:
    """The endpoint as the caller wrote it: `embeddings`, `/v1/embeddings`, `chat_completions`."""
    text = named if isinstance(named, str) else ""
    path = text.strip("/").removeprefix("v1/").replace("_", "/")
    if path not in QUOTABLE:
        raise InvalidRequest(
            f"'endpoint' must be one of {', '.join(QUOTABLE)}: the path below /v1 of the call that "
            "is to be quoted.",
            param="endpoint",
        )
    return path


def _guess(caller: Caller, body: JSONDict) -> str:
    """What a body is for that does not say so: its fields are like one endpoint's alone."""
    if "anthropic-version" in request.headers:
        return "messages"
    if "messages" not in body:
        if "prompt" in body:
            return "completions"
        if "input" in body:
            return _guess_input(caller, body)
    return "chat/completions"


def _guess_input(caller: Caller, body: JSONDict) -> str:
    """Embeddings and responses both have an `input`: the model knows which."""
    catalog, model = gateway().catalog.at(caller.catalog_version), body.get("model")
    is_text = isinstance(model, str) and not catalog.is_for(model, "embeddings")
    return "responses" if is_text and "responses" in QUOTABLE else "embeddings"
