"""What a newcomer is told: the set-up link, the first key, and what still needs attention."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.catalog import admin
from modelbridge.factory import Bridge
from modelbridge.identity import auditlog, keys, links, users
from modelbridge.store.tables import Milestone, User
from modelbridge.upstream import credentials

FIRST_MODEL = "claude-sonnet-4-6"
LINK_HOURS = 24 * 7


def greeting(bridge: Bridge) -> list[str]:
    """The lines to print before serving; makes what they speak of."""
    with bridge.database.transaction() as session:
        first = _is_first_start(session)
        lines = list(_upstreams(bridge, session)) if first else []
        if not users.has_admin(session):
            token = links.new_link(session, "setup", None, LINK_HOURS)
            lines += [
                "",
                "Set up the first administrator (this link works once):",
                f"    {bridge.settings.public_url}/setup/{token}",
            ]
        if first:
            lines += [
                "",
                "Try it: this call is free and needs no provider.",
                _curl(bridge, session),
            ]
    if bridge.settings.master_key_beside_data:
        path = bridge.settings.data_dir / "master.key"
        lines += [
            "",
            f"Note: the master key lies beside the data ({path}).",
            "Anyone who takes both can read your providers' credentials; backups leave it out.",
            "Keep it elsewhere with MODELBRIDGE_MASTER_KEY_FILE.",
        ]
    return [*lines, ""]


def _is_first_start(session: Session) -> bool:
    if session.get(Milestone, "first_start") is not None:
        return False
    session.add(Milestone(name="first_start", reached_at=clock.now()))
    return True


def _upstreams(bridge: Bridge, session: Session) -> Iterator[str]:
    """Provider credentials in the environment become upstreams, once."""
    known = {row.name for row in admin.list_upstreams(session)}
    for name, credential in bridge.settings.provider_credentials.items():
        variable = f"{name.upper()}_API_KEY"
        if credential.startswith("mb_"):
            yield f"{variable} is ignored: it holds a key of ModelBridge itself, not {name}'s."
        elif name not in known:
            seal = partial(_seal, bridge.settings.master_key, credential.strip())
            row = admin.add_upstream(
                session,
                name=name,
                provider=name,
                base_url=None,
                allow_private=True,
                sealed_credential=seal,
            )
            _note(
                session, "upstream.add", "upstream", row.id, row.name,
                provider=row.provider, base_url=row.base_url, allow_private=True,
            )  # fmt: skip
            yield f"The upstream {name!r} was made from {variable}."


def _seal(master_key: str, credential: str, upstream_id: str) -> str:
    return credentials.seal(master_key, upstream_id, credential)


def _curl(bridge: Bridge, session: Session) -> str:
    """A command to paste, with a fresh test key: the first administrator's, now or later."""
    admin_user = session.scalars(select(User).where(User.is_admin).limit(1)).first()
    key = keys.create_key(
        session,
        account_id=admin_user.account_id if admin_user else None,
        user_id=admin_user.id if admin_user else None,
        name="First test key",
        test=True,
        limit_nanos=None,
        window="none",
        expires_at=None,
        models=None,
    )
    _note(session, "key.create", "key", key.row.id, f"{key.row.name} ({key.row.prefix}…)")
    return (
        f"    curl {bridge.settings.base_url}/chat/completions "
        f"-H 'Authorization: Bearer {key.secret}' -H 'Content-Type: application/json' "
        f'-d \'{{"model": "{FIRST_MODEL}", '
        '"messages": [{"role": "user", "content": "Hello!"}]}\''
    )


def _note(
    session: Session, action: str, kind: str, subject_id: str, subject: str, **details: Any
) -> None:
    auditlog.record(
        session,
        actor=None,
        actor_text=auditlog.FIRST_START,
        action=action,
        subject_kind=kind,
        subject_id=subject_id,
        subject=subject,
        details=details or None,
    )
