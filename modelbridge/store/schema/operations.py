"""What the bridge tells the people who run it."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from modelbridge.store.schema.base import Base


class Alert(Base):
    """One thing that wants attention, told once for as long as it lasts.

    `occurrence` says which one of its kind it is (an account, a key and its window, a day); of
    each only one is open. `mailed_at`, `posted_at`: when mail and webhook took it. `next_try_at`
    is None once nobody is left to tell.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "ix_alerts_open",
            "kind",
            "occurrence",
            unique=True,
            sqlite_where=text("cleared_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    occurrence: Mapped[str]
    subject: Mapped[str]
    message: Mapped[str]
    next_step: Mapped[str]
    raised_at: Mapped[datetime] = mapped_column(index=True)
    cleared_at: Mapped[datetime | None]
    mailed_at: Mapped[datetime | None]
    posted_at: Mapped[datetime | None]
    tries: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[datetime | None] = mapped_column(index=True)
