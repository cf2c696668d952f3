"""A little of each long run of `make torture`: real processes, killed, raced and locked out."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from hostile import HostileUpstream
from small_disk import CannotMountError, small_disk
from torture.full import filled
from torture.hang_ups import hang_ups
from torture.kills import kills
from torture.limits import race
from torture.locked import locked


@pytest.mark.timeout(300)
def test_what_the_upstream_counted_before_a_kill_is_posted_or_unknown_to_the_nano_dollar(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    found = kills(5, tmp_path, upstream)
    assert found["seen by the upstream and posted"] > 20
    assert found["seen by the upstream and unknown"] > 0


@pytest.mark.timeout(300)
def test_of_500_calls_at_once_a_limit_lets_exactly_those_through_that_it_pays_for(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    answers = race(1, (0, 1, 7, 100), tmp_path, upstream)
    assert answers["200"] == 108


@pytest.mark.timeout(300)
def test_thirty_clients_that_leave_at_random_are_charged_what_they_owe(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    found = hang_ups(30, tmp_path, upstream)
    assert found["charged what the upstream counted"] > 0


@pytest.mark.timeout(300)
def test_a_lock_of_another_process_is_told_and_over_when_it_is_over(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    found = locked(12, tmp_path, upstream)  # longer than two attempts to commit
    assert found["during: 503 overloaded"] > 0
    assert found["after: 200"] >= 50


@pytest.mark.timeout(300)
def test_a_disk_that_is_full_to_the_last_byte_is_told_and_over_when_there_is_room(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    with ExitStack() as mounted:
        try:
            disk = mounted.enter_context(small_disk(tmp_path, "tmpfs"))
        except CannotMountError as error:
            pytest.skip(f"no disk of our own to fill: {error}")
        found = filled(disk, upstream)
    assert found["full: 503 overloaded"] > 0
    assert found["after: 200"] >= 50
    assert found["under way when it was full: an error at the end of the stream"] > 0
    assert found["under way when it was full: 503 overloaded"] > 0
