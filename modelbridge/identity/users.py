"""People: made, found, given a password."""

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelbridge import clock, ids
from modelbridge.store.tables import User

MAX_NAME = 100
MAX_EMAIL = 254  # RFC 5321, 4.5.3.1.3

# A bridge often lives in a private network, where these are real; the library's way to allow them.
for _domain in {"local", "localhost", "test"}.intersection(SPECIAL_USE_DOMAIN_NAMES):
    SPECIAL_USE_DOMAIN_NAMES.remove(_domain)


def create_user(
    session: Session,
    *,
    email: str,
    name: str = "",
    is_admin: bool = False,
    account_id: str,
    password_hash: str | None = None,
) -> User:
    """A new person whose own money is in `account_id`; without a hash they cannot log in yet.

    Raises ValueError, naming the field, for a malformed or taken address or an unfit name.
    """
    address = clean_email(email)
    if find_user(session, address) is not None:
        raise ValueError(f"email: there is somebody with the address {address} already")
    user = User(
        id=ids.new_id("user"),
        email=address,
        name=clean_name(name),
        password_hash=password_hash,
        is_admin=is_admin,
        account_id=account_id,
        created_at=clock.now(),
        disabled_at=None,
    )
    session.add(user)
    session.flush()
    return user


def clean_email(email: str) -> str:
    """The address in lower case, as it is stored. Raises ValueError naming the field.

    Addresses inside a private network (`ops@bridge.local`) are welcome: nobody asks DNS.
    """
    try:
        checked = validate_email(
            email.strip(), check_deliverability=False, globally_deliverable=False
        )
    except EmailNotValidError as error:
        raise ValueError(f"email: {email.strip()!r} is not an e-mail address. {error}") from None
    return checked.normalized.lower()


def known_as(email: str) -> str:
    """What attempts to log in are counted by: one text for all ways to write one address."""
    try:
        return clean_email(email)
    except ValueError:
        return email.strip().lower()[:MAX_EMAIL]


def clean_name(name: str) -> str:
    """The name without needless blanks. Raises ValueError naming the field."""
    shown = " ".join(name.split())
    if len(shown) > MAX_NAME:
        raise ValueError(f"name: too long; use at most {MAX_NAME} characters")
    if not shown.isprintable():
        raise ValueError("name: has characters that cannot be shown; leave them out")
    return shown


def find_user(session: Session, email: str) -> User | None:
    """The person of that address, whatever its case, or None; nobody for what is no address."""
    try:
        address = clean_email(email)
    except ValueError:
        return None
    return session.scalar(select(User).where(User.email == address))


def get_user(session: Session, user_id: str) -> User | None:
    """The person of that id, or None."""
    return session.get(User, user_id)


def list_users(session: Session) -> list[User]:
    """Everybody, in the order of their addresses: for the operator only."""
    return list(session.scalars(select(User).order_by(User.email)))


def has_admin(session: Session) -> bool:
    """Whether there is an administrator: from then on no set-up link works."""
    return session.scalar(select(User.id).where(User.is_admin).limit(1)) is not None


def rename(session: Session, user: User, name: str) -> None:
    """The person is called that. Raises ValueError naming the field."""
    user.name = clean_name(name)
    session.flush()


def change_email(session: Session, user: User, email: str) -> None:
    """The person logs in with that address from now on.

    Raises ValueError, naming the field, for a malformed address or somebody else's.
    """
    address = clean_email(email)
    found = find_user(session, address)
    if found is not None and found.id != user.id:
        raise ValueError(f"email: there is somebody with the address {address} already")
    user.email = address
    session.flush()


def set_password(session: Session, user: User, password_hash: str) -> None:
    """The hash is the person's from now on; ending their sessions is the caller's next line."""
    user.password_hash = password_hash
    session.add(user)
    session.flush()


def disable(session: Session, user: User) -> None:
    """The person's keys and logins stop at once. Raises ValueError for the last administrator."""
    if user.disabled_at is None:
        _keep_an_administrator(session, user)
        user.disabled_at = clock.now()
        session.flush()


def enable(session: Session, user: User) -> None:
    """The person may log in again, and their keys work again."""
    user.disabled_at = None
    session.flush()


def set_admin(session: Session, user: User, is_admin: bool) -> None:
    """The person administers this bridge, or does so no more.

    Raises ValueError when nobody would be left who can.
    """
    if user.is_admin and not is_admin:
        _keep_an_administrator(session, user)
    user.is_admin = is_admin
    session.flush()


def _keep_an_administrator(session: Session, user: User) -> None:
    others = select(func.count()).where(
        User.is_admin, User.disabled_at.is_(None), User.id != user.id
    )
    if user.is_admin and not session.scalar(others):
        raise ValueError(
            f"{user.email} is the only administrator who can log in; make somebody else one first"
        )
