"""Import a package without those that it imports and does not need for what is asked of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Within, modules of these names are stand-ins, unless they have been imported already.

    What an importing module says with them at its top (a type's annotation, a default) means
    nothing then; whatever it does with them later fails.
    """
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update((name, _StandIn(name)) for name in absent)
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)  # another thread may have come to the same end


class _Nothing:
    """What a stand-in has under every name: it can be called, and has types in brackets."""

    def __init__(self, *words: object, **named: object) -> None:
        pass

    def __class_getitem__(cls, _: object) -> type["_Nothing"]:
        return cls


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> type[_Nothing]:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing
