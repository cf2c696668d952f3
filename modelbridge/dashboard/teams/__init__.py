"""Teams: made, shown, set up, left; their members and invitations."""

from modelbridge.dashboard.teams import inviting, making, members, page, settings
from modelbridge.dashboard.teams.blueprint import pages

__all__ = ["inviting", "making", "members", "page", "pages", "settings"]
