"""The /v1 blueprint: what clients call with an API key. It ignores cookies."""

from flask import Blueprint, Flask, Response
from werkzeug.exceptions import HTTPException

from modelbridge.errors import BridgeError
from modelbridge.v1 import cors, endpoints, estimate, leaks, models
from modelbridge.v1.errors import (
    error_response,
    http_error_response,
    request_id,
    unexpected_response,
)

__all__ = ["NAME", "endpoints", "estimate", "finish", "init_app", "models"]

NAME = endpoints.blueprint.name


def init_app(app: Flask) -> Blueprint:
    """The blueprint is registered; its errors are JSON, whatever happens."""
    app.register_blueprint(endpoints.blueprint, url_prefix="/v1")
    return endpoints.blueprint


def finish(response: Response) -> Response:
    """Every answer under /v1 has its request's id, also Flask's own, and says who may read it."""
    if "x-request-id" not in response.headers:
        response.headers["x-request-id"] = request_id()
    return cors.add_headers(response)


endpoints.blueprint.add_url_rule("/key/revoke", "revoke_key", leaks.revoke, methods=["POST"])
endpoints.blueprint.register_error_handler(BridgeError, error_response)
endpoints.blueprint.register_error_handler(HTTPException, http_error_response)
endpoints.blueprint.register_error_handler(Exception, unexpected_response)
