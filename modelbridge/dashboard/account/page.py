"""The page: every form with what is set, and the browsers that are logged in."""

from dataclasses import dataclass, field

from flask import render_template
from flask.typing import ResponseReturnValue
from flask_login import current_user

from modelbridge.dashboard import access
from modelbridge.dashboard.account.blueprint import pages
from modelbridge.dashboard.account.browsers import describe
from modelbridge.dashboard.account.forms import (
    EmailForm,
    OwnLimitForm,
    PasswordForm,
    ProfileForm,
)
from modelbridge.dashboard.forms import Form
from modelbridge.dashboard.services import bridge
from modelbridge.identity import sessions
from modelbridge.ledger import accounts
from modelbridge.ledger.accounts import AccountView
from modelbridge.store.tables import LoginSession, User


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One browser that is logged in. `handle` is what its address calls it."""

    row: LoginSession
    handle: str
    browser: str
    is_this_one: bool


@dataclass(slots=True)
class Forms:
    """The forms of the page, each with what is set now, until something was posted to it."""

    user: User
    account: AccountView
    refused: dict[type[Form], Form] = field(default_factory=dict)

    @property
    def profile(self) -> Form:
        """Name and time zone."""
        zone = self.account.time_zone
        return self.refused.get(ProfileForm) or ProfileForm(
            zone, formdata=None, data={"name": self.user.name, "time_zone": zone}
        )

    @property
    def email(self) -> Form:
        """The address."""
        return self.refused.get(EmailForm) or EmailForm(formdata=None, email=self.user.email)

    @property
    def password(self) -> Form:
        """The password."""
        return self.refused.get(PasswordForm) or PasswordForm((), formdata=None)

    @property
    def limit(self) -> Form:
        """The person's own spending limit."""
        if OwnLimitForm in self.refused:
            return self.refused[OwnLimitForm]
        form = OwnLimitForm(formdata=None)
        form.show_limit(self.account.limit_nanos, self.account.limit_window)
        return form


@pages.get("")
def index() -> ResponseReturnValue:
    """Everything as it is."""
    return show()


def show(refused: Form | None = None) -> ResponseReturnValue:
    """The page; with a refused form it keeps what was typed there, and the status is 400."""
    user = access.the_user()
    with bridge().database.reading() as session:
        account = accounts.account_view(session, user.account_id)
        rows = [_session_row(row) for row in sessions.list_open(session, user.id)]
    forms = Forms(user, account, {type(refused): refused} if refused else {})
    page = render_template(
        "account/index.html", own=forms, account=account, sessions=rows, refused=refused
    )
    return page, 400 if refused else 200


def _session_row(row: LoginSession) -> SessionRow:
    handle = sessions.handle(row)
    is_this_one = handle == sessions.handle_of(current_user.token)
    return SessionRow(row, handle, describe(row.user_agent), is_this_one)
