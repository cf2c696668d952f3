"""Waiting for money that other calls hold."""

import threading

from modelbridge import clock

RECHECK_SECONDS = 0.25


class MoneyFreed:
    """Calls that were refused only because others hold the money wait here, first come first.

    Each hold that resolves wakes two; a quarter of a second wakes anybody, so that a missed
    signal costs little.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting = 0

    def signal(self) -> None:
        """A hold was resolved."""
        if self._waiting:
            with self._condition:
                self._condition.notify(2)

    def wait(self, until: float) -> bool:
        """Wait for a signal; False when `until` (monotonic seconds) has passed."""
        left = until - clock.monotonic()
        if left <= 0:
            return False
        with self._condition:
            self._waiting += 1
            try:
                self._condition.wait(min(left, RECHECK_SECONDS))
            finally:
                self._waiting -= 1
        return True
