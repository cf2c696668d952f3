"""Administration. Importing the package gives the blueprint all its pages."""

from modelbridge.dashboard.admin import (
    alerts,
    audit,
    feedback,
    fx,
    models,
    places,
    settings,
    state,
    upstreams,
    users,
)
from modelbridge.dashboard.admin.guard import pages, require_admin

__all__ = [
    "alerts",
    "audit",
    "feedback",
    "fx",
    "models",
    "pages",
    "places",
    "require_admin",
    "settings",
    "state",
    "upstreams",
    "users",
]
