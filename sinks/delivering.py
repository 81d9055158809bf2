"""How the records of one destination are delivered."""

from __future__ import annotations

from dataclasses import dataclass, field

from sinks.decide import Policy


@dataclass(frozen=True, slots=True)
class Delivering:
    """How one destination's records are delivered: its `batch`, `retry` and `concurrency` settings."""

    name: str
    max_records: int = 5000
    max_bytes: int = 1_000_000
    flush_interval: float = 5.0
    concurrency: int = 4
    policy: Policy = field(default_factory=Policy)
    again: bool = False
    """Whether all were refused before, as in a redrive: then it shows no wrong setting that none is taken."""
