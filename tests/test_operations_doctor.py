"""`flask doctor` on a sound bridge, and on each thing that may be wrong with one."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
from commands import Commands
from hostile import HostileUpstream, status
from people import Key, TestBridge, flask
from running import RunningBridge, set_up
from sqlalchemy import select, update

from modelbridge import clock, config
from modelbridge.catalog import fx
from modelbridge.gateway import books
from modelbridge.operations import doctor
from modelbridge.operations.doctor import Finding
from modelbridge.store.database import usable
from modelbridge.store.migrate import SchemaError
from modelbridge.store.tables import BooksCheck, FxVersion, User
from modelbridge.upstream.credentials import SECOND_STEP, seal


def settings_of(folder: Path, **environ: str) -> config.Settings:
    return config.load({"MODELBRIDGE_DATA_DIR": str(folder)} | environ)


def files(folder: Path, **environ: str) -> dict[str, Finding]:
    """Findings by the word before the colon, of one state the worst."""
    return _by_word(doctor.examine_files(settings_of(folder, **environ)))


def data(commands: Commands, **environ: str) -> dict[str, Finding]:
    settings = settings_of(commands.bridge.settings.data_dir, **environ)
    with commands.bridge.database.reading() as session:
        return _by_word(doctor.examine_data(settings, session))


def _by_word(findings: Any) -> dict[str, Finding]:
    order = ("good", "advice", "bad")
    found: dict[str, Finding] = {}
    for one in findings:
        word = one.what.partition(":")[0].partition(" 3")[0]
        if word not in found or order.index(one.state) > order.index(found[word].state):
            found[word] = one
    return found


def test_every_fault_has_a_way_to_mend_it_and_nothing_is_wrong_with_a_sound_bridge(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with RunningBridge.start(tmp_path) as bridge:
        set_up(bridge)
        bridge.upstream("hostile", "openai", upstream.base_url, "sk-upstream")
        said = bridge.flask("doctor")
        assert "Nothing is wrong." in said
        assert f"{bridge.url} answers, and takes calls" in said
        assert "BAD" not in said
        assert upstream.seen() == [], "nobody is called unless it is asked for"
        upstream.will(status(401))
        told = flask(bridge.data_dir, "doctor", "--upstreams")
        assert told.returncode == 1
        assert "upstream hostile: It answers, but refuses the API key" in told.stdout
        assert "set-key hostile" in told.stdout
        assert len(upstream.seen()) == 1
        upstream.will(status(401, headers={"Date": "Thu, 31 Dec 2020 23:59:59 GMT"}))
        told = flask(bridge.data_dir, "doctor", "--upstreams")
        assert "but upstream hostile says 2020-12-31 23:59:59 UTC" in told.stdout
        soon = format_datetime(clock.now() + timedelta(seconds=20), usegmt=True)
        for date in (soon, "Thu, 31 Dec 99999999999 23:59:59 GMT", "yesterday"):
            upstream.will(status(401, headers={"Date": date}))
            told = flask(bridge.data_dir, "doctor", "--upstreams")
            assert "To be mended: 1." in told.stdout  # the API key


def test_permissions_that_let_others_read_are_found(tmp_path: Path) -> None:
    assert files(tmp_path)["permissions"].state == "good"
    key = tmp_path / "secret.key"
    key.chmod(0o640)
    found = files(tmp_path)["permissions"]
    assert (found.state, found.mend) == ("bad", f"Run: chmod 600 {key}")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"nonsense" * 1000), "file is not a database"),
        (lambda path: _overwrite(path, 100, 4096), "malformed"),
        (lambda path: _overwrite(path, path.stat().st_size - 4096, 4096), "damaged"),
    ],
)
def test_a_damaged_database_is_found_and_the_server_says_so_too(
    tmp_path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    assert flask(tmp_path, "doctor").returncode == 0
    for ending in ("-wal", "-shm"):
        (tmp_path / f"modelbridge.db{ending}").unlink(missing_ok=True)
    spoil(tmp_path / "modelbridge.db")
    told = flask(tmp_path, "doctor")
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("BAD")]
    assert said in line
    assert "flask restore" in told.stdout
    if said != "damaged":  # what lies deep in the file is met when it is read
        with pytest.raises(RuntimeError, match=f"ModelBridge cannot start: .*{said}"):
            RunningBridge.start(tmp_path, MODELBRIDGE_DATA_DIR=str(tmp_path))


def _overwrite(path: Path, start: int, count: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * count)


def test_a_locked_database_is_told_in_one_line_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "modelbridge.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as ours,
    ):
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SchemaError, match="is locked.*Another program holds it"), usable(path):
            ours.execute("BEGIN IMMEDIATE")


def test_a_disk_that_has_no_room_for_the_database_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "modelbridge.db"
    with closing(sqlite3.connect(path)) as ours:
        ours.execute("PRAGMA max_page_count = 1")
        with pytest.raises(SchemaError, match="is full.*Make room"), usable(path):
            ours.execute("CREATE TABLE t (x)")


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "modelbridge.db")) as other:
        other.execute("CREATE TABLE users (name)")
        other.commit()
    told = flask(tmp_path, "doctor")
    assert told.returncode == 1
    assert "BAD   database: " in told.stdout
    assert "is not ModelBridge's" in told.stdout
    with pytest.raises(RuntimeError, match="ModelBridge cannot start: .*not ModelBridge's"):
        RunningBridge.start(tmp_path, MODELBRIDGE_DATA_DIR=str(tmp_path))


def test_a_data_folder_that_cannot_be_made_is_told_in_one_line() -> None:
    told = flask(Path("/proc/nowhere"), "doctor")
    assert told.returncode == 1
    assert "MODELBRIDGE_DATA_DIR: /proc/nowhere cannot be read or made" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "free_bytes_at", lambda path: 2**20)
    assert files(tmp_path)["disk"].state == "bad"


def test_a_network_file_system_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_file_system", lambda folder: "nfs4")
    found = files(tmp_path)["data folder"]
    assert found.state == "bad"
    assert "local disk" in found.mend


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({}, "good"),
        ({"MODELBRIDGE_PUBLIC_URL": "https://bridge.example.com"}, "good"),
        ({"MODELBRIDGE_PUBLIC_URL": "http://bridge.example.com"}, "bad"),
        ({"MODELBRIDGE_HOST": "0.0.0.0"}, "bad"),  # noqa: S104
        ({"MODELBRIDGE_HOST": "0.0.0.0", "MODELBRIDGE_PUBLIC_URL": "https://localhost"}, "good"),  # noqa: S104
    ],
)
def test_the_public_address_is_looked_at(
    tmp_path: Path, environ: dict[str, str], state: str
) -> None:
    assert files(tmp_path, **environ)["address"].state == state


def test_an_https_address_without_a_trusted_proxy_is_bad(tmp_path: Path) -> None:
    https = {"MODELBRIDGE_PUBLIC_URL": "https://bridge.example.com"}
    assert files(tmp_path)["proxy"].state == "good"
    found = files(tmp_path, **https)["proxy"]
    assert found.state == "bad"
    assert "MODELBRIDGE_TRUSTED_PROXIES" in found.mend
    trusted = files(tmp_path, **https, MODELBRIDGE_TRUSTED_PROXIES="127.0.0.1")["proxy"]
    assert (trusted.state, "127.0.0.1" in trusted.what) == ("good", True)


def test_old_prices_are_told(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    assert "here for " in data(commands)["prices"].what
    with time_machine.travel(clock.now() + timedelta(days=20_000)):
        found = data(commands)["prices"]
    assert (found.state, "model add" in found.mend) == ("advice", True)
    commands.bridge.close()


def test_where_the_master_key_lies_is_told(tmp_path: Path) -> None:
    assert files(tmp_path)["master key"].state == "advice"
    assert files(tmp_path, MODELBRIDGE_MASTER_KEY="x" * 32)["master key"].state == "good"


@pytest.mark.parametrize("name", ["MASTER", "SECRET"])
def test_a_key_that_could_be_guessed_is_told(tmp_path: Path, name: str) -> None:
    found = files(tmp_path, **{f"MODELBRIDGE_{name}_KEY": "changeme"})[f"{name.lower()} key"]
    assert found.state == "bad"
    assert "8 characters" in found.what
    assert "openssl rand -hex 32" in found.mend
    assert "changeme" not in f"{found.what} {found.mend}"


def test_old_and_shipped_rates_are_told(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    assert "came with the release" in data(commands)["exchange rate"].what
    with commands.bridge.database.transaction() as session:
        fx.set_rate(session, 1_600_000_000)
    assert data(commands)["exchange rate"].state == "good"
    old = clock.now() - timedelta(days=90)
    with commands.bridge.database.transaction() as session:
        session.add(FxVersion(version=99, aud_per_usd_nanos=1, source=fx.OPERATOR, created_at=old))
    assert "90 days old" in data(commands)["exchange rate"].what
    commands.bridge.close()


def test_books_that_do_not_add_up_or_were_never_checked_are_told(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    assert data(commands)["books"].state == "advice"
    books.check_now(commands.bridge.database, commands.bridge.auditor)
    assert data(commands)["books"].state == "good"
    with commands.bridge.database.transaction() as session:
        session.execute(update(BooksCheck).values(ok=False))
    assert data(commands)["books"].state == "bad"
    commands.bridge.close()


def test_a_master_key_that_is_not_the_one_is_found(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    words = ("upstream", "add", "openai", "--provider", "openai", "--api-key-stdin")
    commands.run(*words, stdin="sk-something-of-openai")
    assert data(commands)["upstream openai"].state == "good"
    found = data(commands, MODELBRIDGE_MASTER_KEY="another one, long enough")["upstream openai"]
    assert found.state == "bad"
    assert "another master key" in found.what
    commands.bridge.close()


def test_what_else_a_wrong_master_key_does_not_open_is_found(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    master_key = commands.bridge.settings.master_key
    commands.run("user", "create", "alice@example.com")
    words = ("alerts", "set", "--webhook", "https://hooks.example.com", "--webhook-secret-stdin")
    commands.run(*words, stdin="sixteen characters")
    with commands.bridge.database.transaction() as session:
        alice = session.scalars(select(User)).one()
        alice.totp_sealed = seal(master_key, alice.id, "JBSWY3DP", column=SECOND_STEP)
    assert {"second steps", "webhook"}.isdisjoint(data(commands))
    found = data(commands, MODELBRIDGE_MASTER_KEY="another one, long enough")
    for word in ("second steps", "webhook"):
        assert found[word].state == "bad"
        assert "master key" in found[word].mend
    assert "1 of 1" in found["second steps"].what
    commands.bridge.close()


def test_a_backup_that_is_late_is_found(tmp_path: Path) -> None:
    commands = Commands(tmp_path / "data")
    folder = {"MODELBRIDGE_BACKUP_DIR": str(tmp_path / "backups")}
    assert data(commands)["backups"].state == "advice"
    assert data(commands, **folder)["backups"].state == "bad"
    commands.bridge.close()


def test_a_mail_server_that_is_not_there_is_found(tmp_path: Path) -> None:
    assert doctor.examine_mail(settings_of(tmp_path)).state == "advice"
    nowhere = {
        "MODELBRIDGE_SMTP_HOST": "127.0.0.1",
        "MODELBRIDGE_SMTP_PORT": "9",
        "MODELBRIDGE_SMTP_FROM": "a@example.com",
    }
    found = doctor.examine_mail(settings_of(tmp_path, **nowhere))
    assert found.state == "bad"
    assert "ConnectionRefusedError" in found.what


def test_a_clock_that_was_set_back_is_found(bridge: TestBridge, key: Key) -> None:
    def found() -> Finding:
        with bridge.database.reading() as session:
            return _by_word(doctor.examine_data(bridge.bridge.settings, session))["clock"]

    key.chat()
    bridge.settle_down()
    assert found().state == "good"
    with time_machine.travel(clock.now() - timedelta(hours=1)):
        assert found().state == "bad"
