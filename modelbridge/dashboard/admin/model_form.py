"""The form of a model: where it is, what it costs, how much it holds."""

from typing import Any

from wtforms import (
    BooleanField,
    FieldList,
    FormField,
    IntegerField,
    SelectChoice,
    SelectField,
    StringField,
)
from wtforms import Form as PlainForm
from wtforms.validators import InputRequired, Optional

from modelbridge.catalog.prices import OVERRIDES
from modelbridge.dashboard.forms import Form
from modelbridge.store.tables import Model

TARGETS = 4
_PLAIN = {"autocomplete": "off", "spellcheck": "false"}
_PRICE = {"inputmode": "decimal", "autocomplete": "off", "placeholder": "As known"}
_AS_INPUT = {**_PRICE, "placeholder": "As input"}

# How the messages of the catalogue begin, and the field that they are about.
_PLACES = {
    "input price": "input",
    "output price": "output",
    "cache_read price": "cache_read",
    "cache_write price": "cache_write",
    "context window": "context_window",
    "max output": "max_output",
    "free": "free",
    "upstream": "targets",
    "model": "name",
}


class TargetForm(PlainForm):  # type: ignore[misc]
    """One place where the model is, in the order in which they are tried."""

    upstream = SelectField("Upstream", validate_choice=False)
    model = StringField("Name there", render_kw=_PLAIN)


class ModelForm(Form):
    """A public name and its targets. Prices in USD per million tokens."""

    name = StringField(
        "Name",
        [InputRequired("Give the model a name.")],
        description="What clients write as “model”. An existing model of that name is replaced.",
        render_kw=_PLAIN,
    )
    targets = FieldList(FormField(TargetForm), min_entries=TARGETS, max_entries=TARGETS)
    free = BooleanField("Free: calls cost nothing")
    input = StringField("Input", render_kw=_PRICE)
    output = StringField("Output", render_kw=_PRICE)
    cache_read = StringField("Read from a cache", render_kw=_AS_INPUT)
    cache_write = StringField("Written to a cache", render_kw=_AS_INPUT)
    context_window = IntegerField(
        "Context window", [Optional()], description="In tokens. Empty means what is known of it."
    )
    max_output = IntegerField(
        "Maximum output", [Optional()], description="In tokens. Empty means what is known of it."
    )

    def __init__(self, upstreams: list[str], row: Model | None = None) -> None:
        """Filled from what was posted, else from the row."""
        super().__init__(data=_data_of(row) if row else None)
        choices = [SelectChoice("", "None"), *(SelectChoice(name, name) for name in upstreams)]
        for entry in self.targets:
            entry.form.upstream.choices = choices

    def blame(self, error: ValueError) -> None:
        """Puts the catalogue's words beside the field that they are about."""
        words = str(error)
        place = next((field for start, field in _PLACES.items() if words.startswith(start)), None)
        if place == "targets":
            self.targets.errors = [words.partition(": ")[2] or words]
        elif place is not None:
            rest = words.partition(": ")[2] or words
            self[place].errors = [rest[:1].upper() + rest[1:].removesuffix(".") + "."]
        else:
            super().blame(error)

    def model_fields(self) -> dict[str, Any]:
        """What `admin.add_model` wants."""
        prices = {name: text for name in OVERRIDES if (text := (self[name].data or "").strip())}
        return {
            "name": (self.name.data or "").strip(),
            "targets": self._targets(),
            "prices": prices or None,
            "free": self.free.data,
            "context_window": self.context_window.data,
            "max_output": self.max_output.data,
        }

    def _targets(self) -> list[tuple[str, str]]:
        """Rows with an upstream; where no name is given it is the public one."""
        public = (self.name.data or "").strip()
        return [
            (entry.form.upstream.data, (entry.form.model.data or "").strip() or public)
            for entry in self.targets
            if entry.form.upstream.data
        ]


def _data_of(row: Model) -> dict[str, Any]:
    return {
        "name": row.name,
        "targets": [
            {"upstream": route.upstream.name, "model": route.upstream_model} for route in row.routes
        ],
        "free": row.free,
        "context_window": row.context_window,
        "max_output": row.max_output,
        **(row.prices or {}),
    }
