"""The second step of the login, as the pages need it: who waits for it, and the sealed secret."""

from flask import session as cookie
from sqlalchemy.orm import Session
from werkzeug.exceptions import ServiceUnavailable

from modelbridge import clock, ids
from modelbridge.dashboard.services import bridge
from modelbridge.identity import second_step
from modelbridge.store.tables import User
from modelbridge.upstream import credentials
from modelbridge.upstream.credentials import CredentialError

_WAIT_MICROS = 10 * 60 * 1_000_000
_COOKIE = "second_step"


def ask_for(user: User) -> None:
    """This browser has shown the password of `user`, and nothing more yet.

    It is worth ten minutes, and nothing once the password is another one.
    """
    cookie.clear()
    cookie[_COOKIE] = [user.id, clock.now_micros(), _mark(user)]


def waiting(session: Session) -> User | None:
    """The person whose password this browser has shown, and whose code it owes."""
    user_id, since, mark = cookie.get(_COOKIE) or ("", 0, "")
    user = session.get(User, user_id)
    if user is None or user.disabled_at is not None or mark != _mark(user):
        return None
    return user if 0 <= clock.now_micros() - since < _WAIT_MICROS else None


def seal(user: User, secret: str) -> str:
    """The secret as it lies in the person's row."""
    master_key = bridge().settings.master_key
    return credentials.seal(master_key, user.id, secret, column=credentials.SECOND_STEP)


def unseal(user: User) -> str:
    """The person's secret. Raises ServiceUnavailable, with what to do, if it doesn't open."""
    settings = bridge().settings
    try:
        return credentials.unseal(
            settings.master_key,
            user.id,
            user.totp_sealed or "",
            column=credentials.SECOND_STEP,
            old_key=settings.old_master_key,
        )
    except CredentialError:
        raise ServiceUnavailable(
            "Codes can't be checked: the bridge's master key is not the one of before. Whoever "
            "runs the bridge can restore it, or turn your second step off."
        ) from None


def use(session: Session, user: User, text: str) -> str | None:
    """What the text was, "code" or "recovery code", now used up; None if it is neither."""
    return second_step.use(session, user, unseal(user), text)


def _mark(user: User) -> str:
    """Changes with the password."""
    return ids.sha256_hex(f"second step {user.password_hash}")[:32]
