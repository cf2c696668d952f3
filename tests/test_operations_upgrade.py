"""Upgrades, restores, backups on a schedule: the data comes through whole, or nothing is done."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import time_machine
from furnished_files import CALLS, furnished
from hostile import HostileUpstream
from people import ROOT, Key, Person, TestBridge, flask, serving, wait_for
from running import RunningBridge, set_up
from test_migrations import REVISIONS, tables

from modelbridge import clock, config
from modelbridge.factory import Bridge
from modelbridge.identity import keys, links, rotation, sessions, users
from modelbridge.operations import backups, readiness, upgrade
from modelbridge.operations.backups import BackupClock
from modelbridge.operations.restore import RestoreError, restore
from modelbridge.store import migrate
from modelbridge.store.backup import backup
from modelbridge.store.migrate import HEAD, SchemaError
from modelbridge.store.tables import ApiKey, AuditEvent, User


def settings_of(folder: Path, **environ: str) -> config.Settings:
    return config.load({"MODELBRIDGE_DATA_DIR": str(folder)} | environ)


def revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.fixture
def old(tmp_path: Path, upstream: HostileUpstream) -> Path:
    """The data folder of a bridge of the first revision, with something in every table."""
    furnished(tmp_path, upstream, REVISIONS[0])
    return tmp_path


@pytest.mark.parametrize("number", REVISIONS)
def test_a_database_of_each_revision_comes_up_with_its_data_and_a_copy_is_kept(
    tmp_path: Path, upstream: HostileUpstream, number: str
) -> None:
    path = tmp_path / "modelbridge.db"
    before = furnished(tmp_path, upstream, number)
    assert revision(path) == number
    with serving(tmp_path) as bridge:
        bridge.check_books()
        assert len(bridge.calls()) == CALLS
        assert sum(call.cost_nanos or 0 for call in bridge.calls()) > 0
    after = tables(path)
    assert {name: after[name] for name in before} == before
    checked = flask(tmp_path, "books", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    kept = list(tmp_path.glob("before-upgrade-*.db"))
    assert len(kept) == (number != HEAD)
    for copy in kept:
        assert revision(copy) == number
        assert tables(copy) == before
        assert copy.stat().st_mode & 0o077 == 0
    with serving(tmp_path):
        assert len(list(tmp_path.glob("before-upgrade-*.db"))) == len(kept)


def refuses_to_serve(folder: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """What `Bridge` says when it is started on that folder."""
    bridge = Bridge(settings_of(folder))
    with pytest.raises(SchemaError) as refusal:
        bridge.start()
    return str(refusal.value)


def with_migrations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str) -> None:
    """The history has one more revision, 9000, that does this."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for path in migrate.MIGRATIONS.rglob("*.py"):
        (folder / path.relative_to(migrate.MIGRATIONS)).write_bytes(path.read_bytes())
    (folder / "versions" / "9000_test.py").write_text(
        f'from alembic import op\nrevision = "9000"\ndown_revision = "{HEAD}"\n'
        f"def upgrade() -> None:\n{words}\ndef downgrade() -> None: ...\n"
    )
    monkeypatch.setattr(migrate, "MIGRATIONS", folder)
    original: Callable[..., None] = migrate.upgrade
    monkeypatch.setattr(
        migrate, "upgrade", lambda engine, *_, **more: original(engine, "9000", **more)
    )


HALF_WAY = """    op.execute("CREATE TABLE half (x)")
    op.execute("UPDATE users SET name = 'changed'")
    op.execute("ALTER TABLE nowhere ADD COLUMN y")
"""
BREAKS_THE_BOOKS = """    op.execute("UPDATE accounts SET balance_nanos = balance_nanos + 1")
"""
LOSES_ROWS = """    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TABLE spare AS SELECT * FROM memberships")
    op.execute("UPDATE memberships SET team_id = 'gone'")
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (HALF_WAY, "no such table: nowhere"),
        (BREAKS_THE_BOOKS, "afterwards the data would be wrong"),
        (LOSES_ROWS, "names a row of teams that is not there"),
    ],
)
def test_a_migration_that_goes_wrong_changes_nothing_and_the_bridge_does_not_serve(
    old: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: str,
    said: str,
) -> None:
    path = old / "modelbridge.db"
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    with_migrations(monkeypatch, tmp_path_factory.mktemp("newer"), words)
    told = refuses_to_serve(old, capfd)
    assert said in told
    assert f"from revision {REVISIONS[0]} to" in told
    assert "Nothing was changed" in told
    assert "before-upgrade-" in told
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before
    monkeypatch.undo()
    with serving(old) as bridge:  # the code that has the proper history runs on it
        bridge.check_books()


_IS_KILLED = """    op.execute("UPDATE users SET name = 'changed'")
    op.execute("CREATE TABLE half (x)")
    import os
    os.kill(os.getpid(), 9)
"""
_STARTS = """
import sys
from pathlib import Path
from modelbridge import config
from modelbridge.factory import Bridge
from modelbridge.identity import keys, links, rotation, sessions, users
from modelbridge.store import migrate
migrate.MIGRATIONS = Path(sys.argv[1])
original = migrate.upgrade
migrate.upgrade = lambda engine, *_, **more: original(engine, "9000", **more)
Bridge(config.load({"MODELBRIDGE_DATA_DIR": sys.argv[2]})).start()
"""


def test_a_process_that_is_killed_in_the_middle_of_a_migration_leaves_the_data_as_it_was(
    old: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old / "modelbridge.db"
    with closing(sqlite3.connect(path)) as connection:
        before = list(connection.iterdump())
    with_migrations(monkeypatch, tmp_path_factory.mktemp("newer"), _IS_KILLED)
    words = [sys.executable, "-c", _STARTS, str(migrate.MIGRATIONS), str(old)]
    assert subprocess.run(words, cwd=ROOT, check=False, timeout=60).returncode == -9
    with closing(sqlite3.connect(path)) as connection:
        assert list(connection.iterdump()) == before
    (kept,) = old.glob("before-upgrade-*.db")
    assert revision(kept) == REVISIONS[0]
    monkeypatch.undo()
    with serving(old) as bridge:
        bridge.check_books()


def test_a_disk_without_room_for_the_copy_is_told_before_anything_is_touched(
    old: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(upgrade, "free_bytes_at", lambda path: 1000)
    assert "has no room for a copy of it" in refuses_to_serve(old, capfd)
    assert revision(old / "modelbridge.db") == REVISIONS[0]


def test_a_server_says_in_one_line_why_it_does_not_start_on_a_newer_database(
    old: Path, tmp_path: Path
) -> None:
    with serving(old):
        pass
    with closing(sqlite3.connect(old / "modelbridge.db", isolation_level=None)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RuntimeError, match="ModelBridge cannot start: .*used by a newer one"):
        RunningBridge.start(
            tmp_path, MODELBRIDGE_DATABASE_URL=f"sqlite:///{old / 'modelbridge.db'}"
        )


# Restore


def test_a_backup_is_restored_verified_and_says_what_is_missing(
    bridge: TestBridge, alice: Person, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, copy = bridge.database.path.parent, tmp_path_factory.mktemp("copies") / "copy.db"
    key = alice.key()
    key.chat()
    bridge.settle_down()
    backup(bridge.database.path, copy)
    for _ in range(2):
        key.chat()
    bridge.settle_down()
    bridge.bridge.close()
    done = flask(folder, "restore", str(copy))
    assert done.returncode == 0, done.stderr
    assert "sound, and its books add up" in done.stdout
    assert "2 calls that were made after the backup are only in that file" in done.stderr
    (replaced,) = folder.glob("replaced-*.db")
    assert tables(replaced)["calls"] == 3
    assert tables(folder / "modelbridge.db")["calls"] == 1
    assert not list(folder.glob(".restore-*"))
    with serving(folder) as again:
        again.check_books()
        assert len(again.calls()) == 1
        assert [one.action for one in again.rows(AuditEvent)][-1] == "database.restore"


def test_what_a_restore_lets_in_again_is_told_and_nobody_stays_logged_in(
    bridge: TestBridge, alice: Person, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, copy = bridge.database.path.parent, tmp_path_factory.mktemp("copies") / "copy.db"
    revoked, rotated, before, _ = (alice.key(name=name) for name in ("a", "b", "c", "d"))
    bob = bridge.person("bob")

    def revoke(key: Key) -> None:
        with bridge.database.transaction() as session:
            keys.revoke(session, session.get_one(ApiKey, key.id))

    revoke(before)
    with bridge.database.transaction() as session:
        token = sessions.start(session, session.get_one(User, alice.id), address="", user_agent="")
        link = links.new_link(session, "reset", alice.id, 24)
    backup(bridge.database.path, copy)
    revoke(revoked)
    with bridge.database.transaction() as session:
        rotation.rotate(session, session.get_one(ApiKey, rotated.id), 0)
        users.disable(session, session.get_one(User, bob.id))
    bridge.bridge.close()
    told = flask(folder, "restore", str(copy)).stderr
    assert f"flask key revoke {revoked.id}" in told
    assert f"flask key revoke {rotated.id}" in told
    assert before.id not in told
    assert "bob@example.com was disabled after the backup, and is not any more" in told
    with serving(folder) as again, again.database.reading() as session:
        assert sessions.find(session, token) is None
        assert links.open_link(session, "reset", link) is None


def test_a_backup_of_an_earlier_revision_is_brought_up(old: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(old / "modelbridge.db", copy)
    restore(settings_of(tmp_path / "fresh"), copy)
    assert revision(tmp_path / "fresh" / "modelbridge.db") == HEAD
    assert revision(copy) == REVISIONS[0]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"nonsense" * 1000), "not a database"),
        (lambda path: path.write_bytes(path.read_bytes()[: 9 * 4096]), "malformed|not sound|sound"),
        (lambda path: path.unlink(), "is not a file"),
        (lambda path: _run(path, "UPDATE accounts SET balance_nanos = 1"), "the data of .* wrong"),
        (lambda path: _run(path, "UPDATE alembic_version SET version_num = '9'"), "newer one"),
        (lambda path: _run(path, "DROP TABLE alembic_version"), "no database of ModelBridge"),
    ],
)
def test_what_is_not_whole_is_not_restored(
    old: Path, tmp_path_factory: pytest.TempPathFactory, spoil: Callable[[Path], Any], said: str
) -> None:
    copy = tmp_path_factory.mktemp("copies") / "copy.db"
    backup(old / "modelbridge.db", copy)
    spoil(copy)
    before = (old / "modelbridge.db").read_bytes()
    with pytest.raises(RestoreError, match=said):
        restore(settings_of(old), copy)
    assert (old / "modelbridge.db").read_bytes() == before
    assert not [path.name for path in old.iterdir() if "restore" in path.name]


def _run(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql)


def test_nothing_is_restored_under_a_running_bridge(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with RunningBridge.start(tmp_path) as bridge:
        set_up(bridge)
        copy = tmp_path_factory.mktemp("copies") / "copy.db"
        bridge.flask("backup", str(copy))
        told = flask(bridge.data_dir, "restore", str(copy))
    assert told.returncode == 1
    assert "stop it first" in told.stderr


# Backups on a schedule


def test_backups_are_made_when_they_are_due_and_the_newest_are_kept(
    bridge: TestBridge, alice: Person, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("backups") / "made"
    settings = settings_of(
        bridge.database.path.parent,
        MODELBRIDGE_BACKUP_DIR=str(folder),
        MODELBRIDGE_BACKUP_HOURS="6",
        MODELBRIDGE_BACKUP_KEEP="3",
    )
    folder.mkdir()
    (folder / "modelbridge-mine.db").write_text("another file")
    left = folder / ".modelbridge-20260101T000000Z.db.1.part"  # of a process that was killed
    left.write_text("half a copy")
    schedule = BackupClock(settings)
    made = []
    with time_machine.travel(clock.now(), tick=False) as travel:
        for _ in range(5):
            made.append(schedule.look())
            assert schedule.look() is None
            travel.shift(6 * 3600 - 1)
            assert schedule.look() is None
            travel.shift(2)
    assert [path for path in made if path and path.exists()] == made[2:]
    assert (folder / "modelbridge-mine.db").exists()
    assert not left.exists()
    assert tables(backups.copies(folder)[-1])["users"] == 1


def test_a_backup_that_fails_is_told_and_tried_again(
    bridge: TestBridge, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path_factory.mktemp("backups") / "a file"
    place.write_text("in the way")
    settings = settings_of(bridge.database.path.parent, MODELBRIDGE_BACKUP_DIR=str(place))
    monkeypatch.setattr(backups, "LOOK_SECONDS", 0.01)
    schedule = BackupClock(settings)
    schedule.start()
    try:
        assert wait_for(lambda: schedule.trouble)
        place.unlink()
        wait_for(lambda: schedule.trouble is None)
        assert len(backups.copies(place)) == 1
    finally:
        schedule.stop()


def test_without_a_folder_there_is_no_schedule(tmp_path: Path) -> None:
    schedule = BackupClock(settings_of(tmp_path))
    schedule.start()
    schedule.stop()
    assert schedule.look() is None


def test_free_space_is_what_an_ordinary_process_has(tmp_path: Path) -> None:
    assert 0 < readiness.free_bytes_at(tmp_path) <= os.statvfs(tmp_path).f_blocks * 2**20
