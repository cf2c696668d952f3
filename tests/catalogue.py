"""An empty catalogue to arrange, and a short way to add an upstream to it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from modelbridge.catalog import admin, fx
from modelbridge.store.tables import Base, CatalogState


@contextmanager
def empty_catalogue() -> Iterator[Session]:
    """Version 7, with the shipped exchange rate; any thread may use the session."""
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def _foreign_keys(connection: object, _: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")  # type: ignore[attr-defined]

    Base.metadata.create_all(engine)
    with Session(engine, expire_on_commit=False) as found:
        found.add(CatalogState(id=1, version=7))
        fx.ensure_fx(found)
        yield found
    engine.dispose()


def upstream(session: Session, name: str, provider: str | None = None, url: str = "") -> str:
    row = admin.add_upstream(
        session,
        name=name,
        provider=provider or name,
        base_url=url or None,
        allow_private=True,
        sealed_credential=lambda _: None,
    )
    return row.id
