"""The pages. `init_app` plugs them into an app: sessions, CSRF, headers, errors, blueprints.

Every page is private until it is listed in `access.PUBLIC_ENDPOINTS`.
"""

from pathlib import Path

from flask import Blueprint, Flask
from flask_bootstrap import Bootstrap5

from modelbridge.dashboard import (
    access,
    account,
    admin,
    admin_money,
    billing,
    docs,
    errors,
    filters,
    headers,
    home,
    invitations,
    keys,
    links,
    models,
    playground,
    receipts,
    register,
    session,
    teams,
    usage,
)
from modelbridge.dashboard.cookie import PagesOnly
from modelbridge.dashboard.csrf import csrf
from modelbridge.dashboard.throttle import LoginThrottle

__all__ = ["csrf", "init_app"]

_ROOT = Path(__file__).resolve().parents[2]


def init_app(app: Flask) -> None:
    """The app serves the pages. Its `extensions["modelbridge"]` must be there by the first request.

    `csrf` guards every form; the caller exempts the blueprints that ignore cookies.
    """
    app.session_interface = PagesOnly()
    headers.init_app(app)
    access.init_app(app)  # before CSRF: a stranger's form leads to the login page, not to a 400
    csrf.init_app(app)
    errors.init_app(app)
    filters.init_app(app)
    app.config.setdefault("BOOTSTRAP_SERVE_LOCAL", True)
    Bootstrap5().init_app(app)
    app.extensions["modelbridge.login_throttle"] = LoginThrottle()
    app.extensions["modelbridge.code_throttle"] = LoginThrottle.of_codes()
    for blueprint in (
        _pages(),
        home.pages,
        session.pages,
        links.pages,
        keys.pages,
        teams.pages,
        invitations.pages,
        account.pages,
        usage.pages,
        billing.pages,
        receipts.pages,
        admin_money.pages,
        register.pages,
        models.pages,
        playground.pages,
        docs.pages,
        admin.pages,
    ):
        app.register_blueprint(blueprint)


def _pages() -> Blueprint:
    """Where templates and our own static files lie, wherever the app itself was made."""
    return Blueprint(
        "assets",
        __name__,
        template_folder=str(_ROOT / "templates"),
        static_folder=str(_ROOT / "static"),
        static_url_path="/assets",
    )
