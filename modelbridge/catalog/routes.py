"""What can be called: public model names and their targets, prices and limits, as a snapshot.

Models that the operator added come first. Then every upstream serves its provider's known models,
in the order in which the upstreams were added: the first that knows a name serves it, alone.
"""

import difflib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.catalog import fx, prices
from modelbridge.catalog.admin import list_models, list_upstreams
from modelbridge.catalog.limits import MODELS, UNKNOWN_MAX_OUTPUT
from modelbridge.catalog.providers import PROVIDERS, Provider
from modelbridge.money import Price, Rates
from modelbridge.store.tables import CatalogState, Model, Upstream
from modelbridge.wire.target import KindName, Target

_MAX_NAME = 200
_REMEMBERED = 4096
_NO_WINDOW = 2**63 - 1
_VECTORS: frozenset[KindName] = frozenset({"embeddings"})
_TEXT: frozenset[KindName] = frozenset({"chat", "completions"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """One target of a model, with what a call there costs and how much it can hold.

    `price` None: not known, and a live key cannot call it; `price_version` is "" then. `free`: the
    operator marked the model free, or the package states 0 for input and output. `context_window`
    and `max_output` are in tokens; where nobody knows the latter it is 4,096. `kinds`: what the
    model can be asked for there.
    """

    target: Target
    price: Price | None
    price_version: str
    price_source: str
    free: bool
    context_window: int | None
    max_output: int
    max_output_known: bool
    kinds: frozenset[KindName] = _TEXT


@dataclass(frozen=True, slots=True)
class Offered:
    """A public model: its targets in the order in which they are tried."""

    name: str
    offers: tuple[Offer, ...]
    created_at: datetime
    title: str


@dataclass(frozen=True, slots=True)
class _Instance:
    """An upstream and its provider's row."""

    id: str
    name: str
    base_url: str
    created_at: datetime
    provider: Provider
    on_hang_up: str
    credential: str | None = field(repr=False)
    allow_private: bool

    def target(self, model: str) -> Target:
        return Target(
            upstream_id=self.id,
            upstream=self.name,
            provider=self.provider.name,
            dialect=self.provider.dialect,
            base_url=self.base_url,
            auth=self.provider.auth,
            model=model,
            quirks=self.provider.quirks,
            cancel_stops_billing=self._cancels,
            endpoints=MODELS.endpoints(self.provider, model),
            credential=self.credential,
            allow_private=self.allow_private,
        )

    @property
    def _cancels(self) -> bool:
        """Whether to close the connection when the client has left; the operator may say."""
        if self.on_hang_up == "auto":
            return self.provider.cancel_stops_billing
        return self.on_hang_up == "close"


@dataclass(frozen=True, slots=True)
class _Added:
    """A model that the operator added; `own_price` overrides the package's."""

    name: str
    targets: tuple[tuple[_Instance, str], ...]
    own_price: Price | None
    free: bool
    context_window: int | None
    max_output: int | None
    created_at: datetime


@dataclass(frozen=True)
class Catalog:
    """What can be called at one version of the operator's arrangement. Prices follow the clock."""

    version: int
    fx_version: int
    aud_per_usd_nanos: int
    fx_source: str
    _added: Mapping[str, _Added]
    _instances: tuple[_Instance, ...]
    _memory: dict[str, tuple[datetime, Offered | None]] = field(default_factory=dict, compare=False)

    def offered(self, name: str) -> Offered | None:
        """The model of exactly that name with its prices of this minute; None: no such model."""
        if len(name) > _MAX_NAME:
            return None
        minute = clock.now().replace(second=0, microsecond=0)
        remembered = self._memory.get(name)
        if remembered is None or remembered[0] != minute:
            if len(self._memory) >= _REMEMBERED:
                self._memory.clear()
            remembered = self._memory[name] = (minute, self._offered(name, minute))
        return remembered[1]

    def names(self, kind: KindName | None = None) -> list[str]:
        """Every concrete name that a live key may call (for calls of that kind), sorted.

        Dated snapshots of them (`claude-haiku-4-5-20251001`) and retired models may be called as
        well: the upstream has the last word on these.
        """
        return [name for name in self._names if kind is None or self.is_for(name, kind)]

    def is_for(self, name: str, kind: KindName) -> bool:
        """Whether a known model can be asked for that; its provider need not be here."""
        if (offered := self.offered(name)) is not None:
            return any(kind in offer.kinds for offer in offered.offers)
        stated = (MODELS.kinds(provider, name) for provider in PROVIDERS)
        return kind in next((kinds for kinds in stated if kinds is not None), _TEXT)

    def known(self, name: str) -> bool:
        """Whether the operator added the model or any provider's catalogue has it."""
        if len(name) > _MAX_NAME:
            return False
        now = clock.now()
        return name in self._added or any(_serves(p, name, now) for p in PROVIDERS.values())

    def known_names(self) -> list[str]:
        """Every listed name of every provider's catalogue, and those that the operator added."""
        return list(self._known_names)

    def nearest(self, name: str, *, among_known: bool = False) -> list[str]:
        """Up to 3 names like this one, best first, of `names()` (or of `known_names()`)."""
        names = self._known_names if among_known else self._names
        return difflib.get_close_matches(name[:_MAX_NAME], names, n=3, cutoff=0.6)

    @cached_property
    def _names(self) -> list[str]:
        priced = {name for name, added in self._added.items() if _can_be_called(added)}
        implicit = (_listed(instance.provider) for instance in self._instances)
        return sorted(priced.union(*implicit) - (self._added.keys() - priced))

    @cached_property
    def _known_names(self) -> list[str]:
        return sorted(set(self._added).union(*(_listed(p) for p in PROVIDERS.values())))

    def _offered(self, name: str, at: datetime) -> Offered | None:
        if added := self._added.get(name):
            return _offer_added(added, at)
        for instance in self._instances:
            if _serves(instance.provider, name, at):
                return _offer_known(instance, name, at)
        return None


def load(session: Session) -> Catalog:
    """The snapshot of this session's state. Needs an exchange rate (`fx.ensure_fx`)."""
    state = session.scalars(select(CatalogState)).first()
    rate = fx.current(session)
    instances = {row.id: found for row in list_upstreams(session) if (found := _instance(row))}
    return Catalog(
        version=state.version if state else 0,
        fx_version=rate.version,
        aud_per_usd_nanos=rate.aud_per_usd_nanos,
        fx_source=rate.source,
        _added={row.name: _read_model(row, instances) for row in list_models(session)},
        _instances=tuple(instances.values()),
    )


def target_of(row: Upstream, model: str = "") -> Target | None:
    """The way to that model at an upstream; None if this release has no such provider."""
    instance = _instance(row)
    return instance.target(model) if instance else None


class CatalogCache:
    """The snapshot of the newest version that was asked for; many threads share it."""

    def __init__(self, read: Callable[[], AbstractContextManager[Session]]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._catalog: Catalog | None = None

    def at(self, version: int) -> Catalog:
        """The catalog at that version, read anew if the one at hand is of another."""
        catalog = self._catalog
        if catalog is not None and catalog.version == version:
            return catalog
        with self._lock:
            if self._catalog is None or self._catalog.version != version:
                with self._read() as session:
                    self._catalog = load(session)
            return self._catalog


def _instance(row: Upstream) -> _Instance | None:
    """None if this release has no such provider: its upstreams then serve nothing."""
    provider = PROVIDERS.get(row.provider)
    if provider is None:
        _log.warning("upstream %s: unknown provider %s, left out", row.name, row.provider)
        return None
    return _Instance(
        id=row.id,
        name=row.name,
        base_url=row.base_url,
        created_at=row.created_at,
        provider=provider,
        on_hang_up=row.on_hang_up,
        credential=row.credential,
        allow_private=row.allow_private,
    )


def _read_model(row: Model, instances: Mapping[str, _Instance]) -> _Added:
    own_price = Price(Rates()) if row.free else None
    if row.prices is not None:
        own_price = prices.operator_price(row.prices)
    return _Added(
        name=row.name,
        targets=tuple(
            (instances[route.upstream_id], route.upstream_model)
            for route in row.routes
            if route.upstream_id in instances
        ),
        own_price=own_price,
        free=row.free,
        context_window=row.context_window,
        max_output=row.max_output,
        created_at=row.created_at,
    )


def _serves(provider: Provider, name: str, at: datetime) -> bool:
    """Whether an upstream of that provider serves the name without being told to."""
    return (
        provider.price_provider is not None
        and MODELS.is_served(provider.name, name)
        and _has_endpoint(provider, name)
        and prices.package_price(provider.price_provider, name, at) is not None
    )


def _listed(provider: Provider) -> Iterable[str]:
    if provider.price_provider is None:
        return ()
    names = prices.package_names(provider.price_provider, clock.now())
    return [
        name
        for name in names
        if MODELS.is_listed(provider.name, name) and _has_endpoint(provider, name)
    ]


def _has_endpoint(provider: Provider, name: str) -> bool:
    """Whether the provider takes what a model of that name is for."""
    return "embeddings" in provider.endpoints or not MODELS.is_embedding(name)


def _can_be_called(added: _Added) -> bool:
    if added.own_price is not None:
        return bool(added.targets)
    now = clock.now()
    return any(_package_price(i.provider, model, now) is not None for i, model in added.targets)


def _package_price(provider: Provider, model: str, at: datetime) -> Price | None:
    if provider.price_provider is None:
        return None
    return prices.package_price(provider.price_provider, model, at)


def _offer_added(added: _Added, at: datetime) -> Offered | None:
    """None when no target is left."""
    offers = tuple(
        _offer(
            added.name,
            instance,
            model,
            added.own_price
            if added.own_price is not None
            else _package_price(instance.provider, model, at),
            source=prices.OPERATOR if added.own_price is not None else prices.package_source(),
            free=added.free,
            context_window=added.context_window,
            max_output=added.max_output,
        )
        for instance, model in added.targets
    )
    return Offered(added.name, offers, added.created_at, added.name) if offers else None


def _offer_known(instance: _Instance, name: str, at: datetime) -> Offered:
    price = _package_price(instance.provider, name, at)
    offer = _offer(name, instance, name, price, source=prices.package_source())
    entry = prices.find(instance.provider.price_provider or "", name)
    title = (entry.title if entry else "") or name
    return Offered(name, (offer,), instance.created_at, title)


def _offer(
    name: str,
    instance: _Instance,
    model: str,
    price: Price | None,
    *,
    source: str,
    free: bool = False,
    context_window: int | None = None,
    max_output: int | None = None,
) -> Offer:
    """The operator's word counts first, then models.toml's, then the package's."""
    provider = instance.provider
    kinds = _kinds(instance, model, name, price)
    limits = MODELS.limits(provider.name, model)
    entry = prices.find(provider.price_provider, model) if provider.price_provider else None
    window = context_window or limits.context_window or (entry.context_window if entry else None)
    longest = max_output or limits.max_output
    stated_free = price is not None and source != prices.OPERATOR and prices.is_zero(price)
    return Offer(
        target=instance.target(model),
        price=price,
        price_version=prices.version_of(name, price, source) if price is not None else "",
        price_source=source if price is not None else "",
        free=free or stated_free,
        context_window=window,
        max_output=min(longest or UNKNOWN_MAX_OUTPUT, window or _NO_WINDOW),
        max_output_known=longest is not None,
        kinds=kinds,
    )


def _kinds(instance: _Instance, model: str, name: str, price: Price | None) -> frozenset[KindName]:
    """What a model is for there: its names tell, else its price.

    A model whose output costs money writes text; one whose output costs nothing may as well make
    vectors. Vectors need an upstream whose provider has them.
    """
    provider = instance.provider
    found = MODELS.kinds(provider.name, model) or MODELS.kinds(provider.name, name)
    if found is None:
        writes = price is not None and price.rates.output > 0
        found = _TEXT if writes else _TEXT | _VECTORS
    return found if "embeddings" in provider.endpoints else found - _VECTORS
