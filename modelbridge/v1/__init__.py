"""The /v1 blueprint: what clients call with an API key. It ignores cookies."""

from flask import Blueprint, Flask
from werkzeug.exceptions import HTTPException

from modelbridge.errors import BridgeError
from modelbridge.v1 import cors, endpoints, estimate, leaks, models
from modelbridge.v1.errors import error_response, http_error_response, unexpected_response

__all__ = ["endpoints", "estimate", "init_app", "models"]


def init_app(app: Flask) -> Blueprint:
    """The blueprint is registered; its errors are JSON, whatever happens."""
    app.register_blueprint(endpoints.blueprint, url_prefix="/v1")
    cors.init_app(app)
    return endpoints.blueprint


endpoints.blueprint.add_url_rule("/key/revoke", "revoke_key", leaks.revoke, methods=["POST"])
endpoints.blueprint.register_error_handler(BridgeError, error_response)
endpoints.blueprint.register_error_handler(HTTPException, http_error_response)
endpoints.blueprint.register_error_handler(Exception, unexpected_response)
