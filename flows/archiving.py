"""The archive as one more destination of a flow, with a dataflow, a position and a ledger of its own.

`retention.archive` says where it is; sinks/archive.py writes it, operators/retention.py says how long each record is
kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from flows.compaction.settings import CompactionSettings
from operators.formats import Format
from operators.retention import Retention, fields_of_policies
from operators.retention_models import Policies
from sinks.archive import Archive, ArchiveBatch, ArchiveDestination, open_archive
from sinks.archive_columns import READ
from sinks.destination import Getter
from sinks.settings import RetrySettings

ARCHIVE = "archive"
"""The archive's name among the destinations of a flow."""


def _placed(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


class RetentionSettings(Policies):
    """Where every record is kept, and how long."""

    archive: Annotated[Archive, BeforeValidator(_placed, json_schema_input_type=str | Archive)] = Field(
        description="Where: a directory, or s3://bucket/prefix; or a mapping of that as `path` and more."
    )
    compaction: CompactionSettings = Field(
        default_factory=CompactionSettings, description="How the archive is kept in order."
    )


@dataclass(frozen=True, slots=True)
class FlowArchive:
    """What the archive of a flow needs to be run like any of its destinations."""

    flow: str
    """The flow's name."""
    retention: RetentionSettings
    layout: Format
    """Where the fields of the source's records live."""
    exact: bool
    """Whether the source gives a record again under the topic, partition and offset that it had."""
    type: str = ARCHIVE
    partitions: int = 1
    concurrency: int = 1
    on_failure: Literal["hold"] = "hold"
    identified: bool = False

    @property
    def takes_all(self) -> bool:
        """Whether the flow's rules aren't asked."""
        return self.retention.archive.takes == "source"

    @property
    def batch(self) -> ArchiveBatch:
        """When there is a commit."""
        return self.retention.archive.batch

    @property
    def retry(self) -> RetrySettings:
        """How a commit is tried again."""
        return self.retention.archive.retry

    @property
    def health_interval(self) -> float:
        """Seconds after its last answer when the archive is asked for its health."""
        return self.retention.archive.health_interval

    def fields(self) -> set[str]:
        """Return the fields that are columns, and those that the policies look at."""
        return READ | fields_of_policies(self.retention.asked)

    def open(self, getter: Callable[[str], Getter], resume: Any, *, partition: int = 0) -> ArchiveDestination:
        """Return the archive's writer."""
        del resume
        return open_archive(
            self.retention.archive,
            self.flow,
            getter,
            Retention(self.retention, getter, self.layout.levels),
            exact=self.exact,
            partition=partition,
        )
