"""For machines that look after the bridge: /healthz, /readyz and /metrics."""

import hmac
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, request

from modelbridge import jsonio
from modelbridge.jsonio import JSONDict
from modelbridge.operations.metrics import CONTENT_TYPE, Metrics
from modelbridge.operations.readiness import Readiness

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """200 as long as the process serves; asks nothing of the database."""
    return _json({"status": "ok"}, 200)


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 while calls may be sent here; else 503, and every reason why not."""
    found: Readiness = current_app.extensions["modelbridge"].readiness
    reasons = found.reasons()
    if not reasons:
        return _json({"status": "ready"}, 200)
    codes = {reason.code for reason in reasons}
    return _json(
        {
            "status": "draining" if "draining" in codes else "not_ready",
            "reasons": [{"code": one.code, "message": one.message} for one in reasons],
        },
        503,
    )


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus's text, for whoever has the token or, where none is set, for this machine."""
    if refusal := _refusal():
        return _json({"error": refusal}, 403)
    found: Metrics = current_app.extensions["modelbridge"].metrics
    return Response(found.text(), content_type=CONTENT_TYPE)


def _refusal() -> str | None:
    """Why the one who asks gets no metrics.

    Behind a proxy everybody comes from this machine, so a public address asks for a token.
    """
    settings = current_app.extensions["modelbridge"].settings
    if settings.metrics_token:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        if hmac.compare_digest(sent, settings.metrics_token.encode()):
            return None
        return "Send «Authorization: Bearer …» with the token of MODELBRIDGE_METRICS_TOKEN."
    if _is_loopback(request.remote_addr) and _is_loopback(urlsplit(settings.public_url).hostname):
        return None
    return "Set MODELBRIDGE_METRICS_TOKEN, and send it as «Authorization: Bearer …»."


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _json(body: JSONDict, status: int) -> Response:
    response = Response(jsonio.dumps(body), status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response
