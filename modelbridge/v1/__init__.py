"""The /v1 blueprint: what clients call with an API key. It ignores cookies."""

from flask import Blueprint, Flask
from werkzeug.exceptions import HTTPException

from modelbridge.errors import BridgeError
from modelbridge.v1 import endpoints
from modelbridge.v1.errors import error_response, http_error_response, unexpected_response


def init_app(app: Flask) -> Blueprint:
    """The blueprint is registered; its errors are JSON, whatever happens."""
    blueprint = endpoints.blueprint
    blueprint.register_error_handler(BridgeError, error_response)
    blueprint.register_error_handler(HTTPException, http_error_response)
    blueprint.register_error_handler(Exception, unexpected_response)
    app.register_blueprint(blueprint, url_prefix="/v1")
    return blueprint
