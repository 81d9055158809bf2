"""Dead letters as a redrive reads them: which ones it wants, and how far they are settled.

Everything before a settled place has been delivered, or put back at the end of the dead letter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from sinks.deadletter import DeadLetter

READ_BYTES = 1_000_000
"""Of the records of one reading, about."""


def reads(topics: Collection[str], topic: str) -> bool:
    """Tell whether a topic is among those that a flow reads: by its name, or by a pattern, which begins with `^`."""
    if topic in topics:
        return True
    patterns = [each for each in topics if each.startswith("^")]
    if not patterns:
        return False
    import re2

    return any(re2.search(each, topic) for each in patterns)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are to be sent again."""

    destination: str
    topics: frozenset[str] = frozenset()
    """Those that the flow reads; a letter from another one belongs to another flow. Empty: from anywhere."""
    causes: frozenset[str] = frozenset()
    """Those that were asked for; empty: all."""
    was: str | None = None
    """The name that the destination had before; its letters under that name are its own."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names that the destination's letters may bear."""
        return (self.destination,) if self.was is None else (self.destination, self.was)

    def is_ours(self, destination: str, topic: str) -> bool:
        """Tell whether a letter belongs to this flow's destination."""
        return destination in self.names and (not self.topics or reads(self.topics, topic))

    def is_chosen(self, cause: str) -> bool:
        """Tell whether letters of this cause were asked for."""
        return not self.causes or cause in self.causes


class Read(NamedTuple):
    """One dead letter as it was found."""

    letter: DeadLetter
    written: float
    """When it became one, in epoch seconds."""


@dataclass(slots=True)
class Place:
    """How far the letters of one file or partition are settled.

    A redrive of some causes alone passes over the letters of others, so it moves on for its causes and not for all.
    """

    done: int = 0
    """Whatever is before it is settled, in bytes or offsets."""
    causes: dict[str, int] = field(default_factory=dict)
    """For causes that are further than the rest."""

    def start(self, wanted: Wanted) -> int:
        """Return where the first letter may be that is wanted."""
        return min((max(self.done, self.causes.get(cause, 0)) for cause in wanted.causes), default=self.done)

    def is_settled(self, cause: str, at: int) -> bool:
        """Tell whether a letter of this cause that stands here has been dealt with."""
        return at < max(self.done, self.causes.get(cause, 0))

    def advance(self, to: int, causes: Collection[str]) -> None:
        """Note that the letters of these causes, or all when there are none, are settled up to here."""
        if causes:
            self.causes.update({cause: max(to, self.causes.get(cause, 0)) for cause in causes})
        else:
            self.done = max(self.done, to)
        self.causes = {cause: at for cause, at in self.causes.items() if at > self.done}

    @property
    def end(self) -> int:
        """Return the furthest place that anything is settled to."""
        return max(self.done, *self.causes.values()) if self.causes else self.done


@dataclass(slots=True)
class Passed:
    """What was read and not given out."""

    unreadable: int = 0
    """What is no dead letter; it is left where it is."""
    foreign: int = 0
    """Letters of another flow."""
    others: Counter[str] = field(default_factory=Counter)
    """Letters of causes that were not asked for."""
    cut: int = 0
    """Letters that keep only the beginning of a record that is gone from its topic; they are put back."""
    gone: int = 0
    """Letters that the topic's retention has deleted before they were sent."""


class Letters(Protocol):
    """The dead letters of one destination, up to the end that they had when this began.

    What is put back while they are read comes after that end, so a redrive never meets its own failures.
    """

    state: Any
    """What the destination resumes from: as it was given to `record` last."""
    passed: Passed

    def is_empty(self) -> bool:
        """Tell whether there is nothing to read, or no more."""
        ...

    def read(self, most: int, size: int = READ_BYTES) -> list[Read] | None:
        """Return the next letters; an empty list when there are none yet, None at the end.

        Args:
            most: How many at most.
            size: Bytes of their records, which the last one may exceed.

        Raises:
            SourceError: They can't be read.
        """
        ...

    def record(self, state: Any) -> None:
        """Make durable that all that was given out is settled, and the destination's state with it.

        Raises:
            SourceError: That isn't possible; what was given out since the last time will be given out again.
        """
        ...

    def finish(self) -> None:
        """Tidy up, once all is read and settled.

        Raises:
            SourceError: That isn't possible.
        """
        ...

    def close(self) -> None:
        """Release what is held, the lock too."""
        ...
