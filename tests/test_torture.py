"""A little of each long run of `make torture`: real processes, killed, raced and left alone."""

from pathlib import Path

import pytest
from hostile import HostileUpstream
from torture.hang_ups import hang_ups
from torture.kills import kills
from torture.limits import race


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
