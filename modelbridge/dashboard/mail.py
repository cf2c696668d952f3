"""Mail from pages. Called outside of transactions: it may take seconds."""

from modelbridge.dashboard.services import bridge
from modelbridge.operations import mail


def is_set_up() -> bool:
    """Whether this bridge sends mail at all."""
    return bool(bridge().settings.smtp_host)


def send(to: str, subject: str, text: str) -> bool:
    """Whether the server took the mail.

    False if none is set, or if it failed: the log says why, and the caller shows what the mail
    would have said.
    """
    return mail.send(bridge().settings, to, subject, text)
