"""What wants attention now, who is told of it, and a test of the way there."""

import re

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import BooleanField, IntegerField, PasswordField, StringField
from wtforms.validators import InputRequired, NumberRange, Optional

from modelbridge.dashboard.admin.guard import pages
from modelbridge.dashboard.audit import note
from modelbridge.dashboard.forms import Form
from modelbridge.dashboard.services import bridge
from modelbridge.operations.alerts import book, settings
from modelbridge.operations.alerts.settings import AlertSettings

_PLAIN = {"autocomplete": "off", "spellcheck": "false"}


class AlertsForm(Form):
    """Who is told, and from when on."""

    emails = StringField(
        "Mail to",
        description="E-mail addresses, with commas between them. Empty: every administrator.",
        render_kw=_PLAIN,
    )
    webhook_url = StringField(
        "Webhook",
        description="An https address that is sent each alert as signed JSON. Empty: none.",
        render_kw=_PLAIN | {"inputmode": "url"},
    )
    webhook_private = BooleanField(
        "Allow http, and addresses of this machine or a private network",
        description="For a receiver of your own.",
    )
    webhook_secret = PasswordField(
        "Secret of the webhook",
        description="At least 16 characters; the receiver needs the same one to check the "
        "signature. It is never shown. Empty: the one that was set before.",
        render_kw=_PLAIN,
    )
    low_balance = StringField(
        "Tell when an account has this many AUD left, or less",
        [InputRequired("Enter an amount in AUD, such as 5.")],
        render_kw=_PLAIN | {"inputmode": "decimal"},
    )
    key_percent = IntegerField(
        "Tell when a key has spent this part of its limit, in %",
        [InputRequired("Enter a whole number."), NumberRange(1, 100, "Between 1 and 100.")],
    )
    expiry_days = IntegerField(
        "Tell this many days before a key expires",
        [Optional(), NumberRange(0, 365, "Between 0 and 365.")],
    )


@pages.route("/alerts", methods=["GET", "POST"], endpoint="alerts")
def show() -> ResponseReturnValue:
    """What is so now, and the form; POST changes who is told."""
    with bridge().database.reading() as session:
        now = settings.load(session)
        standing = book.open_alerts(session)
    form = AlertsForm(data=_as_typed(now) if request.method == "GET" else None)
    if form.validate_on_submit():
        try:
            _save(form, now)
        except ValueError as error:
            form.blame(error)
        else:
            flash("Saved. A test shows whether they arrive.", "success")
            return redirect(url_for("admin.alerts"), 303)
    page = render_template(
        "admin/alerts.html",
        form=form,
        standing=standing,
        sends_mail=bool(bridge().settings.smtp_host),
        has_webhook=bool(now.webhook_url),
    )
    return page, 400 if form.errors else 200


@pages.post("/alerts/test", endpoint="alerts_test")
def test() -> ResponseReturnValue:
    """A test alert goes out by every way that is set; what came of it is told."""
    told = bridge().alerts.test()
    with bridge().database.transaction() as session:
        note(session, "alerts.test", "setting", "alerts", "alerts", told=told)
    for words in told or ["There is no way to tell anybody: set up mail, or a webhook."]:
        flash(words, "success" if words.endswith(": sent.") else "warning")
    return redirect(url_for("admin.alerts"), 303)


def _save(form: AlertsForm, before: AlertSettings) -> None:
    with bridge().database.transaction() as session:
        made = settings.save(
            session,
            bridge().settings.master_key,
            emails=re.split(r"[,;\s]+", form.emails.data or ""),
            webhook_url=form.webhook_url.data or "",
            webhook_private=form.webhook_private.data,
            webhook_secret=form.webhook_secret.data or None,
            low_balance=(form.low_balance.data or "").strip(),
            key_percent=form.key_percent.data,
            expiry_days=form.expiry_days.data or 0,
        )
        note(
            session,
            "alerts.change",
            "setting",
            "alerts",
            "alerts",
            before=settings.shown(before),
            now=settings.shown(made),
            secret_changed=bool(form.webhook_secret.data),
        )


def _as_typed(now: AlertSettings) -> dict[str, object]:
    shown = settings.shown(now)
    return shown | {"emails": ", ".join(now.emails), "webhook_secret": ""}
