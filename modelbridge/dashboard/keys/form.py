"""The forms that make and change an API key, and how their words become a key's fields."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from wtforms import (
    DateField,
    Field,
    HiddenField,
    IntegerField,
    RadioField,
    SelectChoice,
    SelectField,
    StringField,
)
from wtforms.validators import InputRequired, NumberRange, Optional

from modelbridge import clock
from modelbridge.dashboard.forms import Form, check
from modelbridge.dashboard.limit_form import LimitForm
from modelbridge.dashboard.scope import Scope
from modelbridge.identity import keys, networks
from modelbridge.identity.rates import MOST_AT_ONCE, MOST_CALLS, MOST_TOKENS, Rates
from modelbridge.identity.rotation import MOST_OVERLAP_HOURS
from modelbridge.store.tables import ApiKey

PERSONAL = "personal"
_PRESET_DAYS = (7, 30, 90)
_LIMIT_HINT = (
    "At the limit, calls get 429 until the period is over. Without one, the key may spend all of "
    "the account's balance."
)


def _count_field(label: str, what: str, most: int) -> IntegerField:
    return IntegerField(
        label,
        [
            Optional(),
            NumberRange(1, most, f"Enter a whole number of {what} from 1 to {most}, or nothing."),
        ],
        render_kw={
            "inputmode": "numeric",
            "autocomplete": "off",
            "min": 1,
            "max": most,
            "placeholder": "No limit",
        },
    )


def _parts(text: str | None) -> list[str]:
    """What stands between the commas, without blanks."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


class KeyFields(LimitForm):
    """Name, limit, expiry, models: what can be set at first and changed later."""

    name = StringField(
        "Name",
        [InputRequired("Give the key a name.")],
        description="Where it will be used, such as “Laptop” or “Nightly reports”.",
        render_kw={"maxlength": keys.MAX_NAME, "autocomplete": "off", "autofocus": True},
    )
    expires = SelectField("Expires", default="never")
    expires_on = DateField("Last day", [Optional()], description="The key works until it ends.")
    models = StringField(
        "Allowed models",
        description="Names separated by commas. Empty means every model.",
        render_kw={"autocomplete": "off", "spellcheck": "false", "placeholder": "Every model"},
    )
    rpm = _count_field("Calls a minute", "calls", MOST_CALLS)
    tpm = _count_field("Tokens a minute", "tokens", MOST_TOKENS)
    concurrency = _count_field("Calls at once", "calls", MOST_AT_ONCE)
    addresses = StringField(
        "Allowed addresses",
        description="IP addresses or networks such as 203.0.113.0/24, separated by commas. Empty "
        "means from everywhere.",
        render_kw={"autocomplete": "off", "spellcheck": "false", "placeholder": "Everywhere"},
    )

    def validate_addresses(self, field: Field) -> None:
        """Addresses and networks."""
        check(networks.read_networks, _parts(field.data))

    def __init__(self, time_zone: str, **kwargs: Any) -> None:
        """Days are counted in that time zone: the one of the account that pays."""
        super().__init__(**kwargs)
        self._time_zone = time_zone
        self._today = clock.now().astimezone(ZoneInfo(time_zone)).date()
        self.limit.description = _LIMIT_HINT
        self.expires.choices = [
            SelectChoice("never", "Never"),
            *(self._preset(days) for days in _PRESET_DAYS),
            SelectChoice("date", "On a day of your choice"),
        ]
        self.expires_on.render_kw = {"min": self._today.isoformat()}

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

    @property
    def model_names(self) -> list[str] | None:
        """The allowed models of a form that is valid; None for every model."""
        return _parts(self.models.data) or None

    @property
    def pace(self) -> dict[str, Any]:
        """The `rates` and `addresses` of a form that is valid."""
        return {
            "rates": Rates(self.rpm.data, self.tpm.data, self.concurrency.data),
            "addresses": _parts(self.addresses.data),
        }

    @property
    def has_pace(self) -> bool:
        """Whether any of the limits that most keys do without is set, or refused."""
        fields = (self.rpm, self.tpm, self.concurrency, self.addresses)
        return any(field.data or field.errors for field in fields)

    def expires_at(self) -> datetime | None:
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


class KeyForm(KeyFields):
    """A new key: also who pays and its kind. `form_id` tells a reloaded answer from a new wish."""

    account = SelectField(
        "Account",
        description="Who pays. A team's owners and admins see and manage all of its keys.",
        validate_choice=True,
    )
    mode = RadioField(
        "Kind", choices=[SelectChoice("live", "Live"), SelectChoice("test", "Test")], default="live"
    )
    form_id = HiddenField()

    def __init__(self, time_zone: str, choices: Sequence[Scope], **kwargs: Any) -> None:
        """`choices` are the accounts that may pay, the personal one among them."""
        super().__init__(time_zone, **kwargs)
        self.account.choices = [SelectChoice(account_name(scope), scope.label) for scope in choices]

    def key_fields(self) -> dict[str, Any]:
        """What `keys.create_key` wants, of a form that is valid."""
        return {
            "name": self.name.data,
            "test": self.mode.data == "test",
            "limit_nanos": self.limit_nanos,
            "window": self.window.data,
            "expires_at": self.expires_at(),
            "models": self.model_names,
            **self.pace,
        }


class EditForm(KeyFields):
    """A key that exists: its expiry may stay as it is."""

    def __init__(self, key: ApiKey, time_zone: str, **kwargs: Any) -> None:
        """Filled in with what the key has, unless something was posted."""
        super().__init__(time_zone, **kwargs)
        self._key = key
        if key.expires_at is not None:
            day = key.expires_at.astimezone(ZoneInfo(time_zone))
            label = f"As it is ({day.day} {day:%b %Y, %H:%M})"
            self.expires.choices = [SelectChoice("keep", label), *self.expires.choices]
        if not self.is_submitted():
            self.name.data = key.name
            self.show_limit(key.limit_nanos, key.limit_window)
            self.expires.data = "never" if key.expires_at is None else "keep"
            self.models.data = ", ".join(key.models or [])
            self.rpm.data, self.tpm.data, self.concurrency.data = keys.rates_of(key)
            self.addresses.data = ", ".join(key.allowed_addresses or [])

    def expires_at(self) -> datetime | None:
        """The end of the chosen day, or what it was."""
        return self._key.expires_at if self.expires.data == "keep" else super().expires_at()


class RotateForm(Form):
    """How long the old secret goes on working."""

    overlap = IntegerField(
        "Hours that the old secret still works",
        [
            InputRequired("Enter a number of hours, or 0."),
            NumberRange(0, MOST_OVERLAP_HOURS, f"Enter 0 to {MOST_OVERLAP_HOURS} hours."),
        ],
        default=24,
        description=f"From 0, which ends it at once, to {MOST_OVERLAP_HOURS}.",
        render_kw={"min": 0, "max": MOST_OVERLAP_HOURS, "inputmode": "numeric"},
    )


def account_name(scope: Scope) -> str:
    """What the form calls that account: the team's id, or `personal`."""
    return PERSONAL if scope.team is None else scope.team.id
