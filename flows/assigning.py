"""What the workers of a dataflow are told to run, and the recovery store that they find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flows import recovery_store
from flows.archiving import ARCHIVE
from flows.config import Flow
from flows.plan import limiters_of
from flows.runtime import Assignment
from flows.seats import Seating, remember, remembered
from flows.takeover import Tell, damage_of, take_over
from logweir.errors import LogweirError


def groups(flow: Flow, only: Sequence[str] | None) -> list[list[str]]:
    """Return the enabled destinations and the archive, those of one dataflow together.

    Args:
        flow: The flow.
        only: Those to leave it at; all when None.
    """
    names = [name for name in flow.outlets if only is None or name in only]
    if flow.isolation == "destination":
        return [[name] for name in names]
    return [names] if names else []


def planned(flow: Flow, names: Sequence[str], workers: int) -> Assignment:
    """Return what the workers of one dataflow are told, as far as that doesn't stand in its recovery store."""
    isolated = flow.isolation == "destination"
    label = names[0] if isolated else recovery_store.ALL
    group = flow.group
    return Assignment(
        flow=flow,
        destinations=tuple(names),
        group=f"{group}.{label}" if isolated else group,
        recovery=Path(flow.recovery.directory) / flow.name / label,
        interval=_interval(flow, names),
        workers=workers,
    )


def assign(flow: Flow, names: Sequence[str], workers: int, tell: Tell = lambda *_, **__: None) -> Assignment:
    """Return what the workers of one dataflow are told, and make its recovery store unless there is one.

    Args:
        flow: The flow.
        names: Its destinations in this dataflow.
        workers: Their number.
        tell: Tells what becomes of a destination that was renamed, and of damaged files.

    Raises:
        LogweirError: The store can't be made.
    """
    assignment = planned(flow, names, workers)
    store = assignment.recovery
    try:
        take_over(flow, names, store, tell)
        recovery_store.make(store)
        if damaged := recovery_store.damaged(store):
            tell("flow.damaged", "error", stream=",".join(names), reason=damage_of(damaged))
        partitions = recovery_store.remember_partitions(
            store, {name: flow.outlets[name].partitions * workers for name in names}
        )
        known = remembered(store)
        seatings = {name: known.get(name, Seating()).started(limiters_of(flow, name)) for name in names}
        remember(store, seatings)
    except OSError as error:
        msg = f"recovery.directory {store}: {error.strerror}: make it writable, or set another"
        raise LogweirError(msg) from error
    return replace(assignment, sink_partitions=partitions, seatings=seatings)


def _interval(flow: Flow, names: Sequence[str]) -> float:
    """Return the seconds of an epoch. The archive's own dataflow ends one with each commit that is due."""
    archive = flow.archive
    return archive.batch.flush_interval if archive is not None and list(names) == [ARCHIVE] else flow.recovery.interval
