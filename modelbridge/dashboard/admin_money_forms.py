"""The forms with which administrators post money."""

import re
from typing import Any

from wtforms import Field, HiddenField, RadioField, SelectChoice, StringField, TextAreaField
from wtforms.validators import InputRequired, Length

from modelbridge.dashboard.forms import Form, check
from modelbridge.ledger.postings import MOST_NANOS
from modelbridge.money import parse_amount

_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_MOST_REFERENCE, _MOST_NOTE = 100, 500


class PostingForm(Form):
    """An amount and why. `confirmed` is what was shown for confirmation: empty asks first."""

    amount = StringField(
        "Amount",
        [InputRequired("Enter an amount.")],
        render_kw={"inputmode": "decimal", "autocomplete": "off", "autofocus": True},
    )
    reference = StringField(
        "Reference",
        [Length(max=_MOST_REFERENCE)],
        description="The payment's own number. The same one twice is one posting.",
        render_kw={"autocomplete": "off"},
    )
    note = TextAreaField(
        "Note",
        [Length(max=_MOST_NOTE)],
        description="Shown to whoever sees the account's transactions.",
        render_kw={"rows": 2},
    )
    confirmed = HiddenField()

    def validate_amount(self, field: Field) -> None:
        """More than nothing, with at most nine decimals."""
        check(read_amount, field.data)

    @property
    def amount_nanos(self) -> int:
        """What is to be posted, in nano-AUD."""
        return read_amount(self.amount.data)

    @property
    def wish(self) -> str:
        """What a confirmation is for: another amount or reference has to be confirmed again."""
        return f"{self.amount_nanos}:{self.reference.data.strip()}"

    @property
    def is_confirmed(self) -> bool:
        """Whether exactly this was shown and agreed to."""
        return bool(self.confirmed.data == self.wish)

    @property
    def why(self) -> dict[str, Any]:
        """Reference and note, as `postings` wants them."""
        return {"reference": self.reference.data.strip() or None, "note": self.note.data.strip()}


class AdjustmentForm(PostingForm):
    """An amount to add or to take; a note is a must."""

    direction = RadioField(
        "Direction",
        choices=[SelectChoice("add", "Add"), SelectChoice("take", "Take")],
        default="add",
    )
    note = TextAreaField(
        "Note",
        [InputRequired("Say why: the account's people will read it."), Length(max=_MOST_NOTE)],
        description="Shown to whoever sees the account's transactions.",
        render_kw={"rows": 2},
    )

    @property
    def amount_nanos(self) -> int:
        """Below zero if it is to be taken."""
        return read_amount(self.amount.data) * (-1 if self.direction.data == "take" else 1)


class RefundForm(Form):
    """How much of a charge is given back."""

    amount = StringField(
        "Amount",
        [InputRequired("Enter an amount.")],
        render_kw={"inputmode": "decimal", "autocomplete": "off"},
    )
    note = TextAreaField(
        "Note",
        [Length(max=_MOST_NOTE)],
        description="Shown on the receipt.",
        render_kw={"rows": 2},
    )

    def validate_amount(self, field: Field) -> None:
        """More than nothing, with at most nine decimals."""
        check(read_amount, field.data)

    @property
    def amount_nanos(self) -> int:
        """What is to be given back, in nano-AUD."""
        return read_amount(self.amount.data)


def read_amount(text: str | None) -> int:
    """Nano-AUD of a decimal above zero. Raises ValueError naming the field."""
    stripped = (text or "").strip().replace(",", "")
    if _DECIMAL.fullmatch(stripped) is None:
        raise ValueError("amount: enter an amount in AUD such as 20 or 12.50")
    nanos = parse_amount(stripped)
    if nanos <= 0:
        raise ValueError("amount: enter an amount above zero")
    if nanos > MOST_NANOS:
        raise ValueError("amount: enter at most 100,000,000")
    return nanos
