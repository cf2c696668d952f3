"""The form that makes an API key, and how its words become a key's fields."""

import re
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from wtforms import (
    DateField,
    Field,
    HiddenField,
    RadioField,
    SelectChoice,
    SelectField,
    StringField,
)
from wtforms.validators import InputRequired, Optional

from modelbridge import clock
from modelbridge.dashboard.forms import Form, check
from modelbridge.identity import keys
from modelbridge.money import parse_amount

_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_PRESET_DAYS = (7, 30, 90)


class KeyForm(Form):
    """Name, kind, limit, expiry, models. `form_id` tells a reloaded answer from a new wish."""

    name = StringField(
        "Name",
        [InputRequired("Give the key a name.")],
        description="Where it will be used, such as “Laptop” or “Nightly reports”.",
        render_kw={"maxlength": keys.MAX_NAME, "autocomplete": "off", "autofocus": True},
    )
    mode = RadioField(
        "Kind", choices=[SelectChoice("live", "Live"), SelectChoice("test", "Test")], default="live"
    )
    limit = StringField(
        "Spending limit",
        description="At the limit, calls get 429 until the period is over. Without one, the key "
        "may spend all of your balance.",
        render_kw={"inputmode": "decimal", "autocomplete": "off", "placeholder": "No limit"},
    )
    window = SelectField(
        "Period of the limit",
        choices=[
            SelectChoice("none", "in total"),
            SelectChoice("day", "per day"),
            SelectChoice("week", "per week"),
            SelectChoice("month", "per month"),
        ],
        default="none",
    )
    expires = SelectField("Expires", default="never")
    expires_on = DateField("Last day", [Optional()], description="The key works until it ends.")
    models = StringField(
        "Allowed models",
        description="Names separated by commas. Empty means every model.",
        render_kw={"autocomplete": "off", "spellcheck": "false", "placeholder": "Every model"},
    )
    form_id = HiddenField()

    def __init__(self, time_zone: str, **kwargs: Any) -> None:
        """Days are counted in that time zone: the one of the account that will pay."""
        super().__init__(**kwargs)
        self._time_zone = time_zone
        self._today = clock.now().astimezone(ZoneInfo(time_zone)).date()
        self.expires.choices = [
            SelectChoice("never", "Never"),
            *(self._preset(days) for days in _PRESET_DAYS),
            SelectChoice("date", "On a day of your choice"),
        ]
        self.expires_on.render_kw = {"min": self._today.isoformat()}

    def validate_limit(self, field: Field) -> None:
        """Empty, or an amount of AUD."""
        check(_read_limit, field.data)

    def validate(self, extra_validators: Any = None) -> bool:
        """Whether everything fits; a day must be chosen only if the expiry asks for one."""
        fits: bool = super().validate(extra_validators)
        if self.expires.data == "date" and not self.expires_on.errors:
            if self.expires_on.data is None:
                self.blame(ValueError("expires_on: choose the day"))
                return False
            if self.expires_on.data < self._today:
                self.blame(ValueError("expires_on: that day is over; choose one to come"))
                return False
        return fits

    def key_fields(self) -> dict[str, Any]:
        """What `keys.create_key` wants, of a form that is valid."""
        names = [name.strip() for name in (self.models.data or "").split(",")]
        return {
            "name": self.name.data,
            "test": self.mode.data == "test",
            "limit_nanos": _read_limit(self.limit.data),
            "window": self.window.data,
            "expires_at": self._expires_at(),
            "models": [name for name in names if name] or None,
        }

    def _expires_at(self) -> datetime | None:
        """The end of the chosen day."""
        choice = self.expires.data
        if choice == "never":
            return None
        day = self.expires_on.data if choice == "date" else self._day(int(choice))
        return keys.read_expiry(day.isoformat(), self._time_zone)

    def _preset(self, days: int) -> SelectChoice:
        day = self._day(days)
        return SelectChoice(str(days), f"In {days} days ({day.day} {day:%b %Y})")

    def _day(self, days: int) -> date:
        return self._today + timedelta(days=days)


def _read_limit(text: str | None) -> int | None:
    stripped = (text or "").strip()
    if not stripped:
        return None
    if _DECIMAL.fullmatch(stripped) is None:
        raise ValueError("limit: enter an amount in AUD such as 5 or 12.50, or leave it empty")
    return parse_amount(stripped, what="limit")
