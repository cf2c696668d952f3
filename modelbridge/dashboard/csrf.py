"""The one CSRF guard. A file of its own, so that blueprints may be exempted without a cycle."""

from flask_wtf.csrf import CSRFProtect

csrf = CSRFProtect()
