"""What must not be deleted, whatever else says so: the seam between compaction and legal holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from flows.compaction.files import Partition

if TYPE_CHECKING:
    import pyarrow as pa


class Holds(Protocol):
    """Tells what is held."""

    def may_hold(self, partition: Partition) -> bool:
        """Tell whether any record of a partition may be held; one that has none is dropped without being read."""
        ...

    def held(self, rows: pa.RecordBatch) -> pa.Array:
        """Return for each row whether it is held: booleans without nulls. Rows have all columns of a file."""
        ...


class NothingHeld:
    """No holds."""

    def may_hold(self, partition: Partition) -> bool:
        """Return False."""
        del partition
        return False

    def held(self, rows: pa.RecordBatch) -> pa.Array:
        """Return False for each."""
        import pyarrow as pa

        return pa.repeat(pa.scalar(False), rows.num_rows)
