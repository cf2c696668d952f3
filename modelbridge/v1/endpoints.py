"""The endpoints of /v1, each a few lines: who calls, in which format, what is asked."""

from functools import partial

from flask import Blueprint, Response, request

from modelbridge.dialects import (
    anthropic_messages,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_responses,
)
from modelbridge.dialects.anthropic_front_request import read_countable
from modelbridge.errors import NotFound
from modelbridge.gateway.rates import estimated_input
from modelbridge.identity.callers import Caller
from modelbridge.ledger.limits import key_spending
from modelbridge.money import format_amount
from modelbridge.store.tables import Account, ApiKey
from modelbridge.v1.guard import gateway, require_api_key
from modelbridge.v1.respond import json_response, read_body, serve

blueprint = Blueprint("v1", __name__)


@blueprint.post("/chat/completions")
@require_api_key
def chat_completions(caller: Caller) -> Response:
    """OpenAI's chat completions, streamed or not."""
    return serve(caller, openai_chat, "chat_completions")


@blueprint.post("/responses")
@require_api_key
def responses(caller: Caller) -> Response:
    """OpenAI's responses, streamed or not; none is stored."""
    return serve(caller, openai_responses, "responses")


@blueprint.route("/responses/<path:name>", methods=["GET", "POST", "DELETE"])
@require_api_key
def stored_response(caller: Caller, name: str) -> Response:
    """404: there is never one to be read, cancelled or deleted."""
    del caller
    raise NotFound(
        f"There is no response {name!r} here: ModelBridge stores none. Send the earlier items in "
        "'input' of POST /v1/responses instead.",
        param="response_id",
    )


@blueprint.post("/messages")
@partial(require_api_key, x_api_key=True)
def messages(caller: Caller) -> Response:
    """Anthropic's messages, streamed or not."""
    return serve(caller, anthropic_messages, "messages")


@blueprint.post("/messages/count_tokens")
@partial(require_api_key, x_api_key=True)
def count_tokens(caller: Caller) -> Response:
    """An estimate, free: a quarter of the request's bytes, and a usual size for each picture."""
    return json_response({"input_tokens": estimated_input(read_countable(read_body(request)))})


@blueprint.post("/completions")
@require_api_key
def completions(caller: Caller) -> Response:
    """OpenAI's legacy completions, streamed or not."""
    return serve(caller, openai_completions, "completions")


@blueprint.post("/embeddings")
@require_api_key
def embeddings(caller: Caller) -> Response:
    """OpenAI's embeddings: a vector for each text."""
    return serve(caller, openai_embeddings, "embeddings")


@blueprint.get("/key")
@require_api_key
def key(caller: Caller) -> Response:
    """What a key may know of itself: limit, spent, expiry, mode. Amounts are decimal AUD."""
    with gateway().database.reading() as session:
        row = session.get_one(ApiKey, caller.key_id)
        spending = key_spending(session, [row])[row.id]
        account = session.get(Account, row.account_id) if row.account_id else None
    remaining = None if row.limit_nanos is None else max(0, row.limit_nanos - spending.spent_nanos)
    return json_response(
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
            "rpm": row.calls_per_minute,
            "tpm": row.tokens_per_minute,
            "concurrency": row.concurrent_calls,
            "addresses": row.allowed_addresses,
            "currency": "AUD",
        }
    )


def _decimal(nanos: int | None) -> str | None:
    return None if nanos is None else format_amount(nanos)
