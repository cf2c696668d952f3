"""The pages of the documentation, written for this very bridge, and what people think of them."""

from dataclasses import dataclass

from flask import Blueprint, abort, current_app, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from wtforms import RadioField, SelectChoice, TextAreaField
from wtforms.validators import InputRequired, Length

from modelbridge import clock, ids
from modelbridge.catalog import fx
from modelbridge.dashboard import access, examples
from modelbridge.dashboard.docs.errors import error_rows
from modelbridge.dashboard.forms import Form
from modelbridge.dashboard.services import bridge, catalog
from modelbridge.store.tables import Feedback
from modelbridge.upstream.sandbox import SCENARIO_MODELS

pages = Blueprint("docs", __name__, url_prefix="/docs")

TITLES = {
    "quickstart": "Quickstart",
    "authentication": "Authentication",
    "errors": "Errors",
    "models": "Models",
    "billing": "Billing",
    "sdks": "SDKs and tools",
}
# What every provider's catalogue has, for a bridge that offers nothing yet: test keys can call it.
_FALLBACK_MODEL = "claude-sonnet-4-6"


class FeedbackForm(Form):
    """Was this page helpful?"""

    helpful = RadioField(
        "Was this page helpful?",
        [InputRequired("Choose yes or no.")],
        choices=[SelectChoice("yes", "Yes"), SelectChoice("no", "No")],
    )
    comment = TextAreaField(
        "What is missing or wrong?",
        [Length(max=2000, message="At most 2,000 characters.")],
        render_kw={"rows": 2, "maxlength": 2000},
    )


@dataclass(frozen=True, slots=True)
class Here:
    """What is true of this bridge: the pages are written from it.

    `model` is one that it offers (`is_offered`), else one that test keys can call.
    """

    base_url: str
    public_url: str
    model: str
    is_offered: bool
    aud_per_usd_nanos: int
    is_shipped_rate: bool
    speaks_anthropic: bool
    max_body_mebibytes: int
    budget_wait_seconds: float


@pages.get("")
def index() -> ResponseReturnValue:
    """To the first page."""
    return redirect(url_for("docs.show", page="quickstart"))


@pages.get("/<page>")
def show(page: str) -> ResponseReturnValue:
    """One page, with the question at its end."""
    if page not in TITLES:
        abort(404)
    return _render(page, FeedbackForm())


@pages.post("/<page>/feedback")
def answer(page: str) -> ResponseReturnValue:
    """What somebody thinks of the page is kept for the administrators."""
    if page not in TITLES:
        abort(404)
    form = FeedbackForm()
    if not form.validate_on_submit():
        return _render(page, form), 400
    with bridge().database.transaction() as session:
        session.add(
            Feedback(
                id=ids.new_id("fb"),
                page=page,
                helpful=form.helpful.data == "yes",
                comment=(form.comment.data or "").strip(),
                user_id=access.the_user().id,
                created_at=clock.now(),
            )
        )
    flash("Thank you. The administrators of this bridge read it.", "success")
    return redirect(url_for("docs.show", page=page), 303)


def _render(page: str, form: FeedbackForm) -> str:
    return render_template(
        f"docs/{page}.html",
        page=page,
        titles=TITLES,
        form=form,
        here=_here(),
        errors=error_rows() if page == "errors" else (),
        scenarios=SCENARIO_MODELS,
    )


def _here() -> Here:
    settings = bridge().settings
    with bridge().database.reading() as session:
        offers = catalog(session)
    model = examples.liked(offers.names())
    return Here(
        base_url=settings.base_url,
        public_url=settings.public_url,
        model=model or _FALLBACK_MODEL,
        is_offered=model is not None,
        aud_per_usd_nanos=offers.aud_per_usd_nanos,
        is_shipped_rate=offers.fx_source == fx.SHIPPED,
        speaks_anthropic=any(
            rule.rule == "/v1/messages" for rule in current_app.url_map.iter_rules()
        ),
        max_body_mebibytes=settings.max_body_bytes // 2**20,
        budget_wait_seconds=settings.budget_wait_seconds,
    )
