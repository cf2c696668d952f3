"""The C library's heap, told to keep less: it can only be told before the process begins.

Each thread would keep for itself what it has freed, and a thousand workers twenty megabytes of it
(docs/decisions/0011-memory.md).
"""

import os
import sys
from contextlib import suppress

TUNABLES = "GLIBC_TUNABLES"
NO_CACHE = "glibc.malloc.tcache_count=0"
_BEGUN_ANEW = "heap"  # `python -X heap app.py`: never twice, whatever becomes of the variable


def begin_anew() -> None:
    """Become the same program again, with the C library told.

    Does nothing where that has been done, where whoever starts it has tunables of their own, and
    where another C library would not listen.
    """
    if _BEGUN_ANEW in sys._xoptions or TUNABLES in os.environ or not _is_glibc():
        return
    command = [sys.executable, "-X", _BEGUN_ANEW, *sys.orig_argv[1:]]
    with suppress(OSError):  # not allowed here: it is only memory
        os.execve(sys.executable, command, {**os.environ, TUNABLES: NO_CACHE})  # noqa: S606


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, OSError, ValueError):
        return False
