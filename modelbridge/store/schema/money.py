"""The books. Amounts are nano-AUD; moments are stored as microseconds (columns.Moment)."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from modelbridge.store.schema.base import Base


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
        Index(
            "ix_balance_transactions_payments",
            "account_id",
            "sequence",
            sqlite_where=text("kind != 'usage'"),
        ),
        Index("ix_balance_transactions_key_id_admitted_at", "key_id", "admitted_at"),
        Index("ix_balance_transactions_account_id_admitted_at", "account_id", "admitted_at"),
        Index(
            "ix_balance_transactions_refunds",
            "refunds_id",
            sqlite_where=text("refunds_id IS NOT NULL"),
        ),
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
    refunds_id: Mapped[str | None] = mapped_column(ForeignKey("balance_transactions.id"))
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
        Index("ix_holds_flagged", "admitted_at", sqlite_where=text("flagged = 1")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    call_id: Mapped[str] = mapped_column(unique=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
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


class BooksCheck(Base):
    """The outcome of one audit of the books."""

    __tablename__ = "books_checks"

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    ok: Mapped[bool]
    problems: Mapped[list[str]]
    counts: Mapped[dict[str, Any]]
    duration_micros: Mapped[int]
