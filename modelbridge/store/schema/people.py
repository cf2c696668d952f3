"""People, teams, keys, and what the pages remember of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column, relationship

from modelbridge.store.schema.base import Base
from modelbridge.store.schema.money import Account


class User(Base):
    """A person. `email` is kept in lower case; no password hash means none was set yet.

    The secret of the second step (identity/second_step.py) is sealed under the master key, and
    is asked for from `totp_confirmed_at` on; `totp_last_step`: the half minute of the last code.
    """

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(default="")
    password_hash: Mapped[str | None]
    is_admin: Mapped[bool] = mapped_column(default=False)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), unique=True)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    totp_sealed: Mapped[str | None]
    totp_confirmed_at: Mapped[datetime | None]
    totp_last_step: Mapped[int | None]

    account: Mapped[Account] = relationship(lazy="joined")


class Team(Base):
    """A group with a shared balance; `name_key` is the case-folded name."""

    __tablename__ = "teams"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), unique=True)
    created_at: Mapped[datetime]

    account: Mapped[Account] = relationship(lazy="joined")


class Membership(Base):
    """A person's place in a team."""

    __tablename__ = "memberships"
    __table_args__ = (
        CheckConstraint("role IN ('owner', 'admin', 'member', 'viewer')", name="role"),
    )

    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    role: Mapped[str]
    created_at: Mapped[datetime]

    team: Mapped[Team] = relationship(lazy="joined")
    user: Mapped[User] = relationship(lazy="joined")


class Invitation(Base):
    """A link that makes the owner of `email` a member of a team, once, until it expires."""

    __tablename__ = "invitations"
    __table_args__ = (
        CheckConstraint("role IN ('owner', 'admin', 'member', 'viewer')", name="role"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), index=True)
    email: Mapped[str]
    role: Mapped[str]
    invited_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    team: Mapped[Team] = relationship(lazy="joined")


class LoginSession(Base):
    """A browser that is logged in; only the hash of its cookie's token is kept."""

    __tablename__ = "login_sessions"

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    address: Mapped[str] = mapped_column(default="")
    user_agent: Mapped[str] = mapped_column(default="")

    user: Mapped[User] = relationship(lazy="joined")


class OneTimeLink(Base):
    """A link that works once: `setup` of the first administrator, `reset` of a password."""

    __tablename__ = "one_time_links"

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class RecoveryCode(Base):
    """A code that stands for the second step once, when the person's device is lost."""

    __tablename__ = "recovery_codes"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ApiKey(Base):
    """A key: of which only the SHA-256, the first 12 and the last 4 characters are kept.

    `account_id` is who pays. Only the very first test key has neither person nor account; it
    becomes the first administrator's. `status` is derived, never stored (identity/keys.py).
    `allowed_addresses` are CIDR networks; None for each of the last four: no such limit.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("mode IN ('live', 'test')", name="mode"),
        CheckConstraint("limit_window IN ('none', 'day', 'week', 'month')", name="window"),
        CheckConstraint("mode = 'test' OR account_id IS NOT NULL", name="payer"),
        Index("ix_api_keys_account_id_created_at", "account_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(unique=True)
    prefix: Mapped[str] = mapped_column(index=True)
    last4: Mapped[str]
    name: Mapped[str]
    mode: Mapped[str]
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"), index=True)
    limit_nanos: Mapped[int | None]
    limit_window: Mapped[str] = mapped_column(default="none")
    models: Mapped[list[str] | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    calls_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    concurrent_calls: Mapped[int | None]
    allowed_addresses: Mapped[list[str] | None]


class RetiredSecret(Base):
    """A rotated key's earlier secret, which opens the same key until `expires_at`."""

    __tablename__ = "retired_secrets"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), index=True)
    prefix: Mapped[str]
    last4: Mapped[str]
    retired_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]


class AuditEvent(Base):
    """Who did what, when, to what; append-only. `details` never holds a secret."""

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_at", "at"),)

    sequence: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    at: Mapped[datetime]
    actor_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    actor: Mapped[str]
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[str]
    subject: Mapped[str]
    details: Mapped[dict[str, Any] | None]
    address: Mapped[str] = mapped_column(default="")


class Feedback(Base):
    """What somebody thought of a page of the documentation in the app."""

    __tablename__ = "feedback"

    id: Mapped[str] = mapped_column(primary_key=True)
    page: Mapped[str] = mapped_column(index=True)
    helpful: Mapped[bool]
    comment: Mapped[str] = mapped_column(default="")
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]


class Setting(Base):
    """What administrators set in the browser, by name; the value is JSON."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any]]
    changed_at: Mapped[datetime]
