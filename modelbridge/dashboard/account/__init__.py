"""The person's own page: name, address, password, second step, time zone, limit, sessions."""

from modelbridge.dashboard.account import changing, page, second_step, signing_out
from modelbridge.dashboard.account.blueprint import pages

__all__ = ["changing", "page", "pages", "second_step", "signing_out"]
