"""The endpoints of /v1, each a few lines: who calls, in which format, what is asked."""

from functools import partial
from typing import Any

from flask import Blueprint, Response

from modelbridge import clock, jsonio
from modelbridge.dialects import anthropic_messages, openai_chat
from modelbridge.dialects.anthropic_front_request import read_countable
from modelbridge.gateway import bounds, practice
from modelbridge.gateway.admission import choose, quote_for
from modelbridge.identity.callers import Caller
from modelbridge.ledger.limits import key_spending
from modelbridge.money import format_amount
from modelbridge.store.tables import Account, ApiKey
from modelbridge.upstream.sandbox import SCENARIO_MODELS
from modelbridge.v1.errors import name_response
from modelbridge.v1.guard import gateway, require_api_key
from modelbridge.v1.respond import read_body, serve

BYTES_PER_TOKEN = 4
TOKENS_OF_A_PICTURE = 1_600
blueprint = Blueprint("v1", __name__)


@blueprint.post("/chat/completions")
@require_api_key
def chat_completions(caller: Caller) -> Response:
    """OpenAI's chat completions, streamed or not."""
    return serve(caller, openai_chat, "chat_completions")


@blueprint.post("/messages")
@partial(require_api_key, x_api_key=True)
def messages(caller: Caller) -> Response:
    """Anthropic's messages, streamed or not."""
    return serve(caller, anthropic_messages, "messages")


@blueprint.post("/messages/count_tokens")
@partial(require_api_key, x_api_key=True)
def count_tokens(caller: Caller) -> Response:
    """An estimate, free: a quarter of the request's bytes, and a usual size for each picture."""
    size = bounds.measure(read_countable(read_body()))
    tokens = -(-size.text_bytes // BYTES_PER_TOKEN) + size.images * TOKENS_OF_A_PICTURE
    return _json({"input_tokens": tokens})


@blueprint.get("/models")
@partial(require_api_key, x_api_key=True)
def models(caller: Caller) -> Response:
    """What this key may call."""
    catalog = gateway().catalog.at(caller.catalog_version)
    names = [name for name in _names(caller) if caller.may_call(name)]
    rows = [_model(name, catalog.offered(name)) for name in names]
    return _json({"object": "list", "data": rows})


@blueprint.get("/models/<path:name>")
@partial(require_api_key, x_api_key=True)
def model(caller: Caller, name: str) -> Response:
    """One model of those; 404 for another."""
    catalog = gateway().catalog.at(caller.catalog_version)
    if caller.is_test:
        practice.check_model(catalog, caller, name)
        return _json(_model(name, catalog.offered(name)))
    return _json(_model(name, choose(catalog, caller, name)))


@blueprint.get("/key")
@require_api_key
def key(caller: Caller) -> Response:
    """What a key may know of itself: limit, spent, expiry, mode. Amounts are decimal AUD."""
    with gateway().database.reading() as session:
        row = session.get_one(ApiKey, caller.key_id)
        spending = key_spending(session, [row])[row.id]
        account = session.get(Account, row.account_id) if row.account_id else None
    remaining = None if row.limit_nanos is None else max(0, row.limit_nanos - spending.spent_nanos)
    return _json(
        {
            "object": "key",
            "id": row.id,
            "name": row.name,
            "mode": row.mode,
            "account": account.kind if account else None,
            "limit": _decimal(row.limit_nanos),
            "window": row.limit_window,
            "spent": format_amount(spending.spent_nanos),
            "held": format_amount(spending.held_nanos),
            "remaining": _decimal(remaining),
            "expires_at": row.expires_at.isoformat().replace("+00:00", "Z")
            if row.expires_at
            else None,
            "models": row.models,
            "currency": "AUD",
        }
    )


@blueprint.post("/estimate")
@require_api_key
def estimate(caller: Caller) -> Response:
    """The most that a chat completion would cost, without making it."""
    request = openai_chat.read_request(read_body())
    catalog = gateway().catalog.at(caller.catalog_version)
    quote = quote_for(catalog, choose(catalog, caller, request["model"]), request)
    cap = quote.asked if quote.asked is not None else quote.most_output
    return _json(
        {
            "object": "estimate",
            "model": request["model"],
            "quote": format_amount(quote.nanos(cap)),
            "input_tokens_bound": max(bound for bound, _ in quote.flats),
            "output_tokens_cap": cap,
            "currency": "AUD",
        }
    )


def _names(caller: Caller) -> list[str]:
    catalog = gateway().catalog.at(caller.catalog_version)
    if not caller.is_test:
        return catalog.names()
    return sorted({*catalog.names(), *catalog.known_names(), *SCENARIO_MODELS})


def _model(name: str, offered: Any) -> dict[str, Any]:
    since = offered.created_at if offered else clock.from_micros(0)
    owner = offered.offers[0].target.provider if offered and offered.offers else "modelbridge"
    return {
        "id": name,
        "object": "model",
        "created": clock.to_micros(since) // 1_000_000,
        "owned_by": owner,
    }


def _decimal(nanos: int | None) -> str | None:
    return None if nanos is None else format_amount(nanos)


def _json(body: dict[str, Any]) -> Response:
    response = Response(jsonio.dumps(body), content_type="application/json")
    name_response(response)
    return response
