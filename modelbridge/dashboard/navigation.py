"""The pages that the side bar links."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One link: its words, where it leads, its icon (bootstrap-icons), and whose pages light it."""

    label: str
    endpoint: str
    icon: str

    @property
    def blueprint(self) -> str:
        """While a page of this blueprint is open, the link is the current one."""
        return self.endpoint.partition(".")[0]


_ENTRIES = (Entry("API keys", "keys.index", "key"),)


def navigation() -> tuple[Entry, ...]:
    """The links, from top to bottom."""
    return _ENTRIES
