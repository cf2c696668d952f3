"""The playground: a person calls a model in the browser as one of their own keys.

A key's secret is not kept, so nothing is sent to /v1: the call enters the gateway as the caller
that the key stands for, and its models, limit, account and journal are those of any other call.
"""

from collections.abc import Callable

from flask import Blueprint, Response, abort, render_template, request
from flask.typing import ResponseReturnValue
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from modelbridge import clock, jsonio
from modelbridge.catalog.routes import Catalog
from modelbridge.dashboard import access, examples
from modelbridge.dashboard.services import bridge, catalog
from modelbridge.dialects import openai_chat
from modelbridge.errors import BridgeError
from modelbridge.gateway import journal, serving
from modelbridge.gateway.admission import refuse_other_addresses
from modelbridge.gateway.call import Call
from modelbridge.identity import callers, keys
from modelbridge.identity.callers import Caller
from modelbridge.jsonio import JSONDict
from modelbridge.ledger import limits
from modelbridge.store.tables import ApiKey, Team
from modelbridge.upstream.sandbox import SCENARIO_MODELS

pages = Blueprint("playground", __name__, url_prefix="/playground")

ENDPOINT = "playground"
_FALLBACK_MODEL = "claude-sonnet-4-6"


@pages.get("")
def index() -> ResponseReturnValue:
    """The page; `?key=` and `?model=` choose beforehand."""
    with bridge().database.reading() as session:
        choices = _working_keys(session)
        teams = {
            team.account_id: team.name
            for team in session.scalars(
                select(Team).where(Team.account_id.in_([key.account_id for key in choices]))
            )
        }
        offers = catalog(session)
    wanted = request.args.get("key")
    chosen = next((key for key in choices if key.id == wanted), next(iter(choices), None))
    names = _names(offers, chosen) if chosen else []
    model = request.args.get("model", "")
    if chosen and model not in names:
        model = examples.model_for(offers, chosen) or next(iter(names), _FALLBACK_MODEL)
    return render_template(
        "playground/index.html",
        keys=choices,
        hint=keys.hint,
        teams=teams,
        chosen=chosen,
        models=names,
        model=model,
    )


@pages.get("/models")
def models() -> ResponseReturnValue:
    """What one of the person's own keys may call, as JSON: `{"models": [...]}`."""
    with bridge().database.reading() as session:
        wanted = request.args.get("key", "")
        key = next((key for key in _working_keys(session) if key.id == wanted), None)
        names = _names(catalog(session), key or abort(404))
    return _json({"models": names}, 200)


@pages.post("/calls")
def call() -> ResponseReturnValue:
    """Makes the call; answers with its stream, or with what is wrong as OpenAI's error JSON."""
    body = _read_body()
    user_id, key_id = access.the_user().id, str(body.get("key", ""))
    try:
        with bridge().database.cursor() as cursor:
            caller = callers.find_own_caller(cursor, user_id, key_id)
        if caller is not None:
            refuse_other_addresses(caller, request.remote_addr or "")
    except BridgeError as error:
        return _json(openai_chat.write_error(error, ""), error.status)
    return _stream(caller or abort(404), _chat(body))


def _stream(caller: Caller, chat: JSONDict) -> Response:
    gone: Callable[[], bool] = request.environ.get("waitress.client_disconnected", _never_gone)
    made = Call(
        caller=caller,
        front=openai_chat,
        endpoint=ENDPOINT,
        body=chat,
        stream=True,
        client_gone=gone,
    )
    gateway = bridge().gateway
    try:
        serving.take_slot(gateway, made)
        body = serving.stream(gateway, made)
    except BridgeError as error:
        journal.write_later(gateway, made, finish="refused", error=error)
        return _json(openai_chat.write_error(error, made.id), error.status)
    response = Response(
        body, content_type="text/event-stream; charset=utf-8", direct_passthrough=True
    )
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _read_body() -> JSONDict:
    try:
        body = jsonio.read_strict(request.get_data())
    except jsonio.StrictJSONError:
        body = None
    if not isinstance(body, dict):
        abort(400)
    return body


def _chat(body: JSONDict) -> JSONDict:
    """The chat completion that the page's fields ask for; what they mean is checked as ever."""
    chat: JSONDict = {
        "model": body.get("model"),
        "messages": body.get("messages"),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if body.get("max_tokens") is not None:
        chat["max_completion_tokens"] = body["max_tokens"]
    return chat


def _working_keys(session: Session) -> list[ApiKey]:
    """The person's own keys that can call something now, personal and in teams, newest first."""
    found = list(
        session.scalars(
            select(ApiKey)
            .where(
                ApiKey.user_id == access.the_user().id,
                ApiKey.revoked_at.is_(None),
                or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > clock.now()),
            )
            .order_by(ApiKey.created_at.desc(), ApiKey.id.desc())
        )
    )
    spending = limits.key_spending(session, found)
    return sorted(found, key=lambda key: keys.status(key, spending[key.id].spent_nanos) != "active")


def _names(offers: Catalog, key: ApiKey) -> list[str]:
    """Every name that the key may call; a test key's scenarios first."""
    offered = offers.names("chat")
    if key.mode == "test":
        known = (name for name in offers.known_names() if offers.is_for(name, "chat"))
        offered = [*SCENARIO_MODELS, *sorted({*offered, *known})]
    return [name for name in offered if key.models is None or name in key.models]


def _json(body: JSONDict, status: int) -> Response:
    return Response(jsonio.dumps(body), status, content_type="application/json")


def _never_gone() -> bool:
    return False
