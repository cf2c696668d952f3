"""The forms about teams."""

from collections.abc import Iterable
from typing import Any

from wtforms import EmailField, Field, SelectChoice, SelectField, StringField
from wtforms.validators import InputRequired

from modelbridge.dashboard import time_zones
from modelbridge.dashboard.forms import Form, check
from modelbridge.dashboard.limit_form import LimitForm
from modelbridge.identity import teams, users

# What each role means, in the words of the table in permissions.py.
ROLE_WORDS = {
    "owner": "Owner: everything, and deletes the team",
    "admin": "Admin: members, all keys, billing",
    "member": "Member: own keys, sees usage",
    "viewer": "Viewer: sees usage, has no keys",
}


def _role_choices(roles: Iterable[str]) -> list[SelectChoice]:
    return [SelectChoice(role, ROLE_WORDS[role]) for role in roles]


class TeamForm(Form):
    """A new team."""

    name = StringField(
        "Name",
        [InputRequired("Give the team a name.")],
        description="Everybody in the team sees it, and so do the administrators of this bridge.",
        render_kw={"maxlength": teams.MAX_NAME, "autocomplete": "off", "autofocus": True},
    )


class SettingsForm(LimitForm):
    """The team's name, its days, and what it may spend."""

    name = StringField(
        "Name",
        [InputRequired("Give the team a name.")],
        render_kw={"maxlength": teams.MAX_NAME, "autocomplete": "off"},
    )
    time_zone = SelectField(
        "Time zone",
        description="Where the team's days, weeks and months begin: for limits, usage and the "
        "expiry of keys.",
    )

    def __init__(self, present_zone: str, **kwargs: Any) -> None:
        """`present_zone` is among the choices, whatever it is."""
        super().__init__(**kwargs)
        self.time_zone.choices = time_zones.choices(present_zone)
        self.limit.description = (
            "The most that all of the team's keys together may spend, whatever the balance."
        )


class InviteForm(Form):
    """Whom, and as what."""

    email = EmailField(
        "E-mail address",
        [InputRequired("Enter the e-mail address.")],
        description="The link works for this address only.",
        render_kw={"autocomplete": "off", "autofocus": True},
    )
    role = SelectField("Role", default="member")

    def __init__(self, roles: Iterable[str], **kwargs: Any) -> None:
        """`roles` are those that the inviter may give."""
        super().__init__(**kwargs)
        self.role.choices = _role_choices(roles)

    def validate_email(self, field: Field) -> None:
        """An e-mail address."""
        check(users.clean_email, field.data)


class RoleForm(Form):
    """Another role."""

    role = SelectField("Role")

    def __init__(self, roles: Iterable[str], **kwargs: Any) -> None:
        """`roles` are those that the visitor may give."""
        super().__init__(**kwargs)
        self.role.choices = _role_choices(roles)
