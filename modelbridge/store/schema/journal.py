"""Calls and what they came to: the journal, attempts and the totals by day."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from modelbridge.store.schema.base import Base


class Call(Base):
    """One client request to /v1, and its receipt: usage by class, versions, cost, how known.

    `usage_source`: reported, estimated (bytes ÷ 4) or none. Refused calls have a row too.
    """

    __tablename__ = "calls"
    __table_args__ = (
        Index("ix_calls_account_id_started_at", "account_id", "started_at"),
        Index("ix_calls_key_id_started_at", "key_id", "started_at"),
        Index("ix_calls_started_at", "started_at"),
        Index(
            "ix_calls_errors",
            "account_id",
            "started_at",
            sqlite_where=text("error_code IS NOT NULL"),
        ),
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


class DailyUsage(Base):
    """What calls came to, by day of the account's time zone, key, person and model.

    Kept in the transaction that writes the call's row, so that pages need not read a million.
    `day` is YYYY-MM-DD; an absent person is the empty string. The rows lie in the order of the
    primary key itself: an account's days are read in one go.
    """

    __tablename__ = "daily_usage"
    __table_args__ = {"sqlite_with_rowid": False}

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    day: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    mode: Mapped[str] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(default=0)
    errors: Mapped[int] = mapped_column(default=0)
    input_tokens: Mapped[int] = mapped_column(default=0)
    output_tokens: Mapped[int] = mapped_column(default=0)
    cost_nanos: Mapped[int] = mapped_column(default=0)


class Attempt(Base):
    """One try at one upstream; `outcome` is NULL while nobody knows."""

    __tablename__ = "attempts"

    call_id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    hold_id: Mapped[str] = mapped_column(ForeignKey("holds.id"))
    upstream_id: Mapped[str]
    upstream_model: Mapped[str]
    price_version: Mapped[str] = mapped_column(ForeignKey("price_versions.id"))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    status: Mapped[int | None]
    outcome: Mapped[str | None]
