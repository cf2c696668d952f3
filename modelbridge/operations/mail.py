"""Mail, where a server for it is set. Called outside of transactions: it may take seconds."""

import logging
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from modelbridge.config import Settings

_SECONDS = 10.0
_log = logging.getLogger("modelbridge.mail")


def send(settings: Settings, to: str, subject: str, text: str) -> bool:
    """Whether the server took the mail.

    False if none is set, or if it failed: the log says why.
    """
    return not send_each(settings, [to], subject, text)


def send_each(settings: Settings, addresses: Sequence[str], subject: str, text: str) -> list[str]:
    """A mail to each, one after the other over one connection; returns whom the server refused.

    One address that is refused keeps no other from its mail; a server that does not answer is
    waited for once.
    """
    if not settings.smtp_host:
        return list(addresses)
    refused = list(addresses)
    try:
        with _connected(settings) as server:
            for to in addresses:
                try:
                    server.send_message(_message(settings, to, subject, text))
                    refused.remove(to)
                except (smtplib.SMTPException, ValueError) as error:
                    _not_sent(error)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        if refused:  # else it was only its farewell
            _not_sent(error)
    return refused


def trouble(settings: Settings) -> str | None:
    """Why the server would take no mail from us, in one line; None: it lets us in."""
    try:
        with _connected(settings) as server:
            server.noop()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return f"{type(error).__name__}: {_first_line(error)}"
    return None


@contextmanager
def _connected(settings: Settings) -> Iterator[smtplib.SMTP]:
    with _connect(settings) as server:
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.smtp_password)
        yield server


def _not_sent(error: Exception) -> None:
    _log.error("mail was not sent: %s: %s", type(error).__name__, _first_line(error))


def _message(settings: Settings, to: str, subject: str, text: str) -> EmailMessage:
    """Raises ValueError for an address or a subject with line ends in it."""
    message = EmailMessage()
    message["From"] = f"ModelBridge <{settings.smtp_from}>"
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=settings.smtp_from.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


def _connect(settings: Settings) -> smtplib.SMTP:
    host, port = settings.smtp_host, settings.smtp_port
    if settings.smtp_tls == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=ssl.create_default_context())
    server = smtplib.SMTP(host, port, timeout=_SECONDS)
    if settings.smtp_tls == "starttls":
        try:
            server.starttls(context=ssl.create_default_context())
        except BaseException:
            server.close()
            raise
    return server


def _first_line(error: Exception) -> str:
    """A server's words may run over lines; the log gets one, and no recipient's text."""
    return next(iter(str(error).splitlines()), "")[:200]
