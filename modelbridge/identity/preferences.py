"""What administrators set in the browser: who may register, time zones, the second step."""

from typing import Any, Literal, cast, get_args
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy.orm import Session

from modelbridge import clock
from modelbridge.store.tables import Setting

Registration = Literal["open", "invitation", "closed"]
REGISTRATIONS: tuple[Registration, ...] = get_args(Registration)
_DEFAULT_REGISTRATION: Registration = "invitation"
_DEFAULT_TIME_ZONE = "Australia/Sydney"


def registration(session: Session) -> Registration:
    """Who may make themselves an account: anybody, who was invited, or nobody."""
    return cast(Registration, _get(session, "registration", _DEFAULT_REGISTRATION))


def set_registration(session: Session, value: str) -> None:
    """From now on these may. Raises ValueError for an unknown word."""
    if value not in REGISTRATIONS:
        raise ValueError(f"registration: must be one of {', '.join(REGISTRATIONS)}")
    _set(session, "registration", value)


def needs_second_step(session: Session) -> bool:
    """Whether everybody has to have a second step of the login."""
    return bool(_get(session, "second_step", False))


def set_needs_second_step(session: Session, value: bool) -> None:
    """From now on everybody has to have one, or may."""
    _set(session, "second_step", value)


def default_time_zone(session: Session) -> str:
    """The time zone that new accounts start with."""
    return str(_get(session, "time_zone", _DEFAULT_TIME_ZONE))


def set_default_time_zone(session: Session, name: str) -> None:
    """New accounts start with it; existing ones keep theirs. Raises ValueError: unknown."""
    _set(session, "time_zone", check_time_zone(name))


def check_time_zone(name: str) -> str:
    """The name, if it is one of the IANA database's. Raises ValueError naming the field."""
    if name not in available_timezones():
        raise ValueError(f"time_zone: {name!r} is not a time zone; write it like Australia/Sydney")
    return ZoneInfo(name).key


def _get(session: Session, name: str, default: str | bool) -> Any:
    row = session.get(Setting, name)
    return default if row is None else row.value["value"]


def _set(session: Session, name: str, value: str | bool) -> None:
    row = session.get(Setting, name)
    if row is None:
        session.add(Setting(name=name, value={"value": value}, changed_at=clock.now()))
    else:
        row.value, row.changed_at = {"value": value}, clock.now()
    session.flush()
