"""The pages that the side bar links."""

from dataclasses import dataclass

from flask_login import current_user


@dataclass(frozen=True, slots=True)
class Entry:
    """One link: its words, where it leads, its icon (bootstrap-icons), and whose pages light it."""

    label: str
    endpoint: str
    icon: str
    is_for_admins: bool = False

    def is_lit_by(self, blueprint: str | None) -> bool:
        """Whether the link is the current one while a page of that blueprint is open.

        The link to `admin` is lit by its own pages and by those of `admin_money`.
        """
        return (blueprint or "").partition("_")[0] == self.endpoint.partition(".")[0]


_ENTRIES = (
    Entry("Overview", "home.index", "grid"),
    Entry("API keys", "keys.index", "key"),
    Entry("Teams", "teams.index", "people"),
    Entry("Usage", "usage.index", "bar-chart"),
    Entry("Billing", "billing.index", "receipt"),
    Entry("Models", "models.index", "boxes"),
    Entry("Playground", "playground.index", "chat-dots"),
    Entry("Docs", "docs.index", "book"),
    Entry("Administration", "admin.index", "shield-lock", is_for_admins=True),
)


def navigation() -> tuple[Entry, ...]:
    """The links of whoever is logged in, from top to bottom."""
    is_admin = current_user.is_authenticated and current_user.user.is_admin
    return tuple(entry for entry in _ENTRIES if is_admin or not entry.is_for_admins)
