"""Socket calls of the bridge that fail: nothing is sent twice, and the books hold what was."""

import gc
from pathlib import Path

import pytest
from hostile import HostileUpstream
from socket_faults import LIVES, faulty_lives

ONE_IN = 5  # of all the faults that `make torture` goes through
# For each life the fifth that has something of everything in it.
FIFTHS = dict(zip(LIVES, (2, 4, 2, 2, 0), strict=True))


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # waitress drops a socket with a bad option
@pytest.mark.timeout(300)
@pytest.mark.parametrize("life", LIVES)
def test_whichever_socket_call_fails_the_books_hold_what_the_upstream_counted(
    tmp_path: Path, upstream: HostileUpstream, life: str
) -> None:
    with faulty_lives(tmp_path, upstream) as lives:
        found = lives.fail_all(life, ONE_IN, offset=FIFTHS[life])
    gc.collect()
    assert found["answered: charged what the upstream counted"] > 0
    assert len(found) > 2
