"""The second step of the login: a code from the person's device (TOTP, RFC 6238).

The secret is handed in and out here in clear and lies in the row sealed; sealing is the edges'
line, who know the master key. A code works once (ASVS 5.0, 6.5.1). Recovery codes are 120 random
bits, so a plain SHA-256 keeps them (6.5.2), and each stands for the second step once.
"""

import base64
import secrets

import pyotp
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.store.tables import RecoveryCode, User

RECOVERY_CODES = 10
STEP_SECONDS = 30
_STEPS_ASIDE = (0, -1, 1)  # clocks differ, and people type slowly
_RECOVERY_BYTES = 15


def new_secret() -> str:
    """160 random bits in base32, as devices take them."""
    return pyotp.random_base32()


def address_for_device(secret: str, email: str, bridge: str) -> str:
    """The otpauth:// address that a QR code carries; `bridge` is where the person logs in."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=f"ModelBridge {bridge}")


def is_on(user: User) -> bool:
    """Whether the person is asked for a code."""
    return user.totp_confirmed_at is not None


def begin(session: Session, user: User, sealed_secret: str) -> None:
    """The person has a secret that is asked for once they have shown that they can use it.

    Raises ValueError while another one is in use.
    """
    if is_on(user):
        raise ValueError("code: your second step is on already; turn it off first")
    user.totp_sealed, user.totp_last_step = sealed_secret, None
    session.flush()


def confirm(session: Session, user: User, secret: str, code: str) -> list[str] | None:
    """The second step is on from now on, with these recovery codes; None for a wrong code."""
    if is_on(user) or not _use_device_code(session, user, secret, _digits(code)):
        return None
    user.totp_confirmed_at = clock.now()
    return new_recovery_codes(session, user)


def use(session: Session, user: User, secret: str, text: str) -> str | None:
    """What the text was, "code" or "recovery code", now used up; None if it is neither."""
    if _use_device_code(session, user, secret, _digits(text)):
        return "code"
    return "recovery code" if _use_recovery_code(session, user, text) else None


def turn_off(session: Session, user: User) -> bool:
    """The person logs in with the password alone; False: they did before."""
    was_on = is_on(user)
    user.totp_sealed = user.totp_confirmed_at = user.totp_last_step = None
    _forget_recovery_codes(session, user)
    session.flush()
    return was_on


def new_recovery_codes(session: Session, user: User) -> list[str]:
    """These, and no others, stand for the person's second step, once each."""
    _forget_recovery_codes(session, user)
    codes = [_new_recovery_code() for _ in range(RECOVERY_CODES)]
    now = clock.now()
    session.add_all(
        RecoveryCode(sha256=_hash_of(code), user_id=user.id, created_at=now, used_at=None)
        for code in codes
    )
    session.flush()
    return codes


def recovery_codes_left(session: Session, user: User) -> int:
    """How many of the recovery codes were not used."""
    query = select(func.count()).where(
        RecoveryCode.user_id == user.id, RecoveryCode.used_at.is_(None)
    )
    return session.scalar(query) or 0


def _use_device_code(session: Session, user: User, secret: str, digits: str) -> bool:
    """Check and change are one statement: a code that was used opens nothing again."""
    step = _step_of(secret, digits)
    if step is None:
        return False
    used = session.scalars(
        update(User)
        .where(User.id == user.id, or_(User.totp_last_step.is_(None), User.totp_last_step < step))
        .values(totp_last_step=step)
        .returning(User.id)
    ).all()
    return len(used) == 1


def _use_recovery_code(session: Session, user: User, text: str) -> bool:
    used = session.scalars(
        update(RecoveryCode)
        .where(
            RecoveryCode.sha256 == _hash_of(text),
            RecoveryCode.user_id == user.id,
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=clock.now())
        .returning(RecoveryCode.sha256)
    ).all()
    return len(used) == 1


def _step_of(secret: str, digits: str) -> int | None:
    """The half minute whose code this is, the present one or a neighbour; in constant time."""
    now = int(clock.now().timestamp()) // STEP_SECONDS
    totp, found = pyotp.TOTP(secret), None
    for aside in _STEPS_ASIDE:
        if secrets.compare_digest(totp.generate_otp(now + aside).encode(), digits.encode()):
            found = now + aside if found is None else found
    return found


def _digits(text: str) -> str:
    return "".join(text.split())[:16]


def _new_recovery_code() -> str:
    plain = base64.b32encode(secrets.token_bytes(_RECOVERY_BYTES)).decode().lower()
    return "-".join(plain[at : at + 4] for at in range(0, len(plain), 4))


def _hash_of(code: str) -> str:
    """However it was typed: capitals, blanks and dashes don't matter."""
    return ids.sha256_hex("".join(sign for sign in code.lower()[:100] if sign.isalnum()))


def _forget_recovery_codes(session: Session, user: User) -> None:
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user.id))
