"""What a flow records to resume from has a version: this program reads its own and older ones, and no later one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from logweir.errors import DestinationError


def version_of(state: Mapping[str, Any], newest: int) -> int:
    """Return the version of a recorded state.

    Args:
        state: As it was recorded, with its `version`.
        newest: The version that this program writes.

    Raises:
        DestinationError: It is a later one, so what stands in it can't be known.
    """
    version: int = state["version"]
    if version > newest:
        msg = (
            f"what was recorded to resume from is of version {version}, and this logweir reads up to {newest}: a "
            "later one has run this flow; run that again, or set another recovery.directory to begin without it"
        )
        raise DestinationError(msg)
    return version
