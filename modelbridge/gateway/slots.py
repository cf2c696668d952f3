"""Slots: how many calls may be under way, so that pages and health checks always find a worker."""

import threading

KEPT_FREE = 8


class Slots:
    """A count that never waits: a call gets a slot at once, or is told that all are busy."""

    def __init__(self, threads: int) -> None:
        self.size = max(1, threads - min(KEPT_FREE, max(1, threads // 4)))
        self._lock = threading.Lock()
        self._in_use = 0

    @property
    def in_use(self) -> int:
        """Calls under way."""
        return self._in_use

    def acquire(self) -> bool:
        """Take a slot; False if all are taken."""
        with self._lock:
            if self._in_use >= self.size:
                return False
            self._in_use += 1
            return True

    def release(self) -> None:
        """Give it back."""
        with self._lock:
            self._in_use -= 1
