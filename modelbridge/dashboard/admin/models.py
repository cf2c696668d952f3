"""Models that the administrators added: their targets and prices, every price a version."""

from dataclasses import dataclass

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.catalog import admin, routes
from modelbridge.catalog.routes import Offered
from modelbridge.dashboard.admin.guard import PAGE_SIZE, page_of, pages, search_words
from modelbridge.dashboard.admin.model_form import ModelForm
from modelbridge.dashboard.admin.users import Action
from modelbridge.dashboard.audit import note
from modelbridge.dashboard.forms import sentence
from modelbridge.dashboard.services import bridge, catalog
from modelbridge.money import Price
from modelbridge.store.tables import Model, PriceVersion


@dataclass(frozen=True, slots=True)
class ModelRow:
    """An added model, and what callers get of it (None: it has no target left)."""

    row: Model
    offered: Offered | None


@pages.get("/models", endpoint="models")
def index() -> ResponseReturnValue:
    """What was added here, by name, 50 a page."""
    words, after = search_words(), request.args.get("after", "")
    found = select(Model).where(Model.name > after).order_by(Model.name).limit(PAGE_SIZE + 1)
    if words:
        found = found.where(Model.name.icontains(words, autoescape=True))
    with bridge().database.reading() as session:
        rows, last = page_of(list(session.scalars(found)))
        offers = catalog(session)
        lines = [ModelRow(row, offers.offered(row.name)) for row in rows]
        known = len(offers.names())
    return render_template(
        "admin/models.html", rows=lines, known=known, words=words, after=last and last.name
    )


@pages.route("/models/new", methods=["GET", "POST"], endpoint="model_new")
def create() -> ResponseReturnValue:
    """A new model, or a known one under the operator's own price."""
    return _edit(None)


@pages.route("/models/edit/<path:name>", methods=["GET", "POST"], endpoint="model_edit")
def change(name: str) -> ResponseReturnValue:
    """The model as it is, with the prices that it ever had; POST changes it."""
    with bridge().database.reading() as session:
        row = session.get(Model, name) or abort(404)
    return _edit(row)


@pages.route("/models/remove/<path:name>", methods=["GET", "POST"], endpoint="model_remove")
def remove(name: str) -> ResponseReturnValue:
    """GET asks, POST removes the name."""
    if request.method != "POST":
        with bridge().database.reading() as session:
            row = session.get(Model, name) or abort(404)
        return render_template(
            "admin/confirm.html",
            ask=REMOVE,
            title=REMOVE.title.format(row.name),
            back=url_for("admin.models"),
        )
    try:
        with bridge().database.transaction() as session:
            admin.remove_model(session, name)
            note(session, "model.remove", "model", name, name)
    except ValueError as error:
        flash(sentence(error), "warning")
    else:
        flash(f"{name} is removed.", "success")
    return redirect(url_for("admin.models"), 303)


REMOVE = Action(
    "Remove {}?",
    "Calls of that name get 404 from now on, unless an upstream knows a model of the same name by "
    "itself. Receipts and prices stay on record.",
    "Remove model",
    danger=True,
)


def _edit(row: Model | None) -> ResponseReturnValue:
    with bridge().database.reading() as session:
        upstreams = [found.name for found in admin.list_upstreams(session)]
        versions = _versions(session, row.name) if row else []
    form = ModelForm(upstreams, row)
    if form.validate_on_submit():
        try:
            unpriced = _save(form, row)
        except ValueError as error:
            form.blame(error)
        else:
            _tell(form.name.data.strip(), unpriced)
            return redirect(url_for("admin.models"), 303)
    page = render_template(
        "admin/model_edit.html", form=form, row=row, versions=versions, upstreams=upstreams
    )
    return page, 400 if form.errors else 200


def _save(form: ModelForm, before: Model | None) -> list[str]:
    """Saves; returns the targets that have no price. Raises ValueError naming the field."""
    fields = form.model_fields()
    with bridge().database.transaction() as session:
        if before is not None and fields["name"] != before.name:
            admin.remove_model(session, before.name)
        made = admin.add_model(session, **fields)
        offered = routes.load(session).offered(made.name)
        _keep_prices(session, offered)
        note(
            session,
            "model.change" if before else "model.add",
            "model",
            made.name,
            made.name,
            targets=[f"{upstream}/{model}" for upstream, model in fields["targets"]],
            prices=fields["prices"],
            free=fields["free"],
        )
    offers = offered.offers if offered else ()
    return [f"{o.target.upstream}/{o.target.model}" for o in offers if o.price is None]


def _keep_prices(session: Session, offered: Offered | None) -> None:
    """Prices are on record from the moment that they hold, not only from the first call on."""
    for offer in offered.offers if offered else ():
        if offer.price is not None and session.get(PriceVersion, offer.price_version) is None:
            session.add(
                PriceVersion(
                    id=offer.price_version,
                    model=offered.name if offered else "",
                    source=offer.price_source,
                    price=offer.price.to_json(),
                    created_at=clock.now(),
                )
            )
            session.flush()


def _tell(name: str, unpriced: list[str]) -> None:
    flash(f"{name} is saved, and holds from the next call on.", "success")
    if unpriced:
        flash(
            f"{', '.join(unpriced)} has no known price, so live keys are refused there: enter the "
            "prices, or mark the model free.",
            "warning",
        )


def _versions(session: Session, name: str) -> list[tuple[PriceVersion, Price]]:
    newest = select(PriceVersion).where(PriceVersion.model == name)
    rows = session.scalars(newest.order_by(PriceVersion.created_at.desc()).limit(100))
    return [(row, Price.from_json(row.price)) for row in rows]
