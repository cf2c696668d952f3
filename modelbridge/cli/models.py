"""`flask model …`: what can be called, and what it costs."""

from collections.abc import Iterator

import click
from sqlalchemy.orm import Session

from modelbridge.catalog import admin, routes
from modelbridge.catalog.routes import Catalog, Offer
from modelbridge.cli.common import Group, bridge, note, transaction
from modelbridge.cli.output import hint, shown, table
from modelbridge.money import format_amount


@click.group("model", cls=Group)
def model() -> None:
    """Models: public names, and the upstreams that answer to them."""


@model.command("add")
@click.argument("public")
@click.option(
    "--upstream",
    "upstreams",
    metavar="NAME",
    multiple=True,
    required=True,
    help="Where it is; repeat it, with --upstream-model, for places to try in turn.",
)
@click.option(
    "--upstream-model",
    "upstream_models",
    metavar="M",
    multiple=True,
    help="What it is called there; PUBLIC if left out.",
)
@click.option("--input", "input_usd", metavar="USD", help="Price of a million input tokens.")
@click.option("--output", "output_usd", metavar="USD", help="Price of a million output tokens.")
@click.option("--cache-read", metavar="USD", help="Of tokens read from a cache; else as input.")
@click.option("--cache-write", metavar="USD", help="Of tokens written to a cache; else as input.")
@click.option("--context-window", metavar="N", type=click.IntRange(min=1), help="In tokens.")
@click.option("--max-output", metavar="N", type=click.IntRange(min=1), help="In tokens.")
@click.option("--free", is_flag=True, help="It costs nothing.")
def add(
    public: str,
    upstreams: tuple[str, ...],
    upstream_models: tuple[str, ...],
    input_usd: str | None,
    output_usd: str | None,
    cache_read: str | None,
    cache_write: str | None,
    context_window: int | None,
    max_output: int | None,
    free: bool,
) -> None:
    """Serve the model PUBLIC; what was added under that name before is replaced.

    Prices are in USD per million tokens; without any, those that are known of the model hold.
    """
    if upstream_models and len(upstream_models) != len(upstreams):
        raise click.UsageError("give --upstream-model once for each --upstream, in the same order")
    named = upstream_models or (public,) * len(upstreams)
    with transaction() as session:
        made = admin.add_model(
            session,
            name=public,
            targets=list(zip(upstreams, named, strict=True)),
            prices=_prices(free, input_usd, output_usd, cache_read, cache_write),
            free=free,
            context_window=context_window,
            max_output=max_output,
        )
        note(
            session, "model.add", "model", public, public,
            targets=[f"{r.upstream.name}/{r.upstream_model}" for r in made.routes],
            prices=made.prices, free=free,
        )  # fmt: skip
        unpriced = list(_unpriced(session, made.name))
    click.echo(f"Added {made.name}.")
    for target in unpriced:
        hint(
            f"Warning: {target} has no known price, so live keys are refused there; "
            "give --input and --output, or --free."
        )


@model.command("list")
def list_models() -> None:
    """Every model that live keys can call; prices in USD per million tokens."""
    with bridge().database.reading() as session:
        added = [row.name for row in admin.list_models(session)]
        catalog = routes.load(session)
    known = [name for name in catalog.names() if name not in added]
    table(
        (
            "MODEL",
            "ADDED BY",
            "UPSTREAM",
            "INPUT",
            "OUTPUT",
            "CACHE READ",
            "CACHE WRITE",
            "CONTEXT WINDOW",
            "MAX OUTPUT",
        ),
        [
            *(row for name in added for row in _rows(name, "you", catalog)),
            *(row for name in known for row in _rows(name, "catalogue", catalog)),
        ],
    )


@model.command("remove")
@click.argument("public")
def remove(public: str) -> None:
    """Remove what was added under the name PUBLIC."""
    with transaction() as session:
        admin.remove_model(session, public)
        note(session, "model.remove", "model", public, public)
        still = routes.load(session).offered(public)
    click.echo(f"Removed {public}.")
    if still is not None:
        hint(f"{still.offers[0].target.upstream} serves a model of that name by itself.")


def _prices(
    free: bool,
    input_usd: str | None,
    output_usd: str | None,
    cache_read: str | None,
    cache_write: str | None,
) -> dict[str, str] | None:
    """The prices that were given, by class; None: none were."""
    given = {
        "input": input_usd,
        "output": output_usd,
        "cache_read": cache_read,
        "cache_write": cache_write,
    }
    prices = {name: text for name, text in given.items() if text is not None}
    if free and prices:
        raise click.UsageError("--free means no price; leave out either it or the prices")
    if prices and not {"input", "output"} <= prices.keys():
        raise click.UsageError("a price needs both --input and --output (0 is a price)")
    return prices or None


def _unpriced(session: Session, name: str) -> Iterator[str]:
    """Where the model is served without a price, as `upstream/model`."""
    offered = routes.load(session).offered(name)
    for offer in offered.offers if offered else ():
        if offer.price is None and not offer.free:
            yield f"{offer.target.upstream}/{offer.target.model}"


def _rows(name: str, by: str, catalog: Catalog) -> Iterator[tuple[str, ...]]:
    """A row for each target, in the order in which they are tried."""
    offered = catalog.offered(name)
    if offered is None:
        yield (name, by, *("-",) * 7)
        return
    for offer in offered.offers:
        where = f"{offer.target.upstream}/{offer.target.model}"
        window = None if offer.context_window is None else str(offer.context_window)
        most = str(offer.max_output) + ("" if offer.max_output_known else " (assumed)")
        yield (name, by, where, *_rates(offer), shown(window), most)


def _rates(offer: Offer) -> tuple[str, ...]:
    if offer.price is None:
        return ("unknown",) * 4
    if offer.free:
        return ("free",) * 4
    rates = offer.price.rates
    classes = (rates.input, rates.output, rates.cache_read, rates.cache_write)
    return tuple(format_amount(rate) for rate in classes)
