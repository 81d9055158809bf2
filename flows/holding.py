"""Legal holds: which records of the archive must not be deleted, whatever their policy or an erasure says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.compaction.files import Partition
from flows.matching import Matcher
from operators.formats import Format
from operators.retention_models import Hold

if TYPE_CHECKING:
    import pyarrow as pa


class LegalHolds:
    """The holds of a flow, as compaction, erasure and search ask for them.

    Args:
        holds: The holds.
        layout: Where the fields of the source's records live.
    """

    def __init__(self, holds: Sequence[Hold], layout: Format) -> None:
        self._matchers = [(hold.name, Matcher(hold.where, layout)) for hold in holds]

    def __bool__(self) -> bool:
        return bool(self._matchers)

    def may_hold(self, partition: Partition) -> bool:
        """Tell whether any record of a partition may be held: where there is a hold, each has to be looked at."""
        del partition
        return bool(self)

    def held(self, rows: pa.RecordBatch) -> pa.Array:
        """Return for each row whether it is held: booleans without nulls.

        Args:
            rows: With the column `raw`.
        """
        import pyarrow as pa

        found = {row for rows_of_one in self.by_name(rows.column("raw")).values() for row in rows_of_one}
        return pa.array([row in found for row in range(rows.num_rows)], pa.bool_())

    def by_name(self, values: pa.Array) -> dict[str, list[int]]:
        """Return for each hold which of some raw records it keeps.

        Args:
            values: Of the column `raw`.
        """
        return {name: matcher.rows(values) for name, matcher in self._matchers}
