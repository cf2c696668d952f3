"""What administrators set for everybody: who may register, the second step, time zones."""

from zoneinfo import available_timezones

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from wtforms import BooleanField, Field, RadioField, SelectChoice, StringField

from modelbridge.dashboard import mail
from modelbridge.dashboard.admin.guard import pages
from modelbridge.dashboard.audit import note
from modelbridge.dashboard.forms import Form, check
from modelbridge.dashboard.services import bridge
from modelbridge.identity import preferences


class SettingsForm(Form):
    """The settings of the bridge."""

    registration = RadioField(
        "Who may register",
        choices=[
            SelectChoice("open", "Anybody"),
            SelectChoice("invitation", "Who was invited"),
            SelectChoice("closed", "Nobody"),
        ],
    )
    second_step = BooleanField(
        "Everybody needs a second step to log in",
        description="Who has none is led to set it up before anything else. Keys go on working.",
    )
    time_zone = StringField(
        "Time zone of new accounts",
        description="Days of limits and statements begin there at midnight. Existing accounts "
        "keep theirs.",
        render_kw={"list": "time-zones", "autocomplete": "off", "spellcheck": "false"},
    )

    def validate_time_zone(self, field: Field) -> None:
        """A name of the time zone database."""
        check(preferences.check_time_zone, (field.data or "").strip())


@pages.route("/settings", methods=["GET", "POST"], endpoint="settings")
def show() -> ResponseReturnValue:
    """The form; POST changes what differs."""
    with bridge().database.reading() as session:
        now = {
            "registration": preferences.registration(session),
            "second_step": preferences.needs_second_step(session),
            "time_zone": preferences.default_time_zone(session),
        }
    form = SettingsForm(data=now if request.method == "GET" else None)
    if form.validate_on_submit():
        wanted = {
            "registration": form.registration.data,
            "second_step": form.second_step.data,
            "time_zone": form.time_zone.data.strip(),
        }
        changed = {name: value for name, value in wanted.items() if value != now[name]}
        with bridge().database.transaction() as session:
            preferences.set_registration(session, wanted["registration"])
            preferences.set_needs_second_step(session, wanted["second_step"])
            preferences.set_default_time_zone(session, wanted["time_zone"])
            for name, value in changed.items():
                note(session, "setting.change", "setting", name, name, before=now[name], now=value)
        flash("The settings are saved." if changed else "Nothing was changed.", "success")
        return redirect(url_for("admin.settings"), 303)
    page = render_template(
        "admin/settings.html",
        form=form,
        time_zones=sorted(available_timezones()),
        settings=bridge().settings,
        sends_mail=mail.is_set_up(),
    )
    return page, 400 if form.errors else 200
