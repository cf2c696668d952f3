"""The forms of the account page. They share it, so each field's name is its own."""

from typing import Any

from wtforms import EmailField, Field, PasswordField, SelectField, StringField
from wtforms.validators import InputRequired, Length

from modelbridge.dashboard import time_zones
from modelbridge.dashboard.forms import PASSWORD_HINT, Form, check
from modelbridge.dashboard.limit_form import LimitForm
from modelbridge.identity import passwords, users

_CURRENT = {"autocomplete": "current-password"}


class ProfileForm(Form):
    """What the others see, and when the person's days begin."""

    name = StringField(
        "Name",
        [InputRequired("Enter your name."), Length(max=users.MAX_NAME)],
        render_kw={"autocomplete": "name"},
    )
    time_zone = SelectField(
        "Time zone",
        description="Times are shown in it, and your own days, weeks and months begin there: for "
        "limits, usage and the expiry of keys.",
    )

    def __init__(self, present_zone: str, **kwargs: Any) -> None:
        """`present_zone` is among the choices, whatever it is."""
        super().__init__(**kwargs)
        self.time_zone.choices = time_zones.choices(present_zone)

    def validate_name(self, field: Field) -> None:
        """A name that can be shown."""
        check(users.clean_name, field.data)


class EmailForm(Form):
    """Another address to log in with."""

    email = EmailField(
        "Address",
        [InputRequired("Enter your e-mail address.")],
        description="You log in with it, and invitations to teams are bound to it.",
        render_kw={"autocomplete": "email"},
    )
    email_password = PasswordField(
        "Your password",
        [InputRequired("Enter your password.")],
        description="To make sure that it is you.",
        render_kw=_CURRENT,
    )

    def validate_email(self, field: Field) -> None:
        """An e-mail address."""
        check(users.clean_email, field.data)


class PasswordForm(Form):
    """The present password, then the new one, typed once: it can be shown."""

    current_password = PasswordField(
        "Present password", [InputRequired("Enter your present password.")], render_kw=_CURRENT
    )
    new_password = PasswordField(
        "New password",
        [InputRequired("Choose a password.")],
        description=PASSWORD_HINT,
        render_kw={"autocomplete": "new-password"},
    )

    def __init__(self, own_words: tuple[str, ...], **kwargs: Any) -> None:
        """`own_words` are the person's: not to be in the password."""
        super().__init__(**kwargs)
        self._own_words = own_words

    def validate_new_password(self, field: Field) -> None:
        """Long enough, and not what everybody guesses first."""
        check(passwords.check_new_password, field.data, self._own_words)


_CODE = {
    "autocomplete": "one-time-code",
    "inputmode": "numeric",
    "maxlength": 20,
    "spellcheck": "false",
}


class BeginForm(Form):
    """The password, before a second step is set up."""

    password = PasswordField(
        "Your password",
        [InputRequired("Enter your password.")],
        description="To make sure that it is you.",
        render_kw=_CURRENT,
    )


class ConfirmForm(Form):
    """The device's first code."""

    code = StringField(
        "Code that the app shows",
        [InputRequired("Enter the six digits.")],
        render_kw={**_CODE, "autofocus": True},
    )


class NewCodesForm(Form):
    """The password, before new recovery codes are made."""

    codes_password = PasswordField(
        "Your password", [InputRequired("Enter your password.")], render_kw=_CURRENT
    )


class TurnOffForm(Form):
    """The password and a code, before the second step is turned off."""

    off_password = PasswordField(
        "Your password", [InputRequired("Enter your password.")], render_kw=_CURRENT
    )
    off_code = StringField(
        "Code, or a recovery code",
        [InputRequired("Enter a code.")],
        render_kw={"autocomplete": "one-time-code", "maxlength": 60, "spellcheck": "false"},
    )


class OwnLimitForm(LimitForm):
    """What all of the person's own keys together may spend."""
