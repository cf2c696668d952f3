"""Web pages of other origins may call /v1 from a browser if the operator lists them.

`/v1` looks at no cookie, so an origin gets nothing by it but what the key that it sends may do.
https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from flask import Response, current_app, request

_METHODS = "GET, POST"
_PREFLIGHT_SECONDS = "600"
_SHOWN = ", ".join(
    (
        "x-request-id",
        "request-id",
        "retry-after",
        "x-should-retry",
        *(
            f"x-ratelimit-{what}-{of}"
            for what in ("limit", "remaining", "reset")
            for of in ("requests", "tokens")
        ),
        "x-modelbridge-cost",
        "x-modelbridge-output-cap",
        "x-modelbridge-dropped",
    )
)


def add_headers(response: Response) -> Response:
    """An answer under /v1 says who may read it; without listed origins nothing is said."""
    origins = current_app.extensions["modelbridge"].settings.cors_origins
    if not origins:
        return response
    response.vary.add("Origin")
    origin = request.headers.get("Origin")
    if origin is None or not (origin in origins or "*" in origins):
        return response
    response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
    response.headers["Access-Control-Expose-Headers"] = _SHOWN
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = _METHODS
        response.headers["Access-Control-Max-Age"] = _PREFLIGHT_SECONDS
        if asked := request.headers.get("Access-Control-Request-Headers"):
            response.headers["Access-Control-Allow-Headers"] = asked
    return response
