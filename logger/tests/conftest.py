"""Loggers whose records a test can look at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import pytest

import logweir_logger
from logweir_logger import StructuredLogger
from logweir_logger.pytest_plugin import structured_logs

__all__ = ["structured_logs"]

Records = list[dict[str, Any]]

_SOURCE = str(Path(logweir_logger.__file__).resolve().parents[1])


@pytest.fixture(autouse=True)
def _same_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that a test starts import what it has imported itself."""
    monkeypatch.setenv("PYTHONPATH", _SOURCE, prepend=os.pathsep)


@pytest.fixture
def records() -> Records:
    """Return the list that `make` collects in."""
    return []


@pytest.fixture
def make(records: Records) -> Callable[..., StructuredLogger]:
    """Return a function that makes a logger which collects in `records`."""

    def maker(**settings: Any) -> StructuredLogger:
        settings = {"service": "checkout", "host": "node-1", "outputs": [records.append], **settings}
        return StructuredLogger(**settings)

    return maker
