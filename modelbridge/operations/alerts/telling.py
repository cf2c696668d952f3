"""Telling it: by mail, and by a signed webhook. Never inside a transaction: it may take seconds."""

import hashlib
import hmac
import logging
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from modelbridge import clock, jsonio
from modelbridge.config import Settings
from modelbridge.errors import BridgeError, UpstreamTimeout
from modelbridge.jsonio import JSONDict
from modelbridge.operations import mail
from modelbridge.operations.alerts.settings import NAME, SEALED_COLUMN, AlertSettings
from modelbridge.store.tables import Alert
from modelbridge.upstream import credentials
from modelbridge.upstream.client import UpstreamClient
from modelbridge.upstream.credentials import CredentialError
from modelbridge.wire.target import Target, WireRequest

TIMESTAMP_HEADER = "x-modelbridge-timestamp"
SIGNATURE_HEADER = "x-modelbridge-signature"
WEBHOOK_SECONDS = 10.0
_log = logging.getLogger("modelbridge.alerts")


def by_mail(settings: Settings, alert: Alert, addresses: Sequence[str]) -> list[str]:
    """For whom the mail server did not take it."""
    text = (
        f"{alert.message}\n\nWhat to do: {alert.next_step}\n\n"
        f"Noticed {alert.raised_at:%Y-%m-%d %H:%M UTC} by the bridge at {settings.public_url}.\n"
        "Who gets this mail is set under Administration, Alerts.\n"
    )
    return mail.send_each(settings, addresses, f"[ModelBridge] {alert.subject}", text)


def by_webhook(
    client: UpstreamClient, settings: Settings, wanted: AlertSettings, alert: Alert
) -> str | None:
    """None if the receiver answered with 2xx; else why not. Nothing is followed or retried here."""
    try:
        secret = credentials.unseal(
            settings.master_key,
            NAME,
            wanted.webhook_secret,
            column=SEALED_COLUMN,
            old_key=settings.old_master_key,
        )
    except CredentialError as error:
        return f"the webhook's secret: {error}"
    body = body_of(alert, settings.public_url)
    timestamp = str(clock.now_micros() // 1_000_000)
    headers = {
        TIMESTAMP_HEADER: timestamp,
        SIGNATURE_HEADER: signature(secret, timestamp, jsonio.dumps(body)),
    }
    return _post(client, wanted, WireRequest("", body, headers))


def body_of(alert: Alert, public_url: str) -> JSONDict:
    """What a webhook is sent, as JSON."""
    return {
        "id": alert.id,
        "type": alert.kind,
        "raised_at": alert.raised_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "subject": alert.subject,
        "message": alert.message,
        "next_step": alert.next_step,
        "bridge": public_url,
    }


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the hex HMAC-SHA256 of timestamp, full stop and body; receivers reckon it anew."""
    signed = f"{timestamp}.".encode() + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def _post(client: UpstreamClient, wanted: AlertSettings, request: WireRequest) -> str | None:
    parts = urlsplit(wanted.webhook_url)
    target = Target(
        upstream_id=NAME,
        upstream="webhook",
        provider="webhook",
        dialect="",
        base_url=f"{parts.scheme}://{parts.netloc}",
        auth="none",
        model="",
        allow_private=wanted.webhook_private,
    )
    sent = WireRequest(parts.path or "/", request.body, request.headers)
    exchange = client.open(target, sent, stream=False)
    late = UpstreamTimeout(f"It did not answer within {WEBHOOK_SECONDS:.0f} seconds.")
    alarm = threading.Timer(WEBHOOK_SECONDS, exchange.cut, (late,))
    alarm.daemon = True
    alarm.start()
    try:
        exchange.start()
        status = exchange.status
    except BridgeError as error:
        return error.message.replace("The upstream 'webhook'", "It").replace(
            "the upstream 'webhook'", "it"
        )
    finally:
        alarm.cancel()
        exchange.close()
    return None if 200 <= status < 300 else f"It answered with status {status}."
