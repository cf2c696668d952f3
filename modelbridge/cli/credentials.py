"""`flask credentials …`: what is sealed under the master key."""

from collections import Counter

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge.cli.common import Group, bridge, note, transaction
from modelbridge.operations.alerts import settings as alerts
from modelbridge.store.tables import Upstream, User
from modelbridge.upstream.credentials import SECOND_STEP, UPSTREAM, is_under, seal, unseal


@click.group("credentials", cls=Group)
def credentials() -> None:
    """Providers' credentials and secrets of the second step, sealed under the master key."""


@credentials.command("rotate")
def rotate() -> None:
    """Seal everything under the present master key that is still under the old one.

    Before: put the old key into MODELBRIDGE_OLD_MASTER_KEY (or …_FILE) and a new one into
    MODELBRIDGE_MASTER_KEY, and restart the bridge, which then opens both. After: take the old one
    away. All or nothing; run again, it has nothing to do.
    """
    with transaction() as session:
        counts = Counter(_upstreams(session))
        counts.update(_second_steps(session))
        counts.update(_webhook(session))
        if counts["sealed anew"]:
            note(session, "credentials.rotate", "setting", "master_key", "master key",
                 sealed_anew=counts["sealed anew"])  # fmt: skip
    click.echo(
        f"Sealed {counts['sealed anew']} anew; {counts['as before']} were under the present master "
        "key already."
    )


def _upstreams(session: Session) -> list[str]:
    done = []
    for row in session.scalars(select(Upstream).where(Upstream.credential.is_not(None))):
        sealed = _anew(f"upstream {row.name}", row.id, row.credential or "", UPSTREAM)
        done.append("as before" if sealed is None else "sealed anew")
        row.credential = sealed or row.credential
    session.flush()
    return done


def _second_steps(session: Session) -> list[str]:
    done = []
    for row in session.scalars(select(User).where(User.totp_sealed.is_not(None))):
        sealed = _anew(f"user {row.email}", row.id, row.totp_sealed or "", SECOND_STEP)
        done.append("as before" if sealed is None else "sealed anew")
        row.totp_sealed = sealed or row.totp_sealed
    session.flush()
    return done


def _webhook(session: Session) -> list[str]:
    if not alerts.load(session).webhook_secret:
        return []
    sealed = alerts.reseal(
        session, lambda kept: _anew("webhook of alerts", alerts.NAME, kept, alerts.SEALED_COLUMN)
    )
    return ["as before" if sealed is None else "sealed anew"]


def _anew(whose: str, row_id: str, sealed: str, column: str) -> str | None:
    """The same secret under the present key; None if it is. Raises ValueError that says whose."""
    settings = bridge().settings
    if is_under(settings.master_key, sealed):
        return None
    try:
        secret = unseal(
            settings.master_key, row_id, sealed, column=column, old_key=settings.old_master_key
        )
    except ValueError as error:
        raise ValueError(f"{whose}: {error}. Nothing was changed") from None
    return seal(settings.master_key, row_id, secret, column=column)
