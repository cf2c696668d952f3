"""The workers: whoever was idle last is asked first, and nobody is forgotten."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from people import wait_for
from running import RunningBridge

from modelbridge.workers import Workers


class Errand:
    """Something to do; notes who did it."""

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self._work = work
        self.done_by: threading.Thread | None = None
        self.cancelled = False

    def service(self) -> None:
        self._work()
        self.done_by = threading.current_thread()

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def three() -> Iterator[Workers]:
    workers = Workers(3)
    wait_for(lambda: workers.active_count == 0)
    yield workers
    workers.shutdown(timeout=5)


def done(workers: Workers, errand: Errand) -> threading.Thread:
    workers.add_task(errand)
    thread = wait_for(lambda: errand.done_by)
    wait_for(lambda: workers.active_count == 0)
    assert isinstance(thread, threading.Thread)
    return thread


def test_one_call_after_the_other_is_answered_by_the_same_worker(three: Workers) -> None:
    first = done(three, Errand())
    assert {done(three, Errand()) for _ in range(20)} == {first}


def test_who_comes_when_all_are_busy_waits_for_the_first_that_is_not(three: Workers) -> None:
    door = threading.Event()
    busy = [Errand(door.wait) for _ in range(3)]
    for errand in busy:
        three.add_task(errand)
    late = [Errand() for _ in range(5)]
    for errand in late:
        three.add_task(errand)
    assert three.active_count == 3
    assert not any(errand.done_by for errand in late)
    door.set()
    wait_for(lambda: all(errand.done_by for errand in busy + late))
    wait_for(lambda: three.active_count == 0)


def test_a_worker_outlives_what_went_wrong(
    three: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise SystemExit("no")

    first = done(three, Errand())
    three.add_task(Errand(fail))
    wait_for(lambda: "could not be answered" in caplog.text)
    wait_for(lambda: three.active_count == 0)
    assert done(three, Errand()) is first


def test_at_the_end_what_nobody_began_is_cancelled_and_what_runs_may_end() -> None:
    workers, door = Workers(1), threading.Event()
    running, waiting = Errand(door.wait), Errand()
    workers.add_task(running)
    workers.add_task(waiting)
    ending = threading.Thread(target=workers.shutdown, kwargs={"timeout": 10})
    ending.start()
    wait_for(lambda: waiting.cancelled)
    door.set()
    ending.join()
    assert running.done_by is not None
    assert waiting.done_by is None


def test_who_does_not_end_in_time_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    workers, door = Workers(2), threading.Event()
    workers.add_task(Errand(door.wait))
    workers.shutdown(timeout=0.1)
    assert "1 workers are still busy" in caplog.text
    door.set()


def test_no_thread_begins_before_it_is_needed_and_never_more_than_are_allowed() -> None:
    workers, door = Workers(2), threading.Event()
    assert not workers._threads
    errands = [Errand(door.wait) for _ in range(3)]
    workers.add_task(errands[0])
    wait_for(lambda: len(workers._threads) == 1)
    workers.add_task(errands[1])
    workers.add_task(errands[2])
    wait_for(lambda: len(workers._threads) == 2)
    assert workers.active_count == 2
    door.set()
    wait_for(lambda: all(errand.done_by for errand in errands))
    workers.shutdown(timeout=5)


def test_a_thread_that_nobody_needs_ends_and_another_begins_when_somebody_does() -> None:
    workers = Workers(2, idle_seconds=0.05)
    first = done(workers, Errand())
    wait_for(lambda: not workers._threads)
    first.join(5)
    assert not first.is_alive()
    assert done(workers, Errand()) is not first
    workers.shutdown(timeout=5)


def test_a_crowd_that_comes_at_once_is_served_all_at_once() -> None:
    workers, door = Workers(40), threading.Event()
    all_there = threading.Barrier(41)
    errands = [Errand(lambda: (all_there.wait(10), door.wait())) for _ in range(40)]
    for errand in errands:
        workers.add_task(errand)
    all_there.wait(10)
    assert workers.active_count == 40
    door.set()
    wait_for(lambda: workers.active_count == 0)
    assert len({errand.done_by for errand in errands}) == 40
    workers.shutdown(timeout=5)


def test_nobody_is_forgotten_while_threads_end_and_begin() -> None:
    workers = Workers(3, idle_seconds=0.001)
    errands = [Errand() for _ in range(400)]
    for number, errand in enumerate(errands):
        workers.add_task(errand)
        if number % 2:
            time.sleep(0.001)
    wait_for(lambda: all(errand.done_by for errand in errands))
    wait_for(lambda: not workers._threads)
    assert workers.active_count == 0
    workers.shutdown(timeout=5)


def test_who_comes_when_the_system_has_no_more_threads_waits_for_one_that_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    workers, door = Workers(3), threading.Event()
    first, second = Errand(door.wait), Errand()
    workers.add_task(first)
    wait_for(lambda: len(workers._threads) == 1 and not workers._waiting)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_more)
        workers.add_task(second)
    assert "only 1 of 3 workers can be started" in caplog.text
    door.set()
    wait_for(lambda: second.done_by)
    assert second.done_by is first.done_by
    workers.shutdown(timeout=5)


def _no_more(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="another system's scheduler")
def test_every_thread_of_a_bridge_keeps_to_one_core_and_pushes_none_aside(
    running: RunningBridge,
) -> None:
    threads = [int(one) for one in os.listdir(f"/proc/{running.process.pid}/task")]
    assert len(threads) > 3
    for thread in threads:
        with suppress(ProcessLookupError):  # it may end meanwhile
            assert len(os.sched_getaffinity(thread)) == 1
            assert os.sched_getscheduler(thread) == os.SCHED_BATCH
