"""The session cookie is of the pages alone: /v1 and the health checks neither read nor set it."""

from flask import Flask
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.wrappers import Request

from modelbridge.dashboard.errors import is_api_path

_WITHOUT = frozenset({"/healthz", "/readyz", "/metrics"})


class PagesOnly(SecureCookieSessionInterface):
    """Opens a session for pages, and one that cannot be written for everything else."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Verifying a signature costs what a call should not pay."""
        if is_api_path(request.path) or request.path in _WITHOUT:
            return self.make_null_session(app)
        return super().open_session(app, request)
