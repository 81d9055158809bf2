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
from flows.config import Flow, LoadedFlow
from flows.holding import LegalHolds
from logweir.errors import ConfigError, LogweirError
from sinks.archive import MISSING
from sinks.archive_stores import Store
from sinks.destination import Hold


def asked_of(loaded: LoadedFlow) -> FlowArchive:
    """Return the archive of a flow for a command that needs one.

    Raises:
        ConfigError: The flow has none.
        LogweirError: The libraries aren't installed.
    """
    if loaded.flow.archive is None:
        path, missing = ("retention", "archive"), "is not set, and this command is about the archive; set it to"
        found = loaded.document.find(path, f"{missing} a directory such as ./archive, or to s3://bucket/prefix")
        raise ConfigError([str(found)])
    return archive_of(loaded.flow)


def archive_of(flow: Flow) -> FlowArchive:
    """Return the archive of a flow that has one.

    Raises:
        LogweirError: The libraries aren't installed.
    """
    archive = flow.archive
    assert archive is not None
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
