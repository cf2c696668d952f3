"""The threads that answer requests: whoever was idle last is asked first.

waitress asks whoever has been idle longest: with a thousand workers and a dozen calls under way,
each call then runs on a thread whose memory is in no cache (docs/decisions/0004-waitress.md).
"""

import logging
import threading
from collections import deque
from typing import Protocol

from modelbridge import clock

_log = logging.getLogger("modelbridge")


class Task(Protocol):
    """Something to be answered; waitress's channels are."""

    def service(self) -> None:
        """Do it."""

    def cancel(self) -> None:
        """It will not be done."""


class _Worker:
    """One thread's place: `task` is handed over, then `wake` released. No task: the end."""

    __slots__ = ("task", "wake")

    def __init__(self) -> None:
        self.task: Task | None = None
        self.wake = threading.Lock()
        self.wake.acquire()


class Workers:
    """`count` threads, as waitress's own task dispatcher has them (the names are waitress's)."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._waiting: deque[Task] = deque()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"worker-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def active_count(self) -> int:
        """How many are at work, or still have to begin."""
        return len(self._threads) - len(self._idle)

    def add_task(self, task: Task) -> None:
        """The worker that was idle last does it; if none is idle, the first that will be."""
        with self._lock:
            if not self._idle:
                self._waiting.append(task)
                return
            worker = self._idle.pop()
        worker.task = task
        worker.wake.release()

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """The threads end; who has not ended after `timeout` seconds is left alone."""
        with self._lock:
            self._stopping = True
            waiting = list(self._waiting)
            self._waiting.clear()
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.wake.release()
        if cancel_pending:
            for task in waiting:
                task.cancel()
        until = clock.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, until - clock.monotonic()))
        if left := sum(thread.is_alive() for thread in self._threads):
            _log.warning("%d workers are still busy", left)
        return bool(waiting)

    def _run(self) -> None:
        worker = _Worker()
        while (task := self._next(worker)) is not None:
            try:
                task.service()
            except BaseException:
                _log.exception("a request could not be answered")
            worker.task = task = None

    def _next(self, worker: _Worker) -> Task | None:
        """Waits for a task; None: stop."""
        with self._lock:
            if self._stopping:
                return None
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(worker)
        worker.wake.acquire()
        return worker.task
