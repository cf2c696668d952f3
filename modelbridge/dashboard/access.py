"""Who is looking: the login session behind the cookie, and the rule that pages are private.

The signed cookie holds a random token; the row with its SHA-256 is asked for on every request, so
that logging out, changing the password or disabling the person ends it everywhere, at once.
"""

import re
from dataclasses import dataclass

from flask import Flask, redirect, request, url_for
from flask import session as cookie
from flask.typing import ResponseReturnValue
from flask_login import LoginManager, current_user, login_user, logout_user
from sqlalchemy.orm import Session

from modelbridge.dashboard.services import bridge
from modelbridge.identity import preferences, second_step, sessions
from modelbridge.store.tables import User

# A page is private until its endpoint stands here.
PUBLIC_ENDPOINTS = frozenset(
    {
        "assets.static",
        "bootstrap.static",
        "session.login",
        "session.second_step",
        "links.setup",
        "links.reset",
        "invitations.accept",
        "register.register",
    }
)

# Who has to have a second step and has none gets no further than these.
_SETTING_UP = frozenset({"account.second_step", "account.begin_second_step", "session.logout"})

# These ask for a key, or for nothing, and never look at cookies.
UNGUARDED_BLUEPRINTS = frozenset({"v1", "health"})

_SAFE_NEXT = re.compile(r"/(?![/\\])[\x20-\x5b\x5d-\x7e]*")


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person who is logged in, in flask-login's terms; `token` is their session's."""

    user: User
    token: str
    is_authenticated: bool = True
    is_active: bool = True
    is_anonymous: bool = False

    def get_id(self) -> str:
        """What the cookie carries: the session's token, never the person's id."""
        return self.token


def init_app(app: Flask) -> None:
    """Every endpoint asks for a login unless it is public or of an unguarded blueprint."""
    # A template asks who is looking when it wants to know, not before: error pages never do.
    manager = LoginManager(app, add_context_processor=False)
    app.add_template_global(current_user, "current_user")
    manager.session_protection = None  # the row decides; addresses change with the train
    manager.user_loader(_visitor_of)
    app.before_request(_require_login)


def the_user() -> User:
    """The person who is logged in; only for private pages."""
    user = current_user.user
    assert isinstance(user, User)  # noqa: S101  the guard let nobody else in
    return user


def start_session(session: Session, user: User) -> str:
    """A row for a new login from this browser; hand its token to `enter` after the commit."""
    return sessions.start(
        session,
        user,
        address=request.remote_addr or "",
        user_agent=request.headers.get("User-Agent", ""),
    )


def enter(user: User, token: str) -> None:
    """This browser is logged in with that session; what its cookie held before is forgotten."""
    cookie.clear()
    cookie.permanent = True
    login_user(Visitor(user, token))


def leave() -> None:
    """This browser's session has no row any more, and its cookie is empty."""
    with bridge().database.transaction() as session:
        sessions.end(session, current_user.token)
    logout_user()
    cookie.clear()


def safe_next(text: str | None) -> str:
    """Where to go after the login: a path of ours, else the home page.

    Only `/` and printable ASCII without a backslash: "//", "/\\" and schemes lead elsewhere.
    """
    return text if text and _SAFE_NEXT.fullmatch(text) else url_for("home.index")


def _visitor_of(token: str) -> Visitor | None:
    database = bridge().database
    with database.reading() as session:
        row = sessions.find(session, token)
    if row is None:
        return None
    if sessions.is_stale(row):
        with database.transaction() as session:
            sessions.touch(session, row)
    return Visitor(row.user, token)


def _lead_to_second_step() -> ResponseReturnValue | None:
    """While the administrators want everybody to have one, who has none sets it up first."""
    if request.endpoint in _SETTING_UP or second_step.is_on(the_user()):
        return None
    with bridge().database.reading() as session:
        if not preferences.needs_second_step(session):
            return None
    return redirect(url_for("account.second_step"), 303)


def _require_login() -> ResponseReturnValue | None:
    if request.endpoint is None or request.endpoint in PUBLIC_ENDPOINTS:
        return None  # no endpoint: no such page, or not by this method
    if (request.blueprint or "").partition(".")[0] in UNGUARDED_BLUEPRINTS:
        return None
    if current_user.is_authenticated:
        return _lead_to_second_step()
    target = request.full_path.rstrip("?") if request.method in ("GET", "HEAD") else "/"
    return redirect(url_for("session.login", next=None if target == "/" else target), 303)
