"""Sources: one module each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from flows.sources.base import SourceSettings

SOURCES: dict[str, str] = {
    "file": "flows.sources.file:File",
    "generate": "flows.sources.generate:Generate",
    "kafka": "flows.sources.kafka:Kafka",
    "stdin": "flows.sources.stdin:Stdin",
}
"""type -> module:class of its settings. Only what a flow file names is imported."""


def load_source(name: str) -> type[SourceSettings]:
    """Return the settings' model of this type of source."""
    module, _, attribute = SOURCES[name].partition(":")
    return cast("type[SourceSettings]", getattr(import_module(module), attribute))
