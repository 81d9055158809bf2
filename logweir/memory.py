"""Giving memory back to the system that was needed for a while and isn't any more."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Return what the allocator keeps in vain, in pieces too; where the C library can't, nothing happens.

    Takes some milliseconds, in which threads that want memory wait, and what is returned has to be fetched again when
    it is needed: so not for every request, but now and then.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    # glibc's (malloc_trim(3)); others have no such function.
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found
