"""Errors as pages. What goes wrong under `/v1` is answered there, in JSON."""

from flask import Flask, current_app, make_response, render_template, request
from flask.wrappers import Response
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException, InternalServerError

from modelbridge import ids
from modelbridge.dashboard.services import bridge
from modelbridge.errors import BridgeError

# Status: title, and what to do about it.
_WORDS = {
    400: ("That can't be read", "Something about the request is malformed. Go back and try again."),
    403: ("That is not yours to open", "You are logged in, but not allowed to do this."),
    404: (
        "There is nothing here",
        "The address may be mistyped, or what was here is gone, or it isn't yours.",
    ),
    405: (
        "That doesn't work this way",
        "The page exists, but not for this kind of request. Open it from its own form or link.",
    ),
    413: ("That is too large", "Send less at once: the form was larger than this bridge accepts."),
    415: ("That format is not understood", "Send what the page's own form sends."),
    429: ("Slow down a little", "Too many attempts in a short time."),
    500: (
        "That was our fault",
        "Something broke inside the bridge. Try again; if it happens again, tell the operator.",
    ),
    503: ("Busy at the moment", "The bridge can't do this right now. Try again in a few seconds."),
}
_CSRF_WORDS = (
    "This form has expired",
    "Nothing was changed. Go back, reload the page and send the form again.",
)


def init_app(app: Flask) -> None:
    """What our own code refuses becomes a page.

    HTTP errors are the factory's to share out, since those under /v1 have no blueprint: it asks
    `is_api_path` and calls `render_error` for the rest.
    """
    app.register_error_handler(BridgeError, render_error)


def is_api_path(path: str) -> bool:
    """Whether errors of this path are JSON: it lies under /v1, or where Gemini's clients look."""
    return path == "/v1" or path.startswith(("/v1/", "/v1beta/"))


def render_error(error: Exception) -> Response:
    """The page for an HTTPException, a BridgeError, or (as a 500) anything else.

    It asks nothing of the database: it must come out right also when that is what failed.
    """
    status, title, advice = _words_for(error)
    reference = None
    if status >= 500 and not isinstance(error, BridgeError):
        reference = ids.new_id("err")
        # The rule, not the path: a path may hold the token of a one-time link.
        current_app.logger.error("error page %s for %s", reference, request.url_rule)
    page = render_template(
        "error.html", status=status, title=title, advice=advice, reference=reference
    )
    response = make_response(page, status)
    if isinstance(error, HTTPException):
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                response.headers[name] = value
    elif isinstance(error, BridgeError) and error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    return response


def _words_for(error: Exception) -> tuple[int, str, str]:
    if isinstance(error, CSRFError):
        return 400, _CSRF_WORDS[0], _csrf_advice()
    if isinstance(error, BridgeError):
        title, _ = _WORDS.get(error.status, _WORDS[500])
        return error.status, title, f"{error.message[:1].upper()}{error.message[1:]}."
    if not isinstance(error, HTTPException) or error.code is None:
        error = InternalServerError()
    status = error.code or 500
    title, advice = _WORDS.get(status, (error.name, "Go back and try again."))
    # Our own words, given where it was raised, say more than the general ones.
    own = error.description if error.description != type(error).description else None
    return status, title, own or advice


def _csrf_advice() -> str:
    public_url = bridge().settings.public_url
    if public_url.startswith("https://") and not request.is_secure:
        return f"{_CSRF_WORDS[1]} This bridge is meant to be opened at {public_url}."
    return f"{_CSRF_WORDS[1]} If it happens again, allow cookies for this site."
