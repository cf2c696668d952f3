"""API keys, personal and of teams: listed, made, shown, changed, rotated, revoked."""

from modelbridge.dashboard.keys import changing, ending, listing, making, page
from modelbridge.dashboard.keys.blueprint import pages

__all__ = ["changing", "ending", "listing", "making", "page", "pages"]
