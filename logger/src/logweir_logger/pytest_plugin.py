"""The pytest fixture `structured_logs`, there by itself where the library is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from logweir_logger.testing import CapturedLogs


@pytest.fixture
def structured_logs() -> Iterator[CapturedLogs]:
    """Return the list of what all loggers log during the test; nothing is written anywhere."""
    from logweir_logger.testing import capture_logs

    with capture_logs() as logs:
        yield logs
