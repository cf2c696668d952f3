"""Links that work once: the set-up of the first administrator, the reset of a password.

The link holds 256 random bits; the row holds only their SHA-256. A person's links end when they
choose another password or address, or are disabled: whoever has an old mail of theirs has nothing.
"""

from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.store.tables import OneTimeLink

KINDS = ("setup", "reset")


def new_link(session: Session, kind: str, user_id: str | None, hours: float) -> str:
    """The token of a new link, which works once and for that many hours.

    Earlier links of the kind for the same person stay good until one of them is used.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: must be one of {', '.join(KINDS)}, not {kind!r}")
    token = ids.new_token()
    now = clock.now()
    session.add(
        OneTimeLink(
            token_sha256=ids.sha256_hex(token),
            kind=kind,
            user_id=user_id,
            created_at=now,
            expires_at=now + timedelta(hours=hours),
            used_at=None,
        )
    )
    session.flush()
    return token


def open_link(session: Session, kind: str, token: str) -> OneTimeLink | None:
    """The link, if it is of that kind, unused and not expired. It is not used up by this."""
    return session.scalar(
        select(OneTimeLink).where(
            OneTimeLink.token_sha256 == ids.sha256_hex(token),
            OneTimeLink.kind == kind,
            OneTimeLink.used_at.is_(None),
            OneTimeLink.expires_at > clock.now(),
        )
    )


def use_link(session: Session, link: OneTimeLink) -> bool:
    """The link is used up, and with it every other link of the kind for the same person.

    False: somebody was faster, or it has expired; then nothing changed.
    """
    now = clock.now()
    unused = (OneTimeLink.kind == link.kind, OneTimeLink.used_at.is_(None))
    won = session.scalars(
        update(OneTimeLink)
        .where(OneTimeLink.token_sha256 == link.token_sha256, *unused)
        .where(OneTimeLink.expires_at > now)
        .values(used_at=now)
        .returning(OneTimeLink.token_sha256)
    ).all()
    if won:
        others = OneTimeLink.user_id.is_not_distinct_from(link.user_id)
        session.execute(update(OneTimeLink).where(others, *unused).values(used_at=now))
    return bool(won)


def end_all(session: Session, user_id: str) -> None:
    """No link that was made for that person works any more."""
    session.execute(
        update(OneTimeLink)
        .where(OneTimeLink.user_id == user_id, OneTimeLink.used_at.is_(None))
        .values(used_at=clock.now())
    )
