"""What a flow file says of the compaction of its archive."""

from __future__ import annotations

from pydantic import Field

from logweir.settings import StrictModel
from logweir.units import Bytes, Duration


class CompactionSettings(StrictModel):
    """How the archive is kept in order: what has expired is deleted, small files are merged."""

    enabled: bool = Field(True, description="Whether `logweir run` does it; `logweir compact` does it in any case.")
    interval: Duration = Field(600.0, ge=1, description="How often every partition is looked at.")
    target_size: Bytes = Field(
        128_000_000, ge=1_000_000, description="The bytes that a file should have; smaller ones are merged."
    )
    grace: Duration = Field(
        86_400.0,
        ge=60,
        description="How long a file stays in the store after it was removed from the table: it may be read still.",
    )
