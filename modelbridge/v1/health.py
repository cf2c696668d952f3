"""Health checks: /healthz (the process answers) and /readyz (it takes calls)."""

from flask import Blueprint, Response

from modelbridge import jsonio
from modelbridge.v1.guard import gateway

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """200 as long as the process serves; asks nothing of the database."""
    return _json({"status": "ok"}, 200)


@blueprint.get("/readyz")
def readyz() -> Response:
    """503 from the moment that the process is told to stop."""
    if gateway().draining.is_set():
        return _json({"status": "draining"}, 503)
    return _json({"status": "ready"}, 200)


def _json(body: dict[str, str], status: int) -> Response:
    return Response(jsonio.dumps(body), status, content_type="application/json")
