"""The threads that answer requests: whoever was idle last is asked first.

waitress asks whoever has been idle longest: with a thousand workers and a dozen calls under way,
each call then runs on a thread whose memory is in no cache (docs/decisions/0004-waitress.md). A
worker begins when it is needed and ends when it is not: each costs 16 kB before it has done
anything, and twice that afterwards (docs/decisions/0011-memory.md).
"""

import logging
import threading
from collections import deque
from typing import Protocol

from modelbridge import clock

IDLE_SECONDS = 900.0
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
    """At most `count` threads, as waitress's task dispatcher has them (the names are waitress's).

    A thread that has had nothing to do for `idle_seconds` ends.
    """

    def __init__(self, count: int, idle_seconds: float = IDLE_SECONDS) -> None:
        self._count, self._idle_seconds = count, idle_seconds
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._waiting: deque[Task] = deque()
        self._stopping = False
        self._threads: set[threading.Thread] = set()
        self._begun = 0
        self._beginning = False

    @property
    def active_count(self) -> int:
        """How many are at work, or still have to begin."""
        return len(self._threads) - len(self._idle) + self._beginning

    def add_task(self, task: Task) -> None:
        """The worker that was idle last does it, or a new one, or the first that will be idle."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
            if worker is None:
                self._waiting.append(task)
                if self._beginning or not self._need_more(than=0):
                    return
                self._beginning = True
        if worker is None:
            self._begin()
        else:
            worker.task = task
            worker.wake.release()

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """The threads end; who has not ended after `timeout` seconds is left alone."""
        with self._lock:
            self._stopping = True
            waiting = list(self._waiting)
            self._waiting.clear()
            idle, self._idle = self._idle, []
            threads = list(self._threads)
        for worker in idle:
            worker.wake.release()
        if cancel_pending:
            for task in waiting:
                task.cancel()
        until = clock.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, until - clock.monotonic()))
        if left := sum(thread.is_alive() for thread in threads):
            _log.warning("%d workers are still busy", left)
        return bool(waiting)

    def _need_more(self, *, than: int) -> bool:
        """Whether more wait than that many, and one more thread is allowed."""
        is_full = self._stopping or len(self._threads) >= self._count
        return len(self._waiting) > than and not is_full

    def _begin(self) -> None:
        """One more thread. Whoever starts one waits until it runs: see `_run`."""
        self._begun += 1
        thread = threading.Thread(target=self._run, name=f"worker-{self._begun}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system will have no more
            self._beginning = False
            _log.exception("only %d of %d workers can be started", len(self._threads), self._count)

    def _run(self) -> None:
        """Of a crowd that comes at once each worker starts the next: the listener has no time."""
        with self._lock:
            self._threads.add(threading.current_thread())
            self._beginning = starts_next = self._need_more(than=1)
        if starts_next:
            self._begin()
        worker = _Worker()
        while (task := self._next(worker)) is not None:
            try:
                task.service()
            except BaseException:
                _log.exception("a request could not be answered")
            worker.task = task = None

    def _next(self, worker: _Worker) -> Task | None:
        """Waits for a task; None: the thread is to end."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._stopping:
                return None
            self._idle.append(worker)
        if worker.wake.acquire(timeout=self._idle_seconds):
            return worker.task
        return self._leave(worker)

    def _leave(self, worker: _Worker) -> Task | None:
        """It is a worker no more; a task if it was asked at that very moment."""
        with self._lock:
            if worker in self._idle:
                self._idle.remove(worker)
                self._threads.discard(threading.current_thread())
                return None
        worker.wake.acquire()
        return worker.task
