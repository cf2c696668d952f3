"""Credentials at rest: only the right master key opens them, and only for their own upstream."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from modelbridge.upstream.credentials import CredentialError, seal, unseal

MASTER = "0" * 64
SECRET = "sk-proj-Ω-secret"


@given(some.text(max_size=300), some.text(min_size=1), some.text())
def test_what_was_sealed_opens(master_key: str, upstream_id: str, secret: str) -> None:
    assert unseal(master_key, upstream_id, seal(master_key, upstream_id, secret)) == secret


def test_a_sealed_credential_shows_nothing_and_is_never_the_same() -> None:
    one, two = seal(MASTER, "up_1", SECRET), seal(MASTER, "up_1", SECRET)
    assert one != two
    assert "secret" not in one
    assert "secret" not in repr(one.encode())
    assert one.split(".")[:2] == two.split(".")[:2]
    assert MASTER not in one


def test_it_does_not_open_in_another_row() -> None:
    with pytest.raises(CredentialError, match="damaged"):
        unseal(MASTER, "up_2", seal(MASTER, "up_1", SECRET))


def test_it_does_not_open_with_another_master_key() -> None:
    with pytest.raises(CredentialError, match="another master key"):
        unseal("1" * 64, "up_1", seal(MASTER, "up_1", SECRET))


def test_a_changed_byte_anywhere_is_noticed() -> None:
    sealed = seal(MASTER, "up_1", SECRET)
    for at in range(len(sealed)):
        changed = sealed[:at] + ("B" if sealed[at] == "A" else "A") + sealed[at + 1 :]
        with pytest.raises(CredentialError) as caught:
            unseal(MASTER, "up_1", changed)
        assert SECRET not in str(caught.value)


def test_what_is_not_base64_does_not_open() -> None:
    head = ".".join(seal(MASTER, "up_1", SECRET).split(".")[:2])
    for tail in ("!.!", "AAAA.A", ".", "é.é"):
        with pytest.raises(CredentialError, match="damaged"):
            unseal(MASTER, "up_1", f"{head}.{tail}")


@pytest.mark.parametrize("rubbish", ["", "v1", "sk-plain-text", "v1.a.b.c", "v2.x.y.z", "....."])
def test_rubbish_does_not_open(rubbish: str) -> None:
    with pytest.raises(CredentialError):
        unseal(MASTER, "up_1", rubbish)
