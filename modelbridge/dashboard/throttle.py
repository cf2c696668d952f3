"""Slower and slower for whoever guesses passwords; nobody is ever locked out.

Kept in memory: a restart forgets it, and each process counts for itself.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Self

from modelbridge import clock

_FORGET_SECONDS = 15 * 60.0
_FIRST_WAIT_SECONDS = 15.0
_MOST_SUBJECTS = 20_000


@dataclass(slots=True)
class _Count:
    attempts: int = 0
    free_at: float = 0.0
    last: float = 0.0


class Throttle:
    """Counts attempts by subject. After `free` of them each must wait twice as long as the last."""

    def __init__(self, *, free: int, longest_seconds: float) -> None:
        self._free = free
        self._longest_seconds = longest_seconds
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def wait(self, subject: str, now: float) -> float:
        """Seconds until the subject may try again; 0 if it may now."""
        return max(0.0, self._count(subject, now).free_at - now)

    def attempt(self, subject: str, now: float) -> None:
        """One more attempt, counted before its outcome is known: a volley can't slip through."""
        count = self._count(subject, now)
        count.attempts += 1
        count.last = now
        excess = count.attempts - self._free
        if excess >= 0:
            count.free_at = now + min(
                _FIRST_WAIT_SECONDS * 2 ** min(excess, 16), self._longest_seconds
            )
        self._counts[subject] = count
        self._counts.move_to_end(subject)
        while len(self._counts) > _MOST_SUBJECTS:
            self._counts.popitem(last=False)

    def forget(self, subject: str) -> None:
        """The attempts of that subject never happened."""
        self._counts.pop(subject, None)

    def take_back(self, subject: str) -> None:
        """The last attempt of that subject is not counted: it was right."""
        count = self._counts.get(subject)
        if count is not None:
            count.attempts -= 1
            count.free_at = 0.0 if count.attempts < self._free else count.free_at

    def _count(self, subject: str, now: float) -> _Count:
        count = self._counts.get(subject)
        if count is None or now > max(count.last, count.free_at) + _FORGET_SECONDS:
            return _Count()
        return count


def _place(address: str) -> str:
    """What one visitor has of addresses: an IPv4 address, or 64 bits of IPv6 (RFC 6177)."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped or IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)


class LoginThrottle:
    """Attempts to log in: by account from one address, by account, by address.

    A stranger who guesses slows down their own address first, and the account for everybody only
    briefly, and not where its owner has logged in before: many strangers at once must not lock
    them out. Thread-safe.
    """

    def __init__(self, *, account: Throttle | None = None) -> None:
        """`account`: how an account is slowed down for everybody, if not briefly."""
        self._lock = threading.Lock()
        self._pair = Throttle(free=10, longest_seconds=15 * 60)
        self._address = Throttle(free=50, longest_seconds=5 * 60)
        self._account = account or Throttle(free=100, longest_seconds=30)
        self._told: OrderedDict[str, float] = OrderedDict()
        self._at_home: OrderedDict[str, float] = OrderedDict()

    def begin(self, account: str, address: str) -> float:
        """Counts an attempt and returns 0, or counts nothing and returns the seconds to wait."""
        now = clock.monotonic()
        with self._lock:
            subjects = self._subjects(account, address)
            longest = max(throttle.wait(subject, now) for throttle, subject in subjects)
            if longest == 0:
                for throttle, subject in subjects:
                    throttle.attempt(subject, now)
            return longest

    def is_news(self, address: str) -> bool:
        """Whether nobody was told in the last quarter of an hour that this address guesses."""
        now = clock.monotonic()
        with self._lock:
            if now < self._told.get(address, 0.0):
                return False
            _remember(self._told, address, now + _FORGET_SECONDS)
            return True

    @classmethod
    def of_codes(cls) -> Self:
        """For codes of the second step, which six digits are: whoever guesses has the password.

        20 tries are free, whatever the address; then at most four an hour get through.
        """
        return cls(account=Throttle(free=20, longest_seconds=15 * 60))

    def succeeded(self, account: str, address: str) -> None:
        """The password was right: the account's count is forgotten, the address's goes on.

        From that address the account is at home from now on, until the process ends.
        """
        address = _place(address)
        pair = f"{account} {address}"
        with self._lock:
            _remember(self._at_home, pair, 0.0)
            self._pair.forget(pair)
            self._account.forget(account)
            self._address.take_back(address)

    def _subjects(self, account: str, address: str) -> list[tuple[Throttle, str]]:
        address = _place(address)
        pair = f"{account} {address}"
        found = [(self._pair, pair), (self._address, address)]
        return found if pair in self._at_home else [*found, (self._account, account)]


def _remember(some: OrderedDict[str, float], subject: str, value: float) -> None:
    """The latest are kept."""
    some[subject] = value
    some.move_to_end(subject)
    while len(some) > _MOST_SUBJECTS:
        some.popitem(last=False)
