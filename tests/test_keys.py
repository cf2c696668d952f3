"""API keys: their form, their life, and whose they are."""

import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.identity import keys, users
from modelbridge.identity.keys import NewKey
from modelbridge.ledger.accounts import open_account
from modelbridge.store import migrate
from modelbridge.store.database import Database
from modelbridge.store.tables import ApiKey, User

BASE62 = string.digits + string.ascii_letters
SYDNEY = "Australia/Sydney"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    database = Database(tmp_path / "modelbridge.db")
    migrate.upgrade(database.engine)
    with database.transaction() as session:
        yield session
    database.close()


@pytest.fixture
def alice(session: Session) -> User:
    return person(session, "alice@example.com")


@pytest.fixture
def charlie(session: Session) -> User:
    return person(session, "charlie@example.com")


def person(session: Session, email: str) -> User:
    account_id = open_account(session, "user").id
    return users.create_user(session, email=email, account_id=account_id)


def make(session: Session, user: User, **wanted: object) -> NewKey:
    given: dict[str, Any] = {
        "account_id": user.account_id,
        "user_id": user.id,
        "name": "laptop",
        "test": False,
        "limit_nanos": None,
        "window": "none",
        "expires_at": None,
        "models": None,
    }
    return keys.create_key(session, **(given | wanted))


# Form


@given(st.booleans())
def test_a_new_key_is_well_formed_and_says_its_mode(test: bool) -> None:
    key = ids.new_api_key(test=test)
    assert ids.is_well_formed_key(key)
    assert key.startswith("mb_test_" if test else "mb_live_")
    assert len(key) == 8 + 43 + 6


def test_every_change_of_one_character_is_refused_by_the_checksum() -> None:
    key = ids.new_api_key(test=False)
    for position, was in enumerate(key):
        for now in BASE62 + "_-. é":
            changed = key[:position] + now + key[position + 1 :]
            assert ids.is_well_formed_key(changed) == (now == was), (position, now)


@given(st.booleans(), st.integers(0, 56), st.sampled_from(BASE62))
def test_no_key_survives_a_typo(test: bool, position: int, typed: str) -> None:
    key = ids.new_api_key(test=test)
    changed = key[:position] + typed + key[position + 1 :]
    assert ids.is_well_formed_key(changed) == (changed == key)


def test_two_neighbours_swapped_are_refused() -> None:
    for key in (ids.new_api_key(test=False), ids.new_api_key(test=True)):
        for at in range(len(key) - 1):
            swapped = key[:at] + key[at + 1] + key[at] + key[at + 2 :]
            assert ids.is_well_formed_key(swapped) == (swapped == key)


@given(st.integers(0, 56), st.sampled_from(BASE62))
def test_a_character_lost_or_doubled_is_refused(position: int, extra: str) -> None:
    key = ids.new_api_key(test=False)
    assert not ids.is_well_formed_key(key[:position] + key[position + 1 :])
    assert not ids.is_well_formed_key(key[:position] + extra + key[position:])


@given(st.text(max_size=80))
def test_what_is_no_key_is_refused_whatever_it_is(anything: str) -> None:
    assert not ids.is_well_formed_key(anything)
    assert not ids.is_well_formed_key(f"mb_live_{anything}")


def test_a_live_key_does_not_become_a_test_key_by_its_name() -> None:
    key = ids.new_api_key(test=False)
    assert not ids.is_well_formed_key(key.replace("mb_live_", "mb_test_"))


# Making one


def test_a_key_is_stored_as_its_hash_only(session: Session, alice: User) -> None:
    made = make(session, alice)
    assert made.row.sha256 == ids.sha256_hex(made.secret)
    stored = " ".join(map(str, session.execute(text("SELECT * FROM api_keys")).one()))
    assert made.secret not in stored
    assert made.secret[12:-4] not in stored


def test_the_hint_shows_twelve_characters_and_four(session: Session, alice: User) -> None:
    made = make(session, alice)
    assert keys.hint(made.row) == f"{made.secret[:12]}…{made.secret[-4:]}"


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ({"name": "  "}, "name: "),
        ({"name": "x" * 101}, "name: "),
        ({"name": "a\x1b[31m"}, "name: "),
        ({"limit_nanos": -1}, "limit: "),
        ({"limit_nanos": 2**63}, "limit: "),
        ({"limit_nanos": 1, "window": "year"}, "window: "),
        ({"window": "day"}, "window: "),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "expires: "),
        ({"models": []}, "models: "),
        ({"models": ["gpt-5.4", ""]}, "models: "),
        ({"models": ["two words"]}, "models: "),
        ({"account_id": None, "user_id": None}, "account: "),
    ],
)
def test_what_a_key_cannot_be_is_refused_by_the_field_s_name(
    session: Session, alice: User, wanted: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=f"^{complaint}"):
        make(session, alice, **wanted)


def test_a_model_named_twice_is_allowed_once(session: Session, alice: User) -> None:
    assert make(session, alice, models=["b", "a", "b"]).row.models == ["b", "a"]


# Expiry


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00+00:00"),
        ("2027-01-31T18:00:00+02:00", "2027-01-31T16:00:00+00:00"),
        ("2027-01-31T18:00", "2027-01-31T07:00:00+00:00"),
        ("2027-07-01 18:00:00", "2027-07-01T08:00:00+00:00"),
        ("2027-01-31", "2027-01-31T12:59:59+00:00"),
        (" 2027-07-31 ", "2027-07-31T13:59:59+00:00"),
    ],
)
def test_an_expiry_without_an_offset_is_in_the_account_s_time(written: str, meant: str) -> None:
    assert keys.read_expiry(written, SYDNEY).isoformat() == meant


@pytest.mark.parametrize(
    "written", ["", "soon", "2027-02-30", "31/01/2027", "1", "0001-01-01T00:00"]
)
def test_what_is_no_moment_is_no_expiry(written: str) -> None:
    with pytest.raises(ValueError, match="^expires: "):
        keys.read_expiry(written, SYDNEY)


# Status


def test_a_key_is_expired_from_its_very_moment_on(session: Session, alice: User) -> None:
    end = clock.now().replace(microsecond=0) + timedelta(days=1)
    row = make(session, alice, expires_at=end).row
    with time_machine.travel(end - timedelta(microseconds=1), tick=False):
        assert keys.status(row, 0) == "active"
    with time_machine.travel(end, tick=False):
        assert keys.status(row, 0) == "expired"


def test_a_key_that_spent_its_limit_says_so_until_it_is_raised(
    session: Session, alice: User
) -> None:
    row = make(session, alice, limit_nanos=100).row
    assert keys.status(row, 99) == "active"
    assert keys.status(row, 100) == "limit_reached"
    row.limit_nanos = 101
    assert keys.status(row, 100) == "active"


def test_a_limit_of_nothing_is_a_limit(session: Session, alice: User) -> None:
    assert keys.status(make(session, alice, limit_nanos=0).row, 0) == "limit_reached"


def test_a_revoked_key_is_revoked_whatever_else_it_is(session: Session, alice: User) -> None:
    end = clock.now() + timedelta(days=1)
    row = make(session, alice, limit_nanos=0, expires_at=end).row
    keys.revoke(session, row)
    with time_machine.travel(end + timedelta(days=1)):
        assert keys.status(row, 5) == "revoked"


def test_the_first_revocation_stands(session: Session, alice: User) -> None:
    row = make(session, alice).row
    assert keys.revoke(session, row)
    first = row.revoked_at
    with time_machine.travel(clock.now() + timedelta(hours=1)):
        assert not keys.revoke(session, row)
    assert row.revoked_at == first
    assert first is not None


# Whose


def test_charlie_cannot_load_alice_s_key(session: Session, alice: User, charlie: User) -> None:
    row = make(session, alice).row
    assert keys.get_for(session, alice.id, row.id) is row
    assert keys.get_for(session, charlie.id, row.id) is None
    assert keys.keys_of_user(session, charlie.id) == []


def test_personal_keys_are_those_that_the_person_s_own_account_pays(
    session: Session, alice: User
) -> None:
    older, newer = make(session, alice).row, make(session, alice, test=True).row
    team_s = make(session, alice, account_id=open_account(session, "team").id).row
    assert keys.keys_of_user(session, alice.id) == [newer, older]
    assert keys.get_for(session, alice.id, team_s.id) is None


def test_the_operator_sees_every_key_or_one_account_s(
    session: Session, alice: User, charlie: User
) -> None:
    hers, his = make(session, alice).row, make(session, charlie).row
    assert keys.list_keys(session) == [his, hers]
    assert keys.list_keys(session, alice.account_id) == [hers]


def test_the_first_test_key_becomes_the_administrator_s(
    session: Session, alice: User, charlie: User
) -> None:
    orphan = make(session, alice, account_id=None, user_id=None, test=True).row
    his = make(session, charlie).row
    team_s = make(session, alice, account_id=open_account(session, "team").id, user_id=None).row
    assert keys.adopt_orphan_keys(session, alice) == [orphan]
    for row in (orphan, his, team_s):
        session.refresh(row)
    assert (orphan.user_id, orphan.account_id) == (alice.id, alice.account_id)
    assert his.user_id == charlie.id
    assert team_s.user_id is None
    assert keys.adopt_orphan_keys(session, charlie) == []


# Finding


def test_a_key_is_found_by_id_prefix_hint_or_whole(session: Session, alice: User) -> None:
    made = make(session, alice)
    row, secret = made.row, made.secret
    make(session, alice)
    shown = keys.hint(row)
    for known in (row.id, row.id[:-1], secret, secret[:12], secret[:20], shown):
        assert keys.find_by_prefix(session, known) == [row], known
    assert keys.find_by_prefix(session, shown.replace("…", "...")) == [row]


def test_a_mistyped_or_short_key_finds_nothing(session: Session, alice: User) -> None:
    made = make(session, alice)
    wrong_end = made.secret[:-1] + ("A" if made.secret[-1] != "A" else "B")
    other_hint = f"{made.secret[:12]}…{'AAAA' if made.row.last4 != 'AAAA' else 'BBBB'}"
    for text_ in ("", "key_", made.secret[:11], made.row.id[:11], wrong_end, other_hint):
        assert keys.find_by_prefix(session, text_) == [], text_


def test_a_prefix_that_two_keys_share_finds_both(session: Session, alice: User) -> None:
    one, other = make(session, alice).row, make(session, alice).row
    other.prefix = one.prefix
    session.flush()
    assert set(keys.find_by_prefix(session, one.prefix)) == {one, other}


def test_percent_signs_are_no_wildcards(session: Session, alice: User) -> None:
    make(session, alice)
    assert session.query(ApiKey).count() == 1
    assert keys.find_by_prefix(session, "key_%%%%%%%%%%%") == []
    assert keys.find_by_prefix(session, "key_________________") == []
