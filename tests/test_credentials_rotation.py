"""Another master key: everything sealed opens before, during and after the change."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from people import ROOT
from sqlalchemy import select

from modelbridge import config
from modelbridge.catalog import admin
from modelbridge.catalog.routes import target_of
from modelbridge.factory import Bridge
from modelbridge.identity import second_step, users
from modelbridge.ledger import accounts
from modelbridge.store.tables import AuditEvent, Upstream, User
from modelbridge.upstream.credentials import SECOND_STEP, CredentialError, seal, unseal

OLD, NEW = "o" * 64, "n" * 64
UPSTREAM_SECRET, DEVICE_SECRET = "sk-upstream", "JBSWY3DPEHPK3PXP"


def bridge_with(data_dir: Path, **environ: str) -> Bridge:
    return Bridge(config.load({"MODELBRIDGE_DATA_DIR": str(data_dir), **environ}))


def rotate(data_dir: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(Path(sys.executable).with_name("flask")), "credentials", "rotate"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "MODELBRIDGE_DATA_DIR": str(data_dir), **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A bridge under the old key with two upstreams, and Alice with a second step."""
    bridge = bridge_with(tmp_path, MODELBRIDGE_MASTER_KEY=OLD)
    with bridge.database.transaction() as session:
        for name in ("one", "two"):
            admin.add_upstream(
                session, name=name, provider="openai", base_url=None,
                allow_private=True, sealed_credential=lambda id_: seal(OLD, id_, UPSTREAM_SECRET),
            )  # fmt: skip
        account = accounts.open_account(session, "user")
        alice = users.create_user(session, email="alice@example.com", account_id=account.id)
        second_step.begin(session, alice, seal(OLD, alice.id, DEVICE_SECRET, column=SECOND_STEP))
    bridge.close()
    return tmp_path


def opened(bridge: Bridge, *, old: str = "") -> set[str]:
    """Every sealed secret, opened."""
    key = bridge.settings.master_key
    with bridge.database.reading() as session:
        found = {
            unseal(key, row.id, row.credential or "", old_key=old)
            for row in session.scalars(select(Upstream))
        }
        for user in session.scalars(select(User)):
            found.add(unseal(key, user.id, user.totp_sealed or "", column=SECOND_STEP, old_key=old))
    return found


def test_both_keys_open_before_and_the_new_one_alone_after(data_dir: Path) -> None:
    both = {"MODELBRIDGE_MASTER_KEY": NEW, "MODELBRIDGE_OLD_MASTER_KEY": OLD}
    bridge = bridge_with(data_dir, **both)
    assert opened(bridge, old=OLD) == {UPSTREAM_SECRET, DEVICE_SECRET}
    with bridge.database.reading() as session:
        targets = [target_of(row) for row in session.scalars(select(Upstream))]
    assert {bridge._credential_of(one) for one in targets if one} == {UPSTREAM_SECRET}
    bridge.close()
    done = rotate(data_dir, **both)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Sealed 3 anew; 0 were")
    assert rotate(data_dir, **both).stdout.startswith("Sealed 0 anew; 3 were")
    after = bridge_with(data_dir, MODELBRIDGE_MASTER_KEY=NEW)
    assert opened(after) == {UPSTREAM_SECRET, DEVICE_SECRET}
    with after.database.reading() as session:
        query = select(AuditEvent).where(AuditEvent.action == "credentials.rotate")
        assert [event.details for event in session.scalars(query)] == [{"sealed_anew": 3}]
    after.close()


def test_without_the_old_key_nothing_is_changed_and_it_says_whose_does_not_open(
    data_dir: Path,
) -> None:
    done = rotate(data_dir, MODELBRIDGE_MASTER_KEY=NEW)
    assert done.returncode == 1
    assert "upstream one: the stored credential was sealed under another" in done.stderr
    assert "Nothing was changed" in done.stderr
    bridge = bridge_with(data_dir, MODELBRIDGE_MASTER_KEY=OLD)
    assert opened(bridge) == {UPSTREAM_SECRET, DEVICE_SECRET}
    bridge.close()


def test_a_key_from_a_file_and_one_that_is_made_do_as_well(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "old.key").write_text(f"{OLD}\n")
    environ = {"MODELBRIDGE_OLD_MASTER_KEY_FILE": str(tmp_path / "old.key")}
    assert rotate(data_dir, **environ).stdout.startswith("Sealed 3 anew")
    bridge = bridge_with(data_dir)
    assert bridge.settings.master_key == (data_dir / "master.key").read_text()
    assert opened(bridge) == {UPSTREAM_SECRET, DEVICE_SECRET}
    bridge.close()


def test_a_secret_does_not_open_in_another_column() -> None:
    sealed = seal(OLD, "row_1", DEVICE_SECRET, column=SECOND_STEP)
    assert unseal(OLD, "row_1", sealed, column=SECOND_STEP) == DEVICE_SECRET
    with pytest.raises(CredentialError, match="damaged"):
        unseal(OLD, "row_1", sealed)
