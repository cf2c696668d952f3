"""The thread that looks every half a minute, keeps the book of alerts, and tells."""

import logging
import threading

from sqlalchemy import select

from modelbridge.gateway.services import Gateway
from modelbridge.operations.alerts import book, settings, telling
from modelbridge.operations.alerts.conditions import Condition, look
from modelbridge.operations.alerts.settings import AlertSettings
from modelbridge.operations.backups import BackupClock
from modelbridge.store.tables import Alert, User

LOOK_SECONDS = 30.0
_log = logging.getLogger("modelbridge.alerts")


class AlertClock:
    """Calls never wait for it: it reads, writes briefly, and tells on a thread of its own."""

    def __init__(self, gateway: Gateway, backups: BackupClock) -> None:
        self._gateway, self._backups = gateway, backups
        self._stop = threading.Event()
        self._one_at_a_time = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is being told is finished first."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> list[Alert]:
        """Look once, and tell what is to be told; returns what is new."""
        gateway = self._gateway
        with self._one_at_a_time:
            with gateway.database.reading() as session:
                wanted = settings.load(session)
                seen = look(session, wanted, gateway.health.snapshot(), self._backups.trouble)
                changes = bool(seen.conditions or book.open_alerts(session, 1))
            raised = []
            if changes:
                with gateway.database.transaction() as session:
                    raised = book.keep(session, seen)
            self._tell_due(wanted)
            return raised

    def test(self) -> list[str]:
        """A test alert goes out now, and stays in no book; says what came of each way."""
        gateway = self._gateway
        with gateway.database.reading() as session:
            wanted = settings.load(session)
        alert = book.make(
            Condition(
                "test",
                "test",
                "A test alert",
                "This is a test: somebody asked this bridge to send it.",
                "Nothing is to be done.",
            )
        )
        told = []
        addresses = self._addresses(wanted)
        if addresses:
            refused = telling.by_mail(gateway.settings, alert, addresses)
            if sent := [one for one in addresses if one not in refused]:
                told.append(f"Mail to {', '.join(sent)}: sent.")
            if refused:
                told.append(f"Mail to {', '.join(refused)}: NOT sent; the log says why.")
        if wanted.webhook_url:
            trouble = telling.by_webhook(gateway.upstreams, gateway.settings, wanted, alert)
            told.append(f"Webhook: {trouble or 'sent.'}")
        return told

    def _tell_due(self, wanted: AlertSettings) -> None:
        gateway = self._gateway
        with gateway.database.reading() as session:
            waiting = book.due(session)
        addresses = self._addresses(wanted) if waiting else []
        for alert in waiting:
            if self._stop.is_set():
                return  # a mail server that does not answer must not hold up the end
            mailed = alert.mailed_at is not None or not addresses
            if not mailed:  # once it reached anybody: the others would get it once for each try
                refused = telling.by_mail(gateway.settings, alert, addresses)
                mailed = len(refused) < len(addresses)
            posted = alert.posted_at is not None or not wanted.webhook_url
            if not posted:
                trouble = telling.by_webhook(gateway.upstreams, gateway.settings, wanted, alert)
                posted = trouble is None
                if trouble:
                    _log.warning("alert %s: the webhook failed: %s", alert.id, trouble)
            with gateway.database.transaction() as session:
                if kept := session.get(Alert, alert.id):
                    book.tried(kept, mailed=mailed, posted=posted)
            _log.warning("alert: %s", alert.subject)

    def _addresses(self, wanted: AlertSettings) -> list[str]:
        """Who is written to: those who were named, else the administrators."""
        if not self._gateway.settings.smtp_host:
            return []
        if wanted.emails:
            return list(wanted.emails)
        with self._gateway.database.reading() as session:
            admins = select(User.email).where(User.is_admin, User.disabled_at.is_(None))
            return sorted(session.scalars(admins))

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                _log.exception("the look for alerts stumbled; it looks again")
