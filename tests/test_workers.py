"""The workers: whoever was idle last is asked first, and nobody is forgotten."""

import threading
from collections.abc import Callable, Iterator

import pytest
from people import wait_for

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
