"""The person's own page: name, address, password, time zone, limit, sessions."""

from modelbridge.dashboard.account import changing, page, signing_out
from modelbridge.dashboard.account.blueprint import pages

__all__ = ["changing", "page", "pages", "signing_out"]
