"""The filters of the usage page: what may be chosen, and what was."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wtforms import DateField, Form, SelectChoice, SelectField
from wtforms.validators import Optional

from modelbridge.dashboard import periods
from modelbridge.dashboard.names import NOBODY
from modelbridge.dashboard.periods import Period
from modelbridge.dashboard.usage_query import Wanted
from modelbridge.errors import BridgeError

_STATUSES = (("ok", "OK"), ("errors", "Any error"), ("left", "Client left"))


@dataclass(frozen=True, slots=True)
class Choices:
    """What there is to choose from, by id; `people` is empty where everything is one person's."""

    keys: Mapping[str, str]
    models: Iterable[str] = ()
    people: Mapping[str, str] = field(default_factory=dict)


class UsageForm(Form):  # type: ignore[misc]
    """Sent by GET, it changes nothing, so it has no token. A wrong filter is not applied."""

    period = SelectField(
        "Time",
        choices=[
            *(SelectChoice(name, label) for name, label in periods.CHOICES),
            SelectChoice(periods.CUSTOM, "From – to"),
        ],
        default=periods.DEFAULT,
    )
    first = DateField("From", [Optional()], name="from")
    last = DateField("To", [Optional()], name="to")
    key = SelectField("Key", default="")
    model = SelectField("Model", default="")
    person = SelectField("Person", default="")
    status = SelectField("Result", default="")

    def offer(self, choices: Choices) -> None:
        """The lists hold what there is; what was chosen before stays choosable."""
        self.key.choices = _choices("All keys", choices.keys.items())
        names = {*choices.models, *([self.model.data] if self.model.data else [])}
        self.model.choices = _choices("All models", ((name, name) for name in sorted(names)))
        people = [*choices.people.items(), ("nobody", NOBODY)]
        self.person.choices = _choices("Everybody", people if choices.people else [])
        codes = ((code, code) for code in error_codes())
        self.status.choices = _choices("All results", (*_STATUSES, *codes))

    def chosen_period(self, time_zone: str) -> Period:
        """The days that were chosen; where they make no sense, the default, and the field says so.

        Call `validate` before.
        """
        fallback = periods.named(periods.DEFAULT, time_zone)
        if self.period.errors:
            return fallback
        if self.period.data != periods.CUSTOM:
            return periods.named(self.period.data, time_zone)
        if self.first.errors or self.last.errors:
            return fallback
        last = self.last.data or periods.today(time_zone)
        first = self.first.data or min(last, fallback.first)
        if not periods.EARLIEST <= first <= last <= periods.LATEST:
            self.last.errors = [*self.last.errors, "Choose a day that is not before the first."]
            return fallback
        return Period(first, last, time_zone)

    def wanted(self, account_id: str | None, time_zone: str) -> Wanted:
        """The filters that were chosen and make sense."""
        person = _value(self.person)
        return Wanted(
            account_id=account_id,
            period=self.chosen_period(time_zone),
            key_id=_value(self.key),
            model=_value(self.model),
            user_id="" if person == "nobody" else person,
            status=_value(self.status),
        )


def error_codes() -> list[str]:
    """Every code that a refused or failed call can have."""
    return sorted({code for kind in _kinds(BridgeError) if (code := kind.code)})


def _kinds(kind: type[BridgeError]) -> Iterable[type[BridgeError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


def _choices(everything: str, pairs: Iterable[tuple[str, str]]) -> list[SelectChoice]:
    return [SelectChoice("", everything), *(SelectChoice(value, name) for value, name in pairs)]


def _value(chosen: SelectField) -> str | None:
    return None if chosen.errors else chosen.data or None
