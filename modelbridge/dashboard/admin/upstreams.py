"""Upstreams: added from presets, tested, given another credential, removed."""

from collections.abc import Callable

from flask import abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session
from wtforms import BooleanField, Field, PasswordField, SelectChoice, SelectField, StringField
from wtforms.validators import InputRequired

from modelbridge.catalog import admin
from modelbridge.catalog.providers import PROVIDERS
from modelbridge.catalog.routes import target_of
from modelbridge.dashboard.admin.guard import pages, say
from modelbridge.dashboard.admin.state import upstream_states
from modelbridge.dashboard.admin.users import Action
from modelbridge.dashboard.audit import note
from modelbridge.dashboard.forms import Form, check, sentence
from modelbridge.dashboard.services import bridge
from modelbridge.store.tables import Upstream
from modelbridge.upstream import addresses, credentials
from modelbridge.upstream.probe import probe

_CREDENTIAL_ATTRIBUTES = {"autocomplete": "off", "spellcheck": "false"}


class _AddressForm(Form):
    """Whether the address may be private: one that it is given, or one that its name leads to."""

    allow_private = BooleanField(
        "Allow http, and addresses of this machine or a private network",
        description="For servers of your own, such as Ollama or llama.cpp. Without the tick, a "
        "name that leads to such an address is not called. The key travels unencrypted over http.",
    )

    def checked(self, address: str) -> str:
        """The address in its normal form. Raises ValueError in words about an address."""
        try:
            return addresses.check_base_url(address, allow_private=self.allow_private.data)
        except ValueError as error:
            words = str(error).replace("base URL", "the address", 1)
            tick = "; tick the box if it is yours" if "private" in words else ""
            raise ValueError(words + tick) from None


class UpstreamForm(_AddressForm):
    """A new upstream. Without a base URL it is the provider's own."""

    provider = SelectField("Provider")
    name = StringField(
        "Name",
        [InputRequired("Give it a name, such as openai.")],
        description="What lists and errors call it: a-z, 0-9, dots and dashes.",
        render_kw={"autocomplete": "off", "spellcheck": "false"},
    )
    base_url = StringField(
        "Base URL",
        description="As the provider's own SDK takes it. Empty means the provider's address.",
        render_kw={"autocomplete": "off", "spellcheck": "false", "inputmode": "url"},
    )
    credential = PasswordField(
        "API key",
        description="The provider's. It is sealed, used for calls, and never shown again. Leave "
        "it empty if the server asks for none.",
        render_kw=_CREDENTIAL_ATTRIBUTES,
    )

    def __init__(self) -> None:
        """Every provider is a choice, with its address for the page's script."""
        super().__init__()
        self.provider.choices = [
            SelectChoice(name, row.title, render_kw={"data-base-url": row.base_url or ""})
            for name, row in PROVIDERS.items()
        ]

    def validate_credential(self, field: Field) -> None:
        """Something that can be sent."""
        check(check_credential, (field.data or "").strip())

    def address(self) -> str:
        """The base URL to keep. Raises ValueError in words for that field."""
        provider = PROVIDERS[self.provider.data]
        typed = (self.base_url.data or "").strip()
        if not typed and not provider.base_url:
            raise ValueError(f"base_url: enter an address; {provider.title} has none of its own")
        try:
            return self.checked(typed or provider.base_url or "")
        except ValueError as error:
            raise ValueError(f"base_url: {error}") from None


class CredentialForm(Form):
    """Another credential."""

    credential = PasswordField(
        "New API key",
        [InputRequired("Enter the provider's API key.")],
        description="It replaces the old one from the next call on. Neither is ever shown.",
        render_kw={**_CREDENTIAL_ATTRIBUTES, "autofocus": True},
    )

    def validate_credential(self, field: Field) -> None:
        """Something that can be sent."""
        check(check_credential, (field.data or "").strip())


class EditForm(_AddressForm):
    """Where it may be, and what a client that leaves in mid-stream sets off."""

    on_hang_up = SelectField(
        "When a client leaves in mid-stream",
        choices=[
            SelectChoice("auto", "Let the provider's own behaviour decide"),
            SelectChoice("drain", "Hear the answer out and charge its real usage"),
            SelectChoice("close", "Close the connection and charge by estimate"),
        ],
        description="Closing saves money only where the provider then stops billing; elsewhere "
        "you pay for an answer that nobody hears out.",
    )

    def __init__(self, row: Upstream) -> None:
        """It shows what holds."""
        held = {"allow_private": row.allow_private, "on_hang_up": row.on_hang_up}
        super().__init__(data=held)
        self._base_url = row.base_url

    def validate_allow_private(self, field: Field) -> None:
        """An address that is private by itself needs the tick."""
        check(self.checked, self._base_url)


def check_credential(text: str) -> None:
    """Raises ValueError for what cannot be a provider's key; nothing at all may be one."""
    if text.startswith("mb_"):
        raise ValueError("credential: that is a key of ModelBridge; enter the provider's own")
    if not (text.isascii() and text.isprintable() and " " not in text) and text:
        raise ValueError("credential: it has spaces or odd characters; copy it again")


@pages.get("/upstreams", endpoint="upstreams")
def index() -> ResponseReturnValue:
    """Every upstream and how it does."""
    with bridge().database.reading() as session:
        rows = upstream_states(session)
    return render_template("admin/upstreams.html", rows=rows, providers=PROVIDERS)


@pages.route("/upstreams/new", methods=["GET", "POST"], endpoint="upstream_new")
def create() -> ResponseReturnValue:
    """The form; nothing is sent to the upstream yet."""
    form = UpstreamForm()
    if form.validate_on_submit():
        try:
            name = _create(form)
        except ValueError as error:
            form.blame(error)
        else:
            flash(f"{name} is added. Test the connection to see whether it works.", "success")
            return redirect(url_for("admin.upstreams"), 303)
    return render_template("admin/upstream_new.html", form=form), 400 if form.errors else 200


@pages.post("/upstreams/<name>/test", endpoint="upstream_test")
def test(name: str) -> ResponseReturnValue:
    """One request for the list of models, and what came of it."""
    with bridge().database.reading() as session:
        row = _find(session, name)
    target = target_of(row)
    if target is None:
        say(False, f"{name}: this release does not know the provider {row.provider}.")
    else:
        outcome = probe(bridge().gateway.upstreams, target)
        if outcome.ok:
            bridge().gateway.health.worked(row.id)
        with bridge().database.transaction() as session:
            note(session, "upstream.test", "upstream", row.id, name, ok=outcome.ok)
        say(outcome.ok, f"{name}: {outcome.words}")
    return redirect(url_for("admin.upstreams"), 303)


@pages.route(
    "/upstreams/<name>/credential", methods=["GET", "POST"], endpoint="upstream_credential"
)
def replace_credential(name: str) -> ResponseReturnValue:
    """A form that only takes: what is kept is never shown."""
    form = CredentialForm()
    with bridge().database.reading() as session:
        row = _find(session, name)
    if form.validate_on_submit():
        seal = _seal(form.credential.data.strip())
        with bridge().database.transaction() as session:
            admin.set_credential(session, _find(session, name).name, seal(row.id))
            note(session, "upstream.credential", "upstream", row.id, row.name)
        flash(f"{name} uses the new API key from its next call on.", "success")
        return redirect(url_for("admin.upstreams"), 303)
    page = render_template("admin/upstream_credential.html", form=form, row=row)
    return page, 400 if form.errors else 200


@pages.route("/upstreams/<name>/edit", methods=["GET", "POST"], endpoint="upstream_edit")
def edit(name: str) -> ResponseReturnValue:
    """What may be changed of it; it holds from the next call on."""
    with bridge().database.reading() as session:
        row = _find(session, name)
    form = EditForm(row)
    if form.validate_on_submit():
        with bridge().database.transaction() as session:
            _change(session, _find(session, name), form)
        flash(f"{name} does so from its next call on.", "success")
        return redirect(url_for("admin.upstreams"), 303)
    page = render_template("admin/upstream_edit.html", form=form, row=row)
    return page, 400 if form.errors else 200


@pages.route("/upstreams/<name>/remove", methods=["GET", "POST"], endpoint="upstream_remove")
def remove(name: str) -> ResponseReturnValue:
    """GET asks, POST removes it and its credential."""
    if request.method != "POST":
        with bridge().database.reading() as session:
            row = _find(session, name)
        return render_template(
            "admin/confirm.html",
            ask=REMOVE,
            title=REMOVE.title.format(row.name),
            back=url_for("admin.upstreams"),
        )
    try:
        with bridge().database.transaction() as session:
            row = _find(session, name)
            admin.remove_upstream(session, name)
            note(session, "upstream.remove", "upstream", row.id, row.name)
    except ValueError as error:
        flash(sentence(error), "warning")
    else:
        flash(f"{name} is removed, and its API key with it.", "success")
    return redirect(url_for("admin.upstreams"), 303)


REMOVE = Action(
    "Remove {}?",
    "Its API key is forgotten, and models that only it serves can't be called any more. Calls that "
    "run are not cut. Receipts stay.",
    "Remove upstream",
    danger=True,
)


def _find(session: Session, name: str) -> Upstream:
    return admin.find_upstream(session, name) or abort(404)


def _change(session: Session, row: Upstream, form: EditForm) -> None:
    what, allowed = form.on_hang_up.data, form.allow_private.data
    if what != row.on_hang_up:
        admin.set_on_hang_up(session, row.name, what)
        note(session, "upstream.on_hang_up", "upstream", row.id, row.name, what=what)
    if allowed != row.allow_private:
        admin.set_allow_private(session, row.name, allowed)
        note(
            session, "upstream.private_addresses", "upstream", row.id, row.name, allowed=allowed
        )  # fmt: skip


def _create(form: UpstreamForm) -> str:
    """Raises ValueError naming the field."""
    address = form.address()
    secret = (form.credential.data or "").strip()
    with bridge().database.transaction() as session:
        row = admin.add_upstream(
            session,
            name=form.name.data.strip(),
            provider=form.provider.data,
            base_url=address,
            allow_private=form.allow_private.data,
            sealed_credential=_seal(secret),
        )
        note(
            session, "upstream.add", "upstream", row.id, row.name,
            provider=row.provider, base_url=row.base_url, allow_private=row.allow_private,
        )  # fmt: skip
    return row.name


def _seal(secret: str) -> Callable[[str], str | None]:
    master_key = bridge().settings.master_key

    def seal(upstream_id: str) -> str | None:
        return credentials.seal(master_key, upstream_id, secret) if secret else None

    return seal
