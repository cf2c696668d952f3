"""What the gateway works with: made once by the factory, handed to every call."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from modelbridge.catalog.routes import CatalogCache
from modelbridge.config import Settings
from modelbridge.gateway.flights import Flights
from modelbridge.gateway.meters import Meters
from modelbridge.gateway.pump import Pump
from modelbridge.gateway.rates import RateLimits
from modelbridge.gateway.slots import Slots
from modelbridge.gateway.waiting import MoneyFreed
from modelbridge.store.database import Database
from modelbridge.upstream.client import UpstreamClient
from modelbridge.upstream.health import Health

MAX_DRAINS = 64


@dataclass(slots=True)
class Gateway:
    """The gateway of one process. `boot_id` owns the holds that it places.

    `unsettled`: settlements that the database refused; the sweeper tries them again. `leaving`:
    it is about to stop and says so, but still takes calls; `draining`: it takes none any more.
    """

    settings: Settings
    database: Database
    catalog: CatalogCache
    upstreams: UpstreamClient
    health: Health
    boot_id: str
    flights: Flights
    slots: Slots
    rates: RateLimits = field(default_factory=RateLimits)
    pump: Pump = field(default_factory=Pump)
    money_freed: MoneyFreed = field(default_factory=MoneyFreed)
    drains: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MAX_DRAINS))
    known_prices: set[str] = field(default_factory=set)
    unsettled: list[Callable[[], object]] = field(default_factory=list)
    leaving: threading.Event = field(default_factory=threading.Event)
    draining: threading.Event = field(default_factory=threading.Event)
    meters: Meters = field(default_factory=Meters)
