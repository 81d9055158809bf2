"""The dates by which records are filed: a record's own, within bounds around when it was written.

Each date has an index, or files, of its own, and a cluster or a table takes only so many. A clock that was never set,
or a field that holds something else than the record's time, must not make thousands of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from logweir.settings import StrictModel
from logweir.times import rfc3339
from logweir.units import Duration

OUTSIDE = "timestamp outside dates"
"""What is told of a record that is filed by when it was written."""
EARLIEST_SECONDS = 946_684_800.0
"""2000-01-01: what claims to be older was written by a clock that was never set."""
_LATEST_SECONDS = 253_402_300_799.0
_SECOND = len("2026-01-01T00:00:00")
_DAY = 86_400.0


class Dates(StrictModel):
    """How far a record's own time may lie from when it was written for the record to be filed by it."""

    past: Duration = Field(
        366 * _DAY,
        description="How long before it was written. An older record, as of a backfill, is filed by when it was "
        "written, or read where the source doesn't say.",
    )
    future: Duration = Field(_DAY, description="How long after it was written; clocks differ.")

    def of(self, times: list[str], written: Sequence[float]) -> tuple[list[str], int]:
        """Return the times by which records are filed, and how many aren't their own.

        Args:
            times: The records' own, settled: RFC 3339 text in UTC.
            written: When each was written to the source, in epoch seconds.
        """
        if not times:
            return times, 0
        if self._earliest(max(written)) <= min(times) and max(times)[:_SECOND] <= self._latest(min(written)):
            return times, 0
        filed = [
            time if self._earliest(moment) <= time and time[:_SECOND] <= self._latest(moment) else rfc3339(moment)
            for time, moment in zip(times, written, strict=True)
        ]
        return filed, sum(mine != own for mine, own in zip(filed, times, strict=True))

    def _earliest(self, written: float) -> str:
        return rfc3339(max(EARLIEST_SECONDS, written - self.past))[:_SECOND]

    def _latest(self, written: float) -> str:
        return rfc3339(min(_LATEST_SECONDS, written + self.future))[:_SECOND]
