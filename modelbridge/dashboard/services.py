"""What the pages reach through the app: settings, database, catalogue."""

from typing import Protocol, cast

from flask import current_app
from sqlalchemy.orm import Session

from modelbridge.catalog.routes import Catalog, CatalogCache
from modelbridge.config import Settings
from modelbridge.gateway.books import BooksClock
from modelbridge.gateway.services import Gateway
from modelbridge.operations.alerts.clock import AlertClock
from modelbridge.store.database import Database
from modelbridge.store.tables import CatalogState


class Bridge(Protocol):
    """The part of the running bridge that pages use; the factory makes it."""

    settings: Settings
    database: Database
    catalog: CatalogCache
    gateway: Gateway
    alerts: AlertClock
    books_clock: BooksClock


def bridge() -> Bridge:
    """The bridge of the app that serves this request."""
    return cast(Bridge, current_app.extensions["modelbridge"])


def catalog(session: Session) -> Catalog:
    """What this bridge offers now."""
    state = session.get_one(CatalogState, 1)
    return bridge().catalog.at(state.version)
