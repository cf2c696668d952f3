"""The exchange rate: what holds, what held, a new one."""

from flask import flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from wtforms import Field, StringField
from wtforms.validators import InputRequired

from modelbridge.catalog import fx
from modelbridge.dashboard.admin.guard import pages
from modelbridge.dashboard.audit import note
from modelbridge.dashboard.filters import aud
from modelbridge.dashboard.forms import Form, check
from modelbridge.dashboard.services import bridge
from modelbridge.money import format_amount, parse_amount
from modelbridge.store.tables import FxVersion

_SHOWN = 200


class RateForm(Form):
    """Australian dollars for one US dollar."""

    rate = StringField(
        "AUD for 1 USD",
        [InputRequired("Enter a rate such as 1.53.")],
        description="Holds from the next call on. Calls that run keep the rate they began with.",
        render_kw={"inputmode": "decimal", "autocomplete": "off"},
    )

    def validate_rate(self, field: Field) -> None:
        """A positive decimal."""
        check(_read_rate, field.data)


@pages.route("/exchange-rate", methods=["GET", "POST"], endpoint="fx")
def rate() -> ResponseReturnValue:
    """The history with the form above it; POST makes a new version."""
    form = RateForm()
    if form.validate_on_submit():
        try:
            with bridge().database.transaction() as session:
                before = fx.current(session)
                made = fx.set_rate(session, _read_rate(form.rate.data))
                note(
                    session,
                    "fx.set",
                    "fx",
                    str(made.version),
                    f"{format_amount(made.aud_per_usd_nanos)} AUD per USD",
                    before=format_amount(before.aud_per_usd_nanos),
                )
        except ValueError as error:
            form.blame(error)
        else:
            flash(f"1 USD is {aud(made.aud_per_usd_nanos)} from the next call on.", "success")
            return redirect(url_for("admin.fx"), 303)
    with bridge().database.reading() as session:
        newest = select(FxVersion).order_by(FxVersion.version.desc()).limit(_SHOWN)
        history = list(session.scalars(newest))
    page = render_template(
        "admin/fx.html",
        form=form,
        history=history,
        shipped=fx.SHIPPED,
        shipped_date=fx.SHIPPED_DATE,
    )
    return page, 400 if form.errors else 200


def _read_rate(text: str) -> int:
    nanos = parse_amount(text, what="rate")
    if nanos <= 0:
        raise ValueError("rate: enter a number above 0, such as 1.53")
    return nanos
