"""What keeps the process small: the C library is told, and what nobody needs is not imported."""

import os
import subprocess
import sys

import pytest
from people import ROOT

from modelbridge import heap

WORDS = "from modelbridge import heap; heap.begin_anew(); "
TOLD = "import os, sys; print(os.environ.get('GLIBC_TUNABLES'), sys._xoptions, sys.argv[1:])"
glibc = pytest.mark.skipif(not heap._is_glibc(), reason="another C library")


def python(words: str, *more: str, **environ: str) -> str:
    """What a Python of its own prints."""
    known = {name: value for name, value in os.environ.items() if name != heap.TUNABLES}
    return subprocess.run(
        [sys.executable, *(["-X", "heap"] if "already" in more else []), "-c", words, *more],
        cwd=ROOT,
        env=known | environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


# The C library's heap


@glibc
def test_the_same_program_begins_again_with_the_c_library_told() -> None:
    assert python(WORDS + TOLD, "a", "b c") == f"{heap.NO_CACHE} {{'heap': True}} ['a', 'b c']"


def test_an_operators_own_tunables_stay() -> None:
    own = "glibc.malloc.arena_max=4"
    assert python(WORDS + TOLD, GLIBC_TUNABLES=own) == f"{own} {{}} []"


def test_it_never_begins_a_third_time() -> None:
    assert python(WORDS + TOLD, "already") == "None {'heap': True} ['already']"


def test_it_does_not_begin_again_where_that_is_not_allowed() -> None:
    forbidden = "import os\ndef no(*words): raise PermissionError\nos.execve = no\n"
    assert python(forbidden + WORDS + TOLD) == "None {} []"


def test_the_command_line_does_not_begin_again() -> None:
    words = "import os; os.execve = None; import app; print('made')"
    assert python(words) == "made"
