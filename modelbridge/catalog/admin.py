"""Upstreams and models as the operator arranges them. Nothing here calls the network.

Base URLs arrive checked (upstream/addresses.py, at the edges); credentials arrive sealed.
"""

import re
from collections.abc import Callable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.catalog.prices import operator_price
from modelbridge.catalog.providers import PROVIDERS
from modelbridge.store.tables import Model, Route, Upstream

_UPSTREAM_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
ON_HANG_UP = ("auto", "drain", "close")
_MAX_NAME = 200
_MAX_TOKENS = 1_000_000_000


def add_upstream(
    session: Session,
    *,
    name: str,
    provider: str,
    base_url: str | None,
    allow_private: bool,
    sealed_credential: Callable[[str], str | None],
) -> Upstream:
    """A new upstream, serving its provider's known models from the next call on.

    `allow_private`: it may be at an address of this machine or a private network.
    `sealed_credential` is given the upstream's id, to which the seal is bound. Raises ValueError
    naming the field.
    """
    if _UPSTREAM_NAME.fullmatch(name) is None:
        raise ValueError(
            f"name: {name!r} is not an upstream's name; use 1 to 63 of a-z 0-9 . _ - "
            "and begin with a letter or digit"
        )
    if find_upstream(session, name) is not None:
        raise ValueError(f"name: an upstream named {name} exists already")
    if provider not in PROVIDERS:
        raise ValueError(f"provider: {provider!r} is not one of {', '.join(PROVIDERS)}")
    address = base_url or PROVIDERS[provider].base_url
    if not address:
        raise ValueError(f"base URL: {provider} has none of its own; give one")
    row = Upstream(
        id=ids.new_id("up"),
        name=name,
        provider=provider,
        base_url=address.rstrip("/"),
        allow_private=allow_private,
        created_at=clock.now(),
    )
    row.credential = sealed_credential(row.id)
    session.add(row)
    session.flush()
    return row


def list_upstreams(session: Session) -> list[Upstream]:
    """All upstreams in the order in which they were added."""
    return list(session.scalars(select(Upstream).order_by(Upstream.created_at, Upstream.id)))


def find_upstream(session: Session, name: str) -> Upstream | None:
    """The upstream of that name, or None."""
    return session.scalars(select(Upstream).where(Upstream.name == name)).first()


def set_credential(session: Session, name: str, sealed: str | None) -> Upstream:
    """The upstream's calls use this sealed credential from now on. Raises ValueError: unknown."""
    row = _upstream(session, name)
    row.credential = sealed
    session.flush()
    return row


def set_on_hang_up(session: Session, name: str, what: str) -> Upstream:
    """When a client leaves in mid-stream: `auto`, `drain` or `close`. Raises ValueError."""
    if what not in ON_HANG_UP:
        raise ValueError(f"on hang-up: {what!r} is not one of {', '.join(ON_HANG_UP)}")
    row = _upstream(session, name)
    row.on_hang_up = what
    session.flush()
    return row


def set_allow_private(session: Session, name: str, allowed: bool) -> Upstream:
    """Whether it may be at a private address, from the next call on. Raises ValueError: unknown."""
    row = _upstream(session, name)
    row.allow_private = allowed
    session.flush()
    return row


def remove_upstream(session: Session, name: str) -> None:
    """The upstream is gone, and with it its place in models that have other targets.

    Raises ValueError if it is unknown or if some model has no other target: the models are named.
    """
    row = _upstream(session, name)
    leads_here = select(Route.model_name).where(Route.upstream_id == row.id)
    users = session.scalars(
        select(Model).where(Model.name.in_(leads_here)).order_by(Model.name)
    ).all()
    stranded = [m.name for m in users if all(r.upstream_id == row.id for r in m.routes)]
    if stranded:
        raise ValueError(
            f"upstream {name}: it is the only target of {', '.join(stranded)}; "
            "remove these models or give them other targets first"
        )
    for model in users:
        model.routes = [route for route in model.routes if route.upstream_id != row.id]
    session.flush()
    session.delete(row)
    session.flush()


def add_model(
    session: Session,
    *,
    name: str,
    targets: Sequence[tuple[str, str]],
    prices: dict[str, str] | None = None,
    free: bool = False,
    context_window: int | None = None,
    max_output: int | None = None,
) -> Model:
    """The public model `name` leads to these (upstream name, upstream's model), tried in order.

    `prices` are decimal USD per million tokens (see `prices.operator_price`); None: the package's.
    A model of that name is replaced and keeps its age. Raises ValueError naming the field.
    """
    _check_name("model", name)
    if prices is not None:
        if free:
            raise ValueError("free: a free model has no prices; give one or the other")
        operator_price(prices)
    _check_tokens("context window", context_window)
    _check_tokens("max output", max_output)
    routes = _routes(session, targets)
    row = session.get(Model, name)
    if row is None:
        row = Model(name=name, created_at=clock.now())
        session.add(row)
    row.prices = dict(prices) if prices is not None else None
    row.free = free
    row.context_window = context_window
    row.max_output = max_output
    row.routes = routes
    session.flush()
    return row


def remove_model(session: Session, name: str) -> None:
    """The name that the operator added is gone. Raises ValueError if there is none."""
    session.delete(_model(session, name))
    session.flush()


def list_models(session: Session) -> list[Model]:
    """The models that the operator added, by name."""
    return list(session.scalars(select(Model).order_by(Model.name)))


def _upstream(session: Session, name: str) -> Upstream:
    row = find_upstream(session, name)
    if row is None:
        raise ValueError(f"upstream: there is none named {name!r}")
    return row


def _model(session: Session, name: str) -> Model:
    row = session.get(Model, name)
    if row is None:
        raise ValueError(f"model: {name!r} was not added here")
    return row


def _routes(session: Session, targets: Sequence[tuple[str, str]]) -> list[Route]:
    if not targets:
        raise ValueError("upstream: a model needs at least one")
    if len(set(targets)) != len(targets):
        raise ValueError("upstream: the same target is given twice")
    routes = []
    for position, (upstream_name, upstream_model) in enumerate(targets):
        _check_name("upstream model", upstream_model)
        upstream = _upstream(session, upstream_name)
        routes.append(Route(position=position, upstream=upstream, upstream_model=upstream_model))
    return routes


def _check_name(what: str, name: str) -> None:
    printable = name.isprintable() and not any(character.isspace() for character in name)
    if not (0 < len(name) <= _MAX_NAME and printable):
        raise ValueError(f"{what}: {name!r} is not a name; use 1 to 200 characters without spaces")


def _check_tokens(what: str, tokens: int | None) -> None:
    if tokens is not None and (type(tokens) is not int or not 1 <= tokens <= _MAX_TOKENS):
        raise ValueError(f"{what}: {tokens!r} must be a whole number of tokens, at least 1")
