"""The door of /v1: a request without exactly one living key goes no further."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from flask import Response, current_app
from flask.globals import request_ctx
from werkzeug.datastructures import Headers

from modelbridge import ids
from modelbridge.errors import AmbiguousCredentials, InvalidApiKey, MissingApiKey
from modelbridge.gateway.admission import refuse_other_addresses
from modelbridge.gateway.services import Gateway
from modelbridge.identity.callers import Caller, find_caller

P = ParamSpec("P")


def gateway() -> Gateway:
    """The gateway of this process."""
    found: Gateway = current_app.extensions["modelbridge"].gateway
    return found


def require_api_key(
    view: Callable[Concatenate[Caller, P], Response], *, x_api_key: bool = False
) -> Callable[P, Response]:
    """The view gets the caller as its first argument; without a living key it is not reached.

    `x_api_key`: this endpoint takes the key in that header too, as Anthropic's clients send it.
    """

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Response:
        caller = authenticate(x_api_key=x_api_key)
        return view(caller, *args, **kwargs)

    return guarded


def authenticate(*, x_api_key: bool = False) -> Caller:
    """Who calls. Raises the errors of authentication; the key is never echoed."""
    asked = request_ctx.request  # found once: each look through a proxy has its price
    key = sent_key(asked.headers, x_api_key=x_api_key)
    with gateway().database.cursor() as cursor:
        caller = find_caller(cursor, key)
    refuse_other_addresses(caller, asked.remote_addr or "")
    return caller


def sent_key(headers: Headers, *, x_api_key: bool = False) -> str:
    """The one key that was sent, of the right form; whether it lives is not asked.

    Raises MissingApiKey, AmbiguousCredentials, InvalidApiKey.
    """
    key = _one_credential(headers, x_api_key=x_api_key)
    if not ids.is_well_formed_key(key):
        raise InvalidApiKey(
            "This is not an API key of ModelBridge, or it was mistyped: keys begin with mb_live_ "
            "or mb_test_ and end with a checksum. Copy it again."
        )
    return key


def _one_credential(headers: Headers, *, x_api_key: bool) -> str:
    bearer = _bearer_credentials(headers)
    # What stands in several headers of a name arrives as one, joined by commas.
    other = [part.strip() for part in headers.get("x-api-key", "").split(",")]
    other = [part for part in other if part]
    found = {*bearer, *other}
    if len(found) > 1:
        raise AmbiguousCredentials("Two different credentials were sent. Send exactly one.")
    if bearer or (other and x_api_key):
        return found.pop()
    if other:
        raise MissingApiKey(
            "This endpoint takes the API key as «Authorization: Bearer mb_live_…», not in "
            "x-api-key."
        )
    raise MissingApiKey(
        "No API key was sent. Send it as «Authorization: Bearer mb_live_…»; keys are made on the "
        "Keys page of this bridge."
    )


def _bearer_credentials(headers: Headers) -> list[str]:
    """The keys of all Authorization headers; another scheme is no credential of ours."""
    found = []
    for part in headers.get("Authorization", "").split(","):
        scheme, _, credential = part.strip().partition(" ")
        if scheme.lower() == "bearer" and credential.strip():
            found.append(credential.strip())
    return found
