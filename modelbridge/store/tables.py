"""Every table. Amounts are nano-AUD; moments are stored as microseconds (columns.Moment).

Pages and commands use the classes; the money path uses `Class.__table__` in Core statements.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from modelbridge.store.columns import Json, Moment

OPEN_STATES = ("held", "unknown")


class Base(DeclarativeBase):
    """The schema."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: Moment, int: BigInteger, list[str]: Json, dict[str, Any]: Json}


def table(entity: type[Base]) -> Table:
    """The Core table of a class."""
    found = entity.__table__
    assert isinstance(found, Table)  # noqa: S101  what mapped classes have
    return found


# People


class Account(Base):
    """Where money sits: one per user, one per team. `limit_nanos` is its own spending limit."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("held_nanos >= 0", name="held"),
        CheckConstraint("balance_nanos - held_nanos >= 0", name="available"),
        CheckConstraint("balance_nanos <= 4000000000000000000", name="balance_fits"),
        CheckConstraint("limit_window IN ('none', 'day', 'week', 'month')", name="window"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    balance_nanos: Mapped[int] = mapped_column(default=0)
    held_nanos: Mapped[int] = mapped_column(default=0)
    limit_nanos: Mapped[int | None]
    limit_window: Mapped[str] = mapped_column(default="none")
    time_zone: Mapped[str] = mapped_column(default="Australia/Sydney")
    created_at: Mapped[datetime]


class User(Base):
    """A person. `email` is kept in lower case; no password hash means none was set yet."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(default="")
    password_hash: Mapped[str | None]
    is_admin: Mapped[bool] = mapped_column(default=False)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), unique=True)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]

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


class ApiKey(Base):
    """A key: of which only the SHA-256, the first 12 and the last 4 characters are kept.

    `account_id` is who pays. Only the very first test key has neither person nor account; it
    becomes the first administrator's. `status` is derived, never stored (identity/keys.py).
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


# Money


class Spending(Base):
    """What a key or an account spent and holds in one window; the limit is checked against it.

    `window_start` is in microseconds since 1970; 0 when the window is `none`. A window's row
    appears with its first hold. Spend belongs to the window of admission.
    """

    __tablename__ = "spending"
    __table_args__ = (CheckConstraint("spent_nanos >= 0 AND held_nanos >= 0", name="not_negative"),)

    subject_id: Mapped[str] = mapped_column(primary_key=True)
    window_start: Mapped[int] = mapped_column(primary_key=True)
    spent_nanos: Mapped[int] = mapped_column(default=0)
    held_nanos: Mapped[int] = mapped_column(default=0)


class BalanceTransaction(Base):
    """An immutable posting; triggers refuse UPDATE and DELETE.

    `admitted_at` of a usage is its hold's, so that spend counts in the window of admission.
    `sequence` is the order in which they were posted.
    """

    __tablename__ = "balance_transactions"
    __table_args__ = (
        CheckConstraint("kind IN ('top_up', 'usage', 'adjustment', 'refund')", name="kind"),
        CheckConstraint("(kind = 'usage') = (hold_id IS NOT NULL)", name="usage_has_hold"),
        CheckConstraint("kind <> 'usage' OR amount_nanos <= 0", name="usage_takes"),
        Index("ix_balance_transactions_account_id_sequence", "account_id", "sequence"),
        Index("ix_balance_transactions_key_id_admitted_at", "key_id", "admitted_at"),
        Index("ix_balance_transactions_account_id_admitted_at", "account_id", "admitted_at"),
    )

    sequence: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    id: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    kind: Mapped[str]
    amount_nanos: Mapped[int]
    balance_after_nanos: Mapped[int]
    created_at: Mapped[datetime]
    hold_id: Mapped[str | None] = mapped_column(ForeignKey("holds.id"), unique=True)
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    admitted_at: Mapped[datetime | None]
    refunds_id: Mapped[str | None] = mapped_column(
        ForeignKey("balance_transactions.id"), index=True
    )
    reference: Mapped[str | None] = mapped_column(unique=True)
    note: Mapped[str] = mapped_column(default="")
    actor_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))


class Hold(Base):
    """Money reserved for one call: `held`, then `posted`, `void` or `unknown` (then one of them).

    `owner` is the boot id of the process that placed it. Window starts are those of admission.
    `evidence` is what is known of the call so far, as JSON: see ledger/holds.py.
    """

    __tablename__ = "holds"
    __table_args__ = (
        CheckConstraint("state IN ('held', 'posted', 'void', 'unknown')", name="state"),
        CheckConstraint("amount_nanos >= 0", name="amount"),
        CheckConstraint(
            "charged_nanos IS NULL OR charged_nanos BETWEEN 0 AND amount_nanos", name="charged"
        ),
        Index("ix_holds_open", "state", "owner", sqlite_where=text("state IN ('held', 'unknown')")),
        Index("ix_holds_account_id_state", "account_id", "state"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    call_id: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), index=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    endpoint: Mapped[str]
    model: Mapped[str]
    stream: Mapped[bool]
    state: Mapped[str]
    owner: Mapped[str]
    amount_nanos: Mapped[int]
    charged_nanos: Mapped[int | None]
    key_window_start: Mapped[int]
    account_window_start: Mapped[int]
    fx_version: Mapped[int] = mapped_column(ForeignKey("fx_versions.version"))
    admitted_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    unknown_since: Mapped[datetime | None]
    flagged: Mapped[bool] = mapped_column(default=False)
    evidence: Mapped[dict[str, Any] | None]


class IdempotencyKey(Base):
    """A client's `Idempotency-Key` and the hold of the call that it made; content is not kept."""

    __tablename__ = "idempotency_keys"

    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str]
    hold_id: Mapped[str] = mapped_column(ForeignKey("holds.id"))
    created_at: Mapped[datetime]


class Shortfall(Base):
    """What an upstream reported above the hold: the operator's, never charged."""

    __tablename__ = "shortfalls"

    id: Mapped[str] = mapped_column(primary_key=True)
    hold_id: Mapped[str] = mapped_column(ForeignKey("holds.id"), unique=True)
    amount_nanos: Mapped[int]
    created_at: Mapped[datetime]


class Call(Base):
    """One client request to /v1, and its receipt: usage by class, versions, cost, how known.

    `usage_source`: reported, estimated (bytes ÷ 4) or none. Refused calls have a row too.
    """

    __tablename__ = "calls"
    __table_args__ = (
        Index("ix_calls_account_id_started_at", "account_id", "started_at"),
        Index("ix_calls_key_id_started_at", "key_id", "started_at"),
        Index("ix_calls_started_at", "started_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"))
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    mode: Mapped[str]
    endpoint: Mapped[str]
    model: Mapped[str]
    stream: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[datetime]
    duration_micros: Mapped[int]
    first_byte_micros: Mapped[int | None]
    status: Mapped[int]
    error_code: Mapped[str | None]
    finish: Mapped[str]
    upstream_id: Mapped[str | None]
    upstream_model: Mapped[str | None]
    hold_id: Mapped[str | None] = mapped_column(ForeignKey("holds.id"), unique=True)
    held_nanos: Mapped[int | None]
    output_cap: Mapped[int | None]
    input_tokens: Mapped[int] = mapped_column(default=0)
    cache_read_tokens: Mapped[int] = mapped_column(default=0)
    cache_write_tokens: Mapped[int] = mapped_column(default=0)
    cache_write_1h_tokens: Mapped[int] = mapped_column(default=0)
    audio_input_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)
    audio_output_tokens: Mapped[int] = mapped_column(default=0)
    reasoning_tokens: Mapped[int] = mapped_column(default=0)
    usage_source: Mapped[str] = mapped_column(default="none")
    price_version: Mapped[str | None] = mapped_column(ForeignKey("price_versions.id"))
    fx_version: Mapped[int | None] = mapped_column(ForeignKey("fx_versions.version"))
    cost_nanos: Mapped[int | None]


class Attempt(Base):
    """One try at one upstream; `outcome` is NULL while nobody knows."""

    __tablename__ = "attempts"

    call_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    hold_id: Mapped[str] = mapped_column(ForeignKey("holds.id"), index=True)
    upstream_id: Mapped[str]
    upstream_model: Mapped[str]
    price_version: Mapped[str] = mapped_column(ForeignKey("price_versions.id"))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    status: Mapped[int | None]
    outcome: Mapped[str | None]


# What can be called, and what it costs


class Upstream(Base):
    """A configured instance of a provider. The credential is sealed (upstream/credentials.py)."""

    __tablename__ = "upstreams"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    provider: Mapped[str]
    base_url: Mapped[str]
    credential: Mapped[str | None]
    created_at: Mapped[datetime]


class Model(Base):
    """A public name that the operator added, with the prices that override the package's.

    `prices`: decimal USD per million tokens as strings, by class: `input`, `output`,
    `cache_read`, `cache_write`. None: the package's price of the upstream's model.
    """

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    prices: Mapped[dict[str, Any] | None]
    free: Mapped[bool] = mapped_column(default=False)
    context_window: Mapped[int | None]
    max_output: Mapped[int | None]
    created_at: Mapped[datetime]

    routes: Mapped[list["Route"]] = relationship(
        lazy="selectin", order_by="Route.position", cascade="all, delete-orphan"
    )


class Route(Base):
    """One target of a model; they are tried in the order of `position`."""

    __tablename__ = "routes"

    model_name: Mapped[str] = mapped_column(
        ForeignKey("models.name", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    upstream_id: Mapped[str] = mapped_column(ForeignKey("upstreams.id"), index=True)
    upstream_model: Mapped[str]

    upstream: Mapped[Upstream] = relationship(lazy="joined")


class PriceVersion(Base):
    """A price as it once held, for good. `id` is drawn from its content."""

    __tablename__ = "price_versions"

    id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    source: Mapped[str]
    price: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class FxVersion(Base):
    """An exchange rate as it once held: nano-AUD per USD. `source`: shipped or operator."""

    __tablename__ = "fx_versions"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    aud_per_usd_nanos: Mapped[int]
    source: Mapped[str]
    created_at: Mapped[datetime]


class CatalogState(Base):
    """One row: `version` grows with every change to upstreams, models, routes or the rate.

    Triggers keep it, so that no writer can forget; every call reads it beside its key.
    """

    __tablename__ = "catalog_state"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    version: Mapped[int]


class Milestone(Base):
    """What happens once in the life of a data directory, such as its first start."""

    __tablename__ = "milestones"

    name: Mapped[str] = mapped_column(primary_key=True)
    reached_at: Mapped[datetime]
