"""Mail: through a real server on loopback, or not at all."""

import email
import email.policy
import socket
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from dashboard_world import World, world_in

from modelbridge import config
from modelbridge.config import SettingsError
from modelbridge.dashboard import mail


class Inbox:
    """What the server was given."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, list[str], bytes]] = []
        self.refuses = False
        self.unknown: set[str] = set()

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if address in self.unknown:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.refuses:
            return "554 no, and here is\r\n554-a second line"
        self.letters.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 taken"


def free_port() -> int:
    """aiosmtpd wants to know it beforehand."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> Any:
    return AuthResult(success=(data.login, data.password) == (b"bridge", b"pass"))


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def server(inbox: Inbox) -> Iterator[Controller]:
    controller = Controller(
        inbox,
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=authenticate,
        auth_require_tls=False,
    )
    controller.start()
    yield controller
    controller.stop()


@pytest.fixture
def world(tmp_path: Path, server: Controller) -> Iterator[World]:
    with world_in(
        tmp_path,
        MODELBRIDGE_SMTP_HOST="127.0.0.1",
        MODELBRIDGE_SMTP_PORT=str(server.port),
        MODELBRIDGE_SMTP_TLS="none",
        MODELBRIDGE_SMTP_USER="bridge",
        MODELBRIDGE_SMTP_PASSWORD="pass",
        MODELBRIDGE_SMTP_FROM="bridge@example.com",
    ) as world:
        yield world


def send(world: World, to: str = "bob@example.com", subject: str = "Come in") -> bool:
    with world.app.app_context():
        return mail.send(to, subject, "Hello Bob: http://bridge.test/ä\n")


def test_a_letter_arrives_whole(world: World, inbox: Inbox) -> None:
    assert send(world)
    ((sender, receivers, content),) = inbox.letters
    assert (sender, receivers) == ("bridge@example.com", ["bob@example.com"])
    letter = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(letter, EmailMessage)
    assert letter["Subject"] == "Come in"
    assert letter["From"] == "ModelBridge <bridge@example.com>"
    assert letter["Message-ID"].endswith("@example.com>")
    assert "http://bridge.test/ä" in letter.get_content()


def test_without_a_server_nothing_is_sent(tmp_path: Path) -> None:
    with world_in(tmp_path) as world:
        assert not send(world)
        with world.app.app_context():
            assert not mail.is_set_up()


def test_a_line_end_in_a_subject_or_an_address_smuggles_no_header(
    world: World, inbox: Inbox
) -> None:
    assert not send(world, subject="Hello\nBcc: charlie@example.com")
    assert not send(world, to="bob@example.com\nBcc: charlie@example.com")
    assert inbox.letters == []


def test_a_refusal_is_told_and_logged_on_one_line(
    world: World, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.refuses = True
    assert not send(world)
    assert "mail was not sent" in caplog.text


def test_a_wrong_password_is_no_letter(tmp_path: Path, server: Controller, inbox: Inbox) -> None:
    with world_in(
        tmp_path,
        MODELBRIDGE_SMTP_HOST="127.0.0.1",
        MODELBRIDGE_SMTP_PORT=str(server.port),
        MODELBRIDGE_SMTP_TLS="none",
        MODELBRIDGE_SMTP_USER="bridge",
        MODELBRIDGE_SMTP_PASSWORD="wrong",
        MODELBRIDGE_SMTP_FROM="bridge@example.com",
    ) as world:
        assert not send(world)
    assert inbox.letters == []


def test_a_server_without_tls_gets_nothing_when_tls_is_wanted(
    tmp_path: Path, server: Controller, inbox: Inbox
) -> None:
    for tls in ("starttls", "tls"):
        with world_in(
            tmp_path / tls,
            MODELBRIDGE_SMTP_HOST="127.0.0.1",
            MODELBRIDGE_SMTP_PORT=str(server.port),
            MODELBRIDGE_SMTP_TLS=tls,
            MODELBRIDGE_SMTP_FROM="bridge@example.com",
        ) as world:
            assert not send(world)
    assert inbox.letters == []


def test_nobody_listens(tmp_path: Path) -> None:
    with world_in(
        tmp_path,
        MODELBRIDGE_SMTP_HOST="127.0.0.1",
        MODELBRIDGE_SMTP_PORT="1",
        MODELBRIDGE_SMTP_FROM="bridge@example.com",
    ) as world:
        assert not send(world)


def test_the_link_of_a_new_person_is_mailed_and_shown(world: World, inbox: Inbox) -> None:
    world.person("alice@example.com", is_admin=True)
    page = world.browser("alice@example.com").submit("/admin/users/new", email="bob@example.com")
    assert "It was mailed to them" in page.text
    assert b"/reset/" in inbox.letters[0][2]


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"MODELBRIDGE_SMTP_HOST": "x"}, "MODELBRIDGE_SMTP_FROM"),
        ({"MODELBRIDGE_SMTP_HOST": "x", "MODELBRIDGE_SMTP_FROM": "no address"}, "_FROM"),
        ({"MODELBRIDGE_SMTP_TLS": "perhaps"}, "MODELBRIDGE_SMTP_TLS"),
        ({"MODELBRIDGE_SMTP_PORT": "smtp"}, "MODELBRIDGE_SMTP_PORT"),
        ({"MODELBRIDGE_BOOKS_CHECK_HOURS": "daily"}, "a number of hours"),
    ],
)
def test_malformed_settings_stop_the_start(
    tmp_path: Path, environ: dict[str, str], name: str
) -> None:
    with pytest.raises(SettingsError, match=name):
        config.load({"MODELBRIDGE_DATA_DIR": str(tmp_path), **environ})
