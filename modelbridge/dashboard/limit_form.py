"""The two fields of a spending limit: of a key, of a person, of a team."""

import re

from wtforms import Field, SelectChoice, SelectField, StringField

from modelbridge.dashboard.forms import Form, check
from modelbridge.money import format_amount, parse_amount

_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


class LimitForm(Form):
    """An amount of AUD, empty for none, and the period that it is for."""

    limit = StringField(
        "Spending limit",
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

    def validate_limit(self, field: Field) -> None:
        """Empty, or an amount of AUD."""
        check(_read_limit, field.data)

    def show_limit(self, limit_nanos: int | None, window: str) -> None:
        """The fields hold what is set now."""
        self.limit.data = "" if limit_nanos is None else format_amount(limit_nanos)
        self.window.data = window

    @property
    def limit_nanos(self) -> int | None:
        """The limit of a form that is valid; None for no limit."""
        return _read_limit(self.limit.data)

    @property
    def limit_window(self) -> str:
        """The period; a limit that isn't there has none."""
        return "none" if self.limit_nanos is None else str(self.window.data)


def _read_limit(text: str | None) -> int | None:
    stripped = (text or "").strip()
    if not stripped:
        return None
    if _DECIMAL.fullmatch(stripped) is None:
        raise ValueError("limit: enter an amount in AUD such as 5 or 12.50, or leave it empty")
    return parse_amount(stripped, what="limit")
