"""What a key may call: OpenAI's list of models, and Anthropic's for Anthropic's clients."""

from datetime import datetime
from functools import partial
from typing import Any

from flask import Response, request

from modelbridge import clock
from modelbridge.catalog.routes import Catalog, Offered
from modelbridge.dialects import anthropic_messages
from modelbridge.errors import InvalidRequest
from modelbridge.gateway import practice
from modelbridge.gateway.admission import choose
from modelbridge.identity.callers import Caller
from modelbridge.jsonio import JSONDict
from modelbridge.upstream.sandbox import SCENARIO_MODELS
from modelbridge.v1.endpoints import blueprint
from modelbridge.v1.errors import front_of_request
from modelbridge.v1.guard import gateway, require_api_key
from modelbridge.v1.respond import json_response

# https://platform.claude.com/docs/en/api/models/list
USUAL_PAGE, LARGEST_PAGE = 20, 1_000


@blueprint.get("/models")
@partial(require_api_key, x_api_key=True)
def models(caller: Caller) -> Response:
    """What this key may call; for Anthropic's clients, what it may send messages to, in pages."""
    catalog = gateway().catalog.at(caller.catalog_version)
    names = [name for name in _names(caller) if caller.may_call(name)]
    if _for_anthropic():
        return json_response(_page(catalog, names))
    rows = [_openai_model(name, catalog.offered(name)) for name in names]
    return json_response({"object": "list", "data": rows})


@blueprint.get("/models/<path:name>")
@partial(require_api_key, x_api_key=True)
def model(caller: Caller, name: str) -> Response:
    """One model of those; 404 for another."""
    catalog = gateway().catalog.at(caller.catalog_version)
    if caller.is_test:
        practice.check_model(catalog, caller, name)
        offered = catalog.offered(name)
    else:
        offered = choose(catalog, caller, name)
    write = _anthropic_model if _for_anthropic() else _openai_model
    return json_response(write(name, offered))


def _names(caller: Caller) -> list[str]:
    catalog = gateway().catalog.at(caller.catalog_version)
    if not caller.is_test:
        return catalog.names()
    return sorted({*catalog.names(), *catalog.known_names(), *SCENARIO_MODELS})


def _for_anthropic() -> bool:
    """Whether the client reads Anthropic's form: its errors are in it, too."""
    return front_of_request().NAME == anthropic_messages.NAME


def _openai_model(name: str, offered: Offered | None) -> JSONDict:
    """OpenAI's Model."""
    owner = offered.offers[0].target.provider if offered and offered.offers else "modelbridge"
    return {
        "id": name,
        "object": "model",
        "created": clock.to_micros(_since(offered)) // 1_000_000,
        "owned_by": owner,
    }


def _anthropic_model(name: str, offered: Offered | None) -> JSONDict:
    """Anthropic's ModelInfo, with what is known here."""
    offer = offered.offers[0] if offered and offered.offers else None
    return {
        "type": "model",
        "id": name,
        "display_name": offered.title if offered else name,
        "created_at": _since(offered).replace(microsecond=0).isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": offer.context_window if offer else None,
        "max_tokens": offer.max_output if offer and offer.max_output_known else None,
    }


def _since(offered: Offered | None) -> datetime:
    return offered.created_at if offered else clock.from_micros(0)


def _page(catalog: Catalog, names: list[str]) -> JSONDict:
    """Anthropic's page: `limit` models that take messages, after or before one of them."""
    chats = [name for name in names if name in SCENARIO_MODELS or catalog.is_for(name, "chat")]
    limit = _limit()
    after, before = request.args.get("after_id"), request.args.get("before_id")
    if after is not None:
        rest = chats[_place(chats, after, "after_id") + 1 :]
        page, more = rest[:limit], len(rest) > limit
    elif before is not None:
        rest = chats[: _place(chats, before, "before_id")]
        page, more = rest[-limit:], len(rest) > limit
    else:
        page, more = chats[:limit], len(chats) > limit
    body: dict[str, Any] = {
        "data": [_anthropic_model(name, catalog.offered(name)) for name in page],
        "has_more": more,
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }
    return body


def _limit() -> int:
    text = request.args.get("limit", str(USUAL_PAGE))
    is_number = text.isascii() and text.isdigit() and len(text) <= 9
    if not is_number or not 1 <= int(text) <= LARGEST_PAGE:
        raise InvalidRequest(
            f"'limit' must be a whole number between 1 and {LARGEST_PAGE}.", param="limit"
        )
    return int(text)


def _place(names: list[str], name: str, param: str) -> int:
    if name not in names:
        raise InvalidRequest(f"'{param}' is {name[:200]!r}, which is not in the list.", param=param)
    return names.index(name)
