"""Secrets at rest, providers' credentials first: sealed under a key kept outside the database.

The sealed form is `v1.KEY_ID.NONCE.CIPHERTEXT`: AES-256-GCM with a random 96-bit nonce (NIST SP
800-38D), nonce and ciphertext in URL-safe base64. Column and row are authenticated with it, so that
a sealed secret moved to another place does not open. KEY_ID names the master key without telling
it, so that a database under a mixture of old and new keys can be told apart when keys are changed.
"""

import base64
import os
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

UPSTREAM = "upstreams.credential"
SECOND_STEP = "users.totp_sealed"

_NONCE_BYTES = 12


class CredentialError(ValueError):
    """The sealed credential does not open; the message says why and what to do."""


class _Keys(NamedTuple):
    cipher: AESGCM
    key_id: str


def seal(master_key: str, row_id: str, plaintext: str, *, column: str = UPSTREAM) -> str:
    """The secret, readable only with `master_key` and only in that column of that row."""
    keys = _keys(master_key)
    nonce = os.urandom(_NONCE_BYTES)
    ciphertext = keys.cipher.encrypt(nonce, plaintext.encode(), _context(column, row_id))
    return f"v1.{keys.key_id}.{_encode(nonce)}.{_encode(ciphertext)}"


def unseal(
    master_key: str, row_id: str, sealed: str, *, column: str = UPSTREAM, old_key: str = ""
) -> str:
    """The secret. Raises CredentialError, whose message has neither it nor the key.

    `old_key` is the master key of before, while a change of keys is under way.
    """
    keys = _keys(master_key)
    parts = sealed.split(".")
    if len(parts) != 4 or parts[0] != "v1":
        raise CredentialError("the stored credential is damaged: set it again")
    if parts[1] != keys.key_id and old_key:
        keys = _keys(old_key)
    if parts[1] != keys.key_id:
        raise CredentialError(
            "the stored credential was sealed under another master key: "
            "restore that key, or set the credential again"
        )
    try:
        nonce, ciphertext = _decode(parts[2]), _decode(parts[3])
        return keys.cipher.decrypt(nonce, ciphertext, _context(column, row_id)).decode()
    except (InvalidTag, ValueError):
        raise CredentialError("the stored credential is damaged: set it again") from None


def is_under(master_key: str, sealed: str) -> bool:
    """Whether the secret was sealed under this master key."""
    return sealed.split(".")[1:2] == [_keys(master_key).key_id]


def _context(column: str, row_id: str) -> bytes:
    return f"{column}:{row_id}".encode()


@lru_cache(maxsize=4)
def _keys(master_key: str) -> _Keys:
    """The cipher and the public name of its key, both drawn from the master key."""
    secret = HKDF(
        algorithm=SHA256(), length=40, salt=None, info=b"modelbridge upstream credentials v1"
    ).derive(master_key.encode())
    return _Keys(AESGCM(secret[:32]), secret[32:].hex())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, altchars=b"-_", validate=True)
