"""What a changed flow file changes, and what that takes: nothing, a restart of a dataflow, or a person.

A setting that isn't in the table takes a restart, which is always right: it is what happens at a stop and a start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from pydantic import BaseModel

from flows.archiving import ARCHIVE
from flows.config import Flow

Path = tuple[str, ...]


class Effect(Enum):
    """What a changed setting takes."""

    SWAPPED = "swapped"
    """It holds from the next batch on."""
    RESTART = "restart"
    """The dataflows that it concerns are stopped as at SIGTERM, and started with the new file."""
    REFUSED = "refused"
    """The flow has to be stopped and started by hand, since its position belongs to the old value."""


EFFECTS = {
    "name": Effect.REFUSED,
    "source": Effect.RESTART,
    "source.type": Effect.REFUSED,
    "redact": Effect.SWAPPED,
    "rules": Effect.SWAPPED,
    "destinations": Effect.RESTART,
    "destinations.*.enabled": Effect.RESTART,
    "destinations.*.rules": Effect.SWAPPED,
    "destinations.*.when": Effect.SWAPPED,
    "destinations.*.sampling": Effect.SWAPPED,
    "destinations.*.batch": Effect.SWAPPED,
    "destinations.*.retry": Effect.SWAPPED,
    "destinations.*.on_failure": Effect.SWAPPED,
    "destinations.*.concurrency": Effect.RESTART,
    "destinations.*.partitions": Effect.RESTART,
    "destinations.*.was": Effect.RESTART,
    "destinations.*.health_interval": Effect.SWAPPED,
    "retention": Effect.RESTART,
    "dead_letter": Effect.RESTART,
    "isolation": Effect.REFUSED,
    "recovery.directory": Effect.REFUSED,
    "recovery.interval": Effect.RESTART,
    "status": Effect.SWAPPED,
    "max_in_flight": Effect.SWAPPED,
    "stop_timeout": Effect.SWAPPED,
    "tests": Effect.SWAPPED,
}
"""By setting; `*` stands for a destination's name. What isn't here goes with what it is part of."""

_ONCE = ("stdin",)
"""Types of sources that can't be read again: what such a one has read ahead would be gone with a restart."""


class Change(NamedTuple):
    """A setting that differs."""

    path: Path
    effect: Effect

    def __str__(self) -> str:
        return ".".join(self.path)

    def concerns(self, destinations: Iterable[str]) -> bool:
        """Tell whether it is about one of these destinations, or about all."""
        if self.path[0] == "retention":
            return ARCHIVE in destinations and self.path[1:2] != ("compaction",)
        return self.path[0] != "destinations" or self.path[1] in destinations


def compare(old: Flow, new: Flow) -> list[Change]:
    """Return every setting that differs. A disabled destination is as one that isn't there."""
    changes = [
        Change(path, _effect(path))
        for name in Flow.model_fields
        if name != "destinations"
        for path in _differing(getattr(old, name), getattr(new, name), (name,))
    ]
    names = dict.fromkeys([*old.enabled, *new.enabled])
    for name in names:
        before, after = old.enabled.get(name), new.enabled.get(name)
        if before is None or after is None:
            changes.append(Change(("destinations", name), Effect.RESTART))
        else:
            paths = _differing(before, after, ("destinations", name))
            changes += [Change(path, _effect(path)) for path in paths]
    if getattr(old.source, "type", "") in _ONCE:
        taken = {Effect.RESTART: Effect.REFUSED}
        changes = [each._replace(effect=taken.get(each.effect, each.effect)) for each in changes]
    return changes


def _differing(old: object, new: object, path: Path) -> Iterator[Path]:
    """Yield the paths at which two values of one setting differ, within models of one kind."""
    if isinstance(old, BaseModel) and type(old) is type(new):
        for name, field in type(old).model_fields.items():
            yield from _differing(getattr(old, name), getattr(new, name), (*path, field.alias or name))
    elif isinstance(old, BaseModel) and isinstance(new, BaseModel) and "type" in type(old).model_fields:
        yield *path, "type"
    elif old != new:
        yield path


def _effect(path: Path) -> Effect:
    """Return what a setting's change takes: as the nearest that is in the table."""
    general = (path[0], "*", *path[2:]) if path[0] == "destinations" else path
    for length in range(len(general), 0, -1):
        effect = EFFECTS.get(".".join(general[:length]))
        if effect is not None:
            return effect
    return Effect.RESTART
