"""Opening the archive of a flow for compaction and for the commands about it, with failures in words."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flows.archiving import FlowArchive
from flows.compaction.decide import Decider
from flows.compaction.execute import Compactor
from flows.compaction.view import View
from flows.config import Flow
from flows.holding import LegalHolds
from logweir.errors import LogweirError
from sinks.archive import MISSING
from sinks.archive_stores import Store
from sinks.destination import Hold


def archive_of(flow: Flow) -> FlowArchive:
    """Return the archive of a flow.

    Raises:
        LogweirError: It has none, or the libraries aren't installed.
    """
    archive = flow.archive
    if archive is None:
        msg = f"the flow {flow.name} has no archive: set retention.archive"
        raise LogweirError(msg)
    if any(importlib.util.find_spec(name) is None for name in ("deltalake", "pyarrow")):
        raise LogweirError(MISSING)
    return archive


def compactor_of(
    archive: FlowArchive,
    program: str,
    clock: Callable[[], float] = time.time,
    stopping: Callable[[], bool] = lambda: False,
    *,
    merge: bool = True,
) -> Compactor:
    """Return what carries out the flow's policies on its archive, with the table not read yet.

    Args:
        archive: The flow's archive.
        program: Who changes it, as the commits say.
        clock: The present, as it counts for expiry.
        stopping: Tells whether the work is to be broken off.
        merge: Whether small files are merged.
    """
    settings = archive.retention
    view = View(settings.archive.store(), program)
    decider = Decider(settings, archive.layout)
    holds = LegalHolds(settings.hold, archive.layout)
    return Compactor(view, decider, settings.compaction.target_size, clock, stopping, holds, merge=merge)


@contextmanager
def told(store: Store) -> Iterator[None]:
    """Tell in words what a store raises.

    Raises:
        LogweirError: Something was raised in the block.
    """
    try:
        yield
    except LogweirError:
        raise
    except Exception as error:
        raise LogweirError(in_words(store, error)) from error


def in_words(store: Store, error: Exception) -> str:
    """Return what a failure means, and what to do about it where that is known. It has no secret in it."""
    if isinstance(error, LogweirError):
        return str(error)
    found = store.failed(error)
    return found.issue if isinstance(found, Hold) else found.reason
