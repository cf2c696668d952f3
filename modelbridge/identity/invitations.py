"""Invitations: a link that brings the owner of one e-mail address into a team, once.

The link holds 256 random bits, the row their SHA-256. It lasts 72 hours, is bound to the address
and to a role that is not above the inviter's, and dies when the inviter could not send it any
more: because they left, or may no longer give that role.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.identity import permissions, teams, users
from modelbridge.store.tables import Invitation, Membership, Team, User

LIFETIME = timedelta(hours=72)
MOST_A_DAY = 50  # of one person: each may be a mail to a stranger


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation that was just made; `token` goes into its link and is stored nowhere."""

    row: Invitation
    token: str


def invite(session: Session, inviter: Membership, *, email: str, role: str) -> NewInvitation:
    """The owner of that address may join the inviter's team. An earlier link to it is revoked.

    Raises ValueError, naming the field, for a malformed address, that of a member, a role that is
    unknown or above the inviter's, and for whoever has sent MOST_A_DAY in the last 24 hours.
    """
    address = users.clean_email(email)
    if role not in permissions.grantable_roles(inviter.role):
        raise ValueError("role: is not yours to give; choose one that is not above your own")
    invited = users.find_user(session, address)
    if invited and permissions.membership(session, invited.id, inviter.team_id):
        raise ValueError("email: a member of the team has this address already")
    now = clock.now()
    recent = Invitation.created_at > now - timedelta(days=1)
    by_them = select(func.count()).where(Invitation.invited_by == inviter.user_id, recent)
    if (session.scalar(by_them) or 0) >= MOST_A_DAY:
        raise ValueError(
            f"email: you sent {MOST_A_DAY} invitations in the last day, which is the most; go on "
            "tomorrow"
        )
    session.execute(
        update(Invitation)
        .where(*_open(now), Invitation.team_id == inviter.team_id, Invitation.email == address)
        .values(revoked_at=now)
    )
    token = ids.new_token()
    row = Invitation(
        id=ids.new_id("inv"),
        token_sha256=ids.sha256_hex(token),
        team_id=inviter.team_id,
        email=address,
        role=role,
        invited_by=inviter.user_id,
        created_at=now,
        expires_at=now + LIFETIME,
        accepted_at=None,
        revoked_at=None,
    )
    session.add(row)
    session.flush()
    return NewInvitation(row, token)


def open_invitation(session: Session, token: str) -> Invitation | None:
    """The invitation of that token, if it would still be accepted. It is not used up by this."""
    row = session.scalar(
        select(Invitation).where(
            *_open(clock.now()), Invitation.token_sha256 == ids.sha256_hex(token)
        )
    )
    return row if row is not None and _stands(session, row) else None


def pending(session: Session, team: Team) -> list[Invitation]:
    """The team's invitations that would still be accepted, newest first."""
    found = session.scalars(
        select(Invitation)
        .where(*_open(clock.now()), Invitation.team_id == team.id)
        .order_by(Invitation.created_at.desc(), Invitation.id)
    )
    return [row for row in found if _stands(session, row)]


def get_for(session: Session, team: Team, invitation_id: str) -> Invitation | None:
    """That team's invitation of that id, or None."""
    return session.scalar(select(Invitation).filter_by(id=invitation_id, team_id=team.id))


def revoke(session: Session, row: Invitation) -> bool:
    """The link works no longer. False: it did not before, and nothing changed."""
    return _close(session, row, "revoked_at")


def accept(session: Session, row: Invitation, user: User) -> bool:
    """The person is in the team; whoever was in it meanwhile keeps their role.

    False: somebody was faster, and nothing changed. Raises ValueError for somebody who was not
    invited. The caller opened the invitation in the same transaction.
    """
    if user.email != row.email:
        raise ValueError(f"email: this invitation is for {row.email}")
    if not _close(session, row, "accepted_at"):
        return False
    if permissions.membership(session, user.id, row.team_id) is None:
        teams.add_member(session, row.team, user, row.role)
    return True


def _open(now: object) -> tuple[ColumnElement[bool], ...]:
    return (
        Invitation.accepted_at.is_(None),
        Invitation.revoked_at.is_(None),
        Invitation.expires_at > now,
    )


def _stands(session: Session, row: Invitation) -> bool:
    inviter = permissions.membership(session, row.invited_by, row.team_id)
    if inviter is None or inviter.user.disabled_at is not None:
        return False
    return permissions.may_touch(inviter.role, row.role)


def _close(session: Session, row: Invitation, column: str) -> bool:
    now = clock.now()
    changed = session.scalars(
        update(Invitation)
        .where(*_open(now), Invitation.id == row.id)
        .values({column: now})
        .returning(Invitation.id)
    ).all()
    session.refresh(row)
    return len(changed) == 1
