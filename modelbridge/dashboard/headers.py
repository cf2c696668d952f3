"""Cookies, caching, sizes and headers of the pages. `/v1` and `/healthz` are left alone."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, request

from modelbridge.dashboard.services import bridge
from modelbridge.identity import sessions

_MOST_FORM_BYTES = 256 * 1024
_STATIC_SECONDS = int(timedelta(days=365).total_seconds())
_UNTOUCHED_BLUEPRINTS = frozenset({"v1", "health"})

# Bootstrap's style sheet holds small images as data: URLs; nothing else is inline.
_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

_PAGE_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def init_app(app: Flask) -> None:
    """Cookies are as strict as the public URL allows; every page carries the headers."""
    secure = _is_https(app)
    app.config.update(
        SESSION_COOKIE_NAME="__Host-mb" if secure else "mb",
        SESSION_COOKIE_SECURE=secure,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
        PERMANENT_SESSION_LIFETIME=sessions.IDLE,
        SEND_FILE_MAX_AGE_DEFAULT=_STATIC_SECONDS,
        # A form lives as long as its session. We send no Referer, so it cannot be asked for.
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_SSL_STRICT=False,
    )
    app.before_request(_limit_forms)
    app.after_request(_add_headers)
    app.url_defaults(_add_version)


def _is_https(app: Flask) -> bool:
    with app.app_context():
        return bridge().settings.public_url.startswith("https://")


def _is_page() -> bool:
    return (request.blueprint or "").partition(".")[0] not in _UNTOUCHED_BLUEPRINTS


def _limit_forms() -> None:
    if _is_page():
        request.max_content_length = _MOST_FORM_BYTES


def _add_headers(response: Response) -> Response:
    if not _is_page():
        return response
    for name, value in _PAGE_HEADERS.items():
        response.headers.setdefault(name, value)
    if _is_https(current_app):
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    if request.endpoint is None or not request.endpoint.endswith(".static"):
        response.headers["Cache-Control"] = "no-store"
    return response


def _add_version(endpoint: str, values: dict[str, Any]) -> None:
    """Static files are cached for a year, and their URLs change with their content."""
    if not endpoint.endswith(".static") or "filename" not in values:
        return
    blueprint = current_app.blueprints[endpoint.rpartition(".")[0]]
    file = Path(blueprint.static_folder or "", values["filename"])
    values["v"] = f"{file.stat().st_mtime_ns // 1_000_000:x}" if file.is_file() else None
