"""A key that leaked: found in files without a network, revoked by whoever has it."""

import re
import socket
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from people import ROOT, Key, Person, TestBridge, flask, wait_for
from sqlalchemy import select

from modelbridge import clock, ids
from modelbridge.cli.scanning import _BLOCK_BYTES, _in_stream
from modelbridge.identity import keys, rotation, users
from modelbridge.store.tables import ApiKey, AuditEvent

LEAKS = (ROOT / "docs" / "leaks.md").read_text("utf-8")
PATTERNS = re.findall(r"mb_\(\?:live\|test\)_\[0-9A-Za-z\]\{49\}", LEAKS)


def revoke(bridge: TestBridge, secret: str, header: str = "Authorization") -> requests.Response:
    value = f"Bearer {secret}" if header == "Authorization" else secret
    return requests.post(f"{bridge.url}/v1/key/revoke", headers={header: value}, timeout=60)


def revocations(bridge: TestBridge) -> list[AuditEvent]:
    with bridge.database.reading() as session:
        query = select(AuditEvent).where(AuditEvent.action.in_(("key.revoke", "key.end_overlap")))
        return list(session.scalars(query))


def rotate(bridge: TestBridge, key: Key, hours: int) -> str:
    with bridge.database.transaction() as session:
        row = session.get_one(ApiKey, key.id)
        return rotation.rotate(session, row, hours).secret


# Revoked by possession


def test_whoever_has_a_key_can_revoke_it(bridge: TestBridge, alice: Person) -> None:
    key = alice.key()
    assert key.chat().status_code == 200
    said = revoke(bridge, key.secret).json()
    assert said == {
        "object": "key.revocation",
        "id": key.id,
        "key": f"{key.secret[:12]}…{key.secret[-4:]}",
        "revoked": "key",
        "already_revoked": False,
    }
    assert key.chat().json()["error"]["code"] == "api_key_revoked"
    again = revoke(bridge, key.secret, "x-api-key")
    assert (again.status_code, again.json()["already_revoked"]) == (200, True)
    (event,) = revocations(bridge)
    assert (event.actor, event.actor_id, event.address) == (
        "whoever has the key",
        None,
        "127.0.0.1",
    )
    assert (event.subject_id, event.details) == (key.id, {"by": "possession"})


def test_a_running_stream_of_it_is_cut(bridge: TestBridge, alice: Person) -> None:
    key = alice.key(test=True)
    assert revoke(bridge, key.secret).status_code == 200
    assert key.stream("sandbox-slow").status_code == 401


def test_it_works_from_anywhere_and_for_keys_that_are_past_use(
    bridge: TestBridge, alice: Person
) -> None:
    bound = alice.key(addresses=["203.0.113.7"])
    assert revoke(bridge, bound.secret).json()["already_revoked"] is False
    expired = alice.key(expires_at=clock.now() + timedelta(seconds=0.5))
    wait_for(lambda: expired.chat().status_code == 401)
    assert revoke(bridge, expired.secret).json()["already_revoked"] is False
    bob = bridge.person("bob")
    orphan = bob.key()
    with bridge.database.transaction() as session:
        user = users.get_user(session, bob.id)
        assert user is not None
        users.disable(session, user)
    assert revoke(bridge, orphan.secret).json()["already_revoked"] is False
    with bridge.database.reading() as session:
        for key in (bound, expired, orphan):
            assert session.get_one(ApiKey, key.id).revoked_at is not None


def test_the_secret_of_before_a_rotation_ends_alone(bridge: TestBridge, alice: Person) -> None:
    key = alice.key()
    old, new = key.secret, rotate(bridge, key, 24)
    said = revoke(bridge, old).json()
    assert (said["revoked"], said["already_revoked"]) == ("earlier_secret", False)
    assert revoke(bridge, old).json()["already_revoked"] is True
    assert key.chat().json()["error"]["code"] == "invalid_api_key"
    assert Key(bridge, key.id, new).chat().status_code == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "missing_api_key"),
        ({"Authorization": f"Bearer {ids.new_api_key(test=False)}"}, 401, "invalid_api_key"),
        ({"Authorization": "Bearer mb_live_short"}, 401, "invalid_api_key"),
        ({"Authorization": "Bearer a", "x-api-key": "b"}, 400, "ambiguous_credentials"),
    ],
)
def test_nothing_is_revoked_without_the_key(
    bridge: TestBridge, key: Key, headers: dict[str, str], status: int, code: str
) -> None:
    answer = requests.post(f"{bridge.url}/v1/key/revoke", headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert requests.get(f"{bridge.url}/v1/key/revoke", timeout=60).status_code == 405
    assert revocations(bridge) == []


# Found in files


@pytest.fixture
def leaked(bridge: TestBridge, alice: Person, tmp_path: Path) -> tuple[Path, dict[str, Key]]:
    """A folder with keys in all the places where people leave them."""
    folder = tmp_path / "project"
    (folder / "deep" / "er").mkdir(parents=True)
    named = {name: alice.key(name=name) for name in ("live", "revoked", "rotated", "deep", "wide")}
    named["revoked"].revoke()
    rotate(bridge, named["rotated"], 0)
    (folder / ".env").write_text(f"# settings\nOPENAI_API_KEY={named['live'].secret}\n")
    stranger = ids.new_api_key(test=False)
    mistyped = named["live"].secret[:-1] + ("0" if named["live"].secret[-1] != "0" else "1")
    lines = ["", named["revoked"].secret, f'"{named["rotated"].secret}",', stranger, mistyped]
    (folder / "notes.txt").write_text("\n".join(lines))
    (folder / "deep" / "er" / "dump.bin").write_bytes(
        b"\x00\xff" + named["deep"].secret.encode() + b"\n" * 3 + b"\xfe"
    )
    (folder / "wide.txt").write_bytes(f"one\ntwo {named['wide'].secret}".encode("utf-16"))
    (folder / "loop").symlink_to(folder)
    return folder, named


def test_keys_are_found_and_told_apart_and_never_printed(
    bridge: TestBridge, leaked: tuple[Path, dict[str, Key]], tmp_path: Path
) -> None:
    folder, named = leaked
    done = flask(tmp_path, "key", "scan", str(folder))
    assert done.returncode == 1, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        where, _hint, *rest = line.split("  ")
        found[where.removeprefix(f"{folder}/")] = rest
    assert found == {
        ".env:2": ["active", f"{named['live'].id} (live)"],
        "deep/er/dump.bin:1": ["active", f"{named['deep'].id} (deep)"],
        "notes.txt:2": ["revoked", f"{named['revoked'].id} (revoked)"],
        "notes.txt:3": ["rotated", f"{named['rotated'].id} (rotated)"],
        "notes.txt:4": ["not of this bridge"],
        "wide.txt:2": ["active", f"{named['wide'].id} (wide)"],
    }
    assert "6 found, 3 different live keys" in done.stderr
    assert ids.find_keys(done.stdout + done.stderr) == []
    for key in named.values():
        assert key.secret not in done.stdout + done.stderr


def test_the_exit_status_is_for_scripts(
    bridge: TestBridge, leaked: tuple[Path, dict[str, Key]], tmp_path: Path
) -> None:
    folder, named = leaked
    (folder / "notes.txt").rename(tmp_path / "dead.txt")
    assert flask(tmp_path, "key", "scan", str(tmp_path / "dead.txt")).returncode == 0
    missing = flask(tmp_path, "key", "scan", str(tmp_path / "nowhere"))
    assert missing.returncode == 2
    assert "nowhere: cannot be read" in missing.stderr
    piped = flask(tmp_path, "key", "scan", "-", stdin=f"+token = {named['live'].secret}\n")
    assert piped.returncode == 1
    assert piped.stdout.startswith("-:1  ")


@pytest.mark.parametrize("aside", [-60, -57, -30, -1, 0, 1])
def test_a_key_that_lies_across_two_blocks_is_found_once(tmp_path: Path, aside: int) -> None:
    secret = ids.new_api_key(test=True)
    file = tmp_path / "long.txt"
    before = b"x" * 999 + b"\n"
    padding = (before * (_BLOCK_BYTES // 1000 + 1))[: _BLOCK_BYTES + aside - 1] + b"\n"
    file.write_bytes(padding + secret.encode() + b"\n" + secret.encode())
    with file.open("rb") as stream:
        places = list(_in_stream(stream, "long.txt"))
    line = padding.count(b"\n") + 1
    assert [(place.line, place.secret) for place in places] == [(line, secret), (line + 1, secret)]


# Patterns for scanners


def test_the_patterns_of_the_page_fit_every_key_and_nothing_shorter() -> None:
    assert len(PATTERNS) >= 3
    assert set(PATTERNS) == {ids.KEY_PATTERN}
    pattern = re.compile(rf"\b({ids.KEY_PATTERN})\b")
    for number in range(2000):
        secret = ids.new_api_key(test=number % 2 == 0)
        assert pattern.findall(f'key: "{secret}",') == [secret]
        assert pattern.search(secret[:-1]) is None
        assert pattern.search(secret + "a") is None
        assert ids.find_keys(f"{secret} {secret[:-1]}") == [secret]


def test_keys_have_the_entropy_that_the_gitleaks_rule_asks_for() -> None:
    from math import log2

    asked = float(re.search(r"entropy = ([\d.]+)", LEAKS)[1])  # type: ignore[index]
    for _ in range(2000):
        secret = ids.new_api_key(test=False)
        shares = [secret.count(sign) / len(secret) for sign in set(secret)]
        assert -sum(share * log2(share) for share in shares) > asked


def test_a_key_is_found_by_its_secrets_alone(bridge: TestBridge, key: Key) -> None:
    with bridge.database.reading() as session:
        found = rotation.find_by_secret(session, key.secret)
        assert found is not None
        assert keys.hint(found[0]) == f"{key.secret[:12]}…{key.secret[-4:]}"
        assert rotation.find_by_secret(session, ids.new_api_key(test=False)) is None


@pytest.mark.parametrize("length", ["Content-Length: 300000", "Transfer-Encoding: chunked"])
def test_a_long_body_is_taken_from_whoever_has_a_living_key_alone(
    bridge: TestBridge, alice: Person, length: str
) -> None:
    """A checksum anybody can reckon: without a look at the key strangers fill the disk."""
    living, revoked = alice.key(), alice.key()
    with bridge.database.transaction() as session:
        keys.revoke(session, session.get_one(ApiKey, revoked.id))
    host, port = bridge.url.removeprefix("http://").split(":")
    for secret in (ids.new_api_key(test=False), revoked.secret, living.secret):
        with socket.create_connection((host, int(port)), timeout=20) as line:
            head = f"POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n"
            line.sendall(f"{head}{length}\r\n\r\n".encode())
            if secret == living.secret:
                line.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    line.recv(100)
            else:
                answer = line.recv(65_536)
                assert answer.startswith(b"HTTP/1.1 401 ")
                assert b"Connection: close" in answer
