"""`flask …` as a real process, as an operator or a script runs it."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import ROOT, flask
from sqlalchemy import text

from modelbridge import ids
from modelbridge.store.database import Database
from modelbridge.store.tables import User

ALICE = "alice@example.com"
NOUNS = (
    "account",
    "backup",
    "books",
    "fx",
    "key",
    "model",
    "team",
    "topup",
    "upstream",
    "user",
)


def ok(data_dir: Path, *words: str, stdin: str = "", **environ: str) -> str:
    done = flask(data_dir, *words, stdin=stdin, **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bridge_is_set_up_by_a_script(tmp_path: Path) -> None:
    ok(tmp_path, "user", "create", ALICE, "--admin", "--password-stdin", stdin="four odd old words")
    ok(
        tmp_path,
        "upstream",
        "add",
        "openai",
        "--provider",
        "openai",
        "--api-key-env",
        "K",
        K="sk-1",
    )
    ok(tmp_path, "fx", "set", "1.5")
    assert ok(tmp_path, "topup", ALICE, "20").endswith(" 20.00 AUD.\n")
    secret = ok(tmp_path, "key", "create", "--account", ALICE, "--name", "script", "--limit", "5")
    assert ids.is_well_formed_key(secret.removesuffix("\n"))
    (found,) = json.loads(ok(tmp_path, "key", "list", "--account", ALICE, "--json"))[:1]
    assert (found["limit"], found["status"]) == ("5.00", "active")
    ok(tmp_path, "key", "revoke", secret[:16])
    assert json.loads(ok(tmp_path, "books", "check", "--json"))["ok"] is True


def test_every_noun_and_verb_explains_itself(tmp_path: Path) -> None:
    listed = ok(tmp_path, "--help")
    for noun in NOUNS:
        assert f"\n  {noun} " in listed, noun
    assert "ISO8601" in ok(tmp_path, "key", "create", "--help")


def test_a_refusal_is_one_line_without_a_traceback(tmp_path: Path) -> None:
    for words in (
        ("topup", "nobody@example.com", "5"),
        ("key", "revoke", "mb_live_nope"),
        ("user", "create", "\udcff@example.com"),
        ("team", "create", "\udcff", "--owner", ALICE),
    ):
        done = flask(tmp_path, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1, done.stderr


def test_a_bad_setting_is_one_line_too(tmp_path: Path) -> None:
    done = flask(tmp_path, "user", "list", MODELBRIDGE_PORT="many")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: MODELBRIDGE_PORT must be a whole number, not 'many'\n"


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    ok(tmp_path, "user", "list")
    database = Database(tmp_path / "modelbridge.db")
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    done = flask(tmp_path, "user", "list")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The database is at revision 9999")


def test_commands_at_the_same_moment_all_count(tmp_path: Path) -> None:
    ok(tmp_path, "user", "create", ALICE)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ok(tmp_path, "topup", ALICE, "1"), range(4)))
        list(pool.map(lambda _: ok(tmp_path, "topup", ALICE, "1", "--reference", "R"), range(2)))
    shown = json.loads(ok(tmp_path, "account", "show", ALICE, "--json"))
    assert shown["balance"] == "5.00"


def test_a_backup_is_a_database_that_opens(tmp_path: Path) -> None:
    ok(tmp_path, "user", "create", ALICE)
    copy = tmp_path / "copies" / "monday.db"
    copy.parent.mkdir()
    assert str(copy) in ok(tmp_path, "backup", str(copy))
    database = Database(copy)
    with database.reading() as session:
        assert [user.email for user in session.query(User)] == [ALICE]
    database.close()


@pytest.mark.parametrize("where", ["there.db", "no/such/directory/copy.db"])
def test_a_backup_never_overwrites_and_says_where_it_cannot_go(tmp_path: Path, where: str) -> None:
    (tmp_path / "there.db").write_text("precious")
    done = flask(tmp_path, "backup", str(tmp_path / where))
    assert (done.returncode, done.stdout) == (1, "")
    assert "PATH" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "there.db").read_text() == "precious"


def test_listing_users_does_not_import_what_only_other_commands_need() -> None:
    code = (
        "import sys, importlib; importlib.import_module('modelbridge.cli');"
        "print([m for m in sys.modules if m.startswith('modelbridge.cli.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
