"""The bridge's clock jumps while it serves: no call fails, and every cent is where it belongs."""

from pathlib import Path

import pytest
from hostile import HostileUpstream
from torture.clocks import clocks


@pytest.mark.timeout(300)
def test_a_clock_that_jumps_over_days_and_months_and_back_changes_no_charge(
    tmp_path: Path, upstream: HostileUpstream
) -> None:
    found = clocks(8, tmp_path, upstream)
    assert found["calls answered and charged exactly"] > 16
