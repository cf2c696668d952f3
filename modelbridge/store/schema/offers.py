"""What can be called, and what it costs."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from modelbridge.store.schema.base import Base


class Upstream(Base):
    """A configured instance of a provider. The credential is sealed (upstream/credentials.py).

    `on_hang_up`: what to do when a client leaves in mid-stream: `drain` the answer to its real
    usage, `close` the connection, or `auto`: close only where the provider then stops billing.
    `allow_private`: its name may resolve to an address of this machine or a private network.
    """

    __tablename__ = "upstreams"
    __table_args__ = (
        CheckConstraint("on_hang_up IN ('auto', 'drain', 'close')", name="on_hang_up"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    provider: Mapped[str]
    base_url: Mapped[str]
    credential: Mapped[str | None]
    on_hang_up: Mapped[str] = mapped_column(default="auto")
    allow_private: Mapped[bool] = mapped_column(default=False, server_default=false())
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
