"""The base of every form, and the forms of the doors: login, set-up, reset."""

from collections.abc import Callable
from typing import Any

from flask_wtf import FlaskForm
from wtforms import EmailField, Field, HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired, Length, ValidationError

from modelbridge.identity import passwords, users

PASSWORD_HINT = (
    f"At least {passwords.LEAST_CHARACTERS} characters. Three or four unrelated words are easy to "
    "remember and hard to guess."
)


class Form(FlaskForm):  # type: ignore[misc]
    """A form with a CSRF token. Refused, it keeps what was typed and says what is wrong where."""

    def blame(self, error: ValueError) -> None:
        """Puts "field: message" beside that field, or beside the first one if it names no other."""
        name = str(error).partition(": ")[0]
        visible = [field for field in self if not isinstance(field, HiddenField)]
        field = next((field for field in visible if field.name == name), visible[0])
        field.errors = [*field.errors, sentence(error)]


def sentence(error: ValueError) -> str:
    """The message of "field: message" as a sentence to stand beside the field."""
    name, _, message = str(error).partition(": ")
    words = message or name
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}."


def check(function: Callable[..., object], *arguments: Any) -> None:
    """Calls a check that raises ValueError, for a form's `validate_…` methods."""
    try:
        function(*arguments)
    except ValueError as error:
        raise ValidationError(sentence(error)) from None


class LoginForm(Form):
    """E-mail address and password."""

    email = EmailField(
        "E-mail address",
        [InputRequired("Enter your e-mail address.")],
        render_kw={"autocomplete": "username"},
    )
    password = PasswordField(
        "Password",
        [InputRequired("Enter your password.")],
        render_kw={"autocomplete": "current-password"},
    )
    next = HiddenField()


class SecondStepForm(Form):
    """The code of the second step, or a recovery code."""

    code = StringField(
        "Code",
        [InputRequired("Enter the code.")],
        description="Six digits from your app. If you lost it: one of your recovery codes.",
        render_kw={
            "autocomplete": "one-time-code",
            "maxlength": 60,
            "autofocus": True,
            "spellcheck": "false",
            "autocapitalize": "none",
        },
    )
    next = HiddenField()


class NewPasswordForm(Form):
    """A password, typed once: it can be shown. `own_words` are the person's: not to be in it."""

    password = PasswordField(
        "New password",
        [InputRequired("Choose a password.")],
        description=PASSWORD_HINT,
        render_kw={"autocomplete": "new-password", "autofocus": True},
    )

    def __init__(self, own_words: tuple[str, ...] = (), **kwargs: Any) -> None:
        """An empty form, or what was posted."""
        super().__init__(**kwargs)
        self.own_words = own_words

    def validate_password(self, field: Field) -> None:
        """Long enough, and not what everybody guesses first."""
        check(passwords.check_new_password, field.data, self.own_words)


class SetupForm(Form):
    """The first administrator."""

    name = StringField(
        "Your name",
        [InputRequired("Enter your name."), Length(max=users.MAX_NAME)],
        render_kw={"autocomplete": "name", "autofocus": True},
    )
    email = EmailField(
        "E-mail address",
        [InputRequired("Enter your e-mail address.")],
        description="You log in with it. Nothing is sent to it.",
        render_kw={"autocomplete": "username"},
    )
    password = PasswordField(
        "Password",
        [InputRequired("Choose a password.")],
        description=PASSWORD_HINT,
        render_kw={"autocomplete": "new-password"},
    )

    def validate_name(self, field: Field) -> None:
        """A name that can be shown."""
        check(users.clean_name, field.data)

    def validate_email(self, field: Field) -> None:
        """An e-mail address."""
        check(users.clean_email, field.data)

    def validate_password(self, field: Field) -> None:
        """Long enough, and not what everybody guesses first."""
        own_words = (self.name.data or "", self.email.data or "")
        check(passwords.check_new_password, field.data, own_words)


class RegisterForm(Form):
    """Somebody new, whose e-mail address is known already."""

    name = StringField(
        "Your name",
        [InputRequired("Enter your name."), Length(max=users.MAX_NAME)],
        render_kw={"autocomplete": "name", "autofocus": True},
    )
    password = PasswordField(
        "Password",
        [InputRequired("Choose a password.")],
        description=PASSWORD_HINT,
        render_kw={"autocomplete": "new-password"},
    )

    def __init__(self, email: str, **kwargs: Any) -> None:
        """An empty form, or what was posted, for the owner of that address."""
        super().__init__(**kwargs)
        self._email = email

    def validate_name(self, field: Field) -> None:
        """A name that can be shown."""
        check(users.clean_name, field.data)

    def validate_password(self, field: Field) -> None:
        """Long enough, and not what everybody guesses first."""
        own_words = (self.name.data or "", self._email)
        check(passwords.check_new_password, field.data, own_words)
