"""What the tests of the archive share: the delivery engine around it, and a look into the table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from flows.archiving import FlowArchive, RetentionSettings
from logweir.batch import Batch
from logweir.events import Events
from operators.decode import Decoder
from operators.formats import LOGWEIR, Format
from operators.projection import Projection
from sinks.archive import ArchiveDestination
from sinks.deadletter import DirectoryDeadLetters
from sinks.decide import Policy
from sinks.delivering import Delivering
from sinks.flight import Flight
from sinks.table_delivery import TableDelivery


def configured(place: Path | str, *, exact: bool = True, layout: Format = LOGWEIR, **changes: Any) -> FlowArchive:
    """Return the archive of a flow, as its file describes it."""
    archive = {"path": str(place), **changes.pop("archive", {})}
    return FlowArchive("flow", RetentionSettings.model_validate({"archive": archive, **changes}), layout, exact)


class Writer:
    """The delivery engine with an archive."""

    def __init__(self, settings: FlowArchive, folder: Path, partition: int = 0, **changes: Any) -> None:
        self.projection = Projection(settings.fields(), settings.layout)
        self.destination: ArchiveDestination = settings.open(self.projection.getter, None, partition=partition)
        self.flight = Flight(1 << 40)
        self.told: list[dict[str, Any]] = []
        events = Events()
        events.listen(self.told.append)
        values: dict[str, Any] = {
            "name": "archive",
            "policy": Policy(max_retries=2, backoff=0.01, max_backoff=0.03),
            "flush_interval": 60.0,
            "max_bytes": 1 << 40,
            "max_records": 1 << 30,
            **changes,
        }
        letters = DirectoryDeadLetters(folder / "dead", "archive", 0)
        self.delivery = TableDelivery(Delivering(**values), self.destination, letters, self.flight, events)

    def batch(self, values: Sequence[bytes], offset: int = 0, topic: str = "logs", partition: int = 0) -> Batch:
        """Return records as decode leaves them."""
        offsets = range(offset, offset + len(values))
        batch = Batch(topic, partition, list(values), offsets)
        Decoder(self.projection)(batch)
        self.flight.add(batch.account.read_bytes)
        return batch

    def write(self, values: Sequence[bytes], offset: int = 0, topic: str = "logs", partition: int = 0) -> None:
        """Hand records to the engine."""
        self.delivery.write([self.batch(values, offset, topic, partition)])

    def settle(self) -> None:
        """Wait until all is committed, and lasts."""
        deadline = time.monotonic() + 60
        self.delivery.barrier(lambda: deadline)
        self.delivery.checkpoint()
        ledger = self.delivery.ledger
        assert ledger.in_flight == 0
        assert self.flight.bytes == 0

    def deliver(self, values: Sequence[bytes], offset: int = 0, topic: str = "logs", partition: int = 0) -> None:
        """Commit records."""
        self.write(values, offset, topic, partition)
        self.settle()

    def issue(self) -> str:
        """Return the issue once there is one."""
        deadline = time.monotonic() + 30
        while not (found := str(self.delivery.status()["issue"])) and time.monotonic() < deadline:
            time.sleep(0.01)
        return found


@contextmanager
def writer(settings: FlowArchive, folder: Path, partition: int = 0, **changes: Any) -> Iterator[Writer]:
    """Run the engine inside the block."""
    made = Writer(settings, folder, partition, **changes)
    try:
        yield made
    finally:
        made.delivery.close()


def rows(place: Path | str, options: dict[str, str] | None = None) -> pl.DataFrame:
    """Return the table, in the order of topic, partition and offset."""
    return pl.scan_delta(str(place), storage_options=options).sort("topic", "partition", "offset").collect()


def numbered(*span: int) -> list[bytes]:
    """Return records with these numbers as ids."""
    return [b'{"id":"%d","level":"info","timestamp":"2026-01-01T00:00:00.%03dZ"}' % (n, n % 1000) for n in range(*span)]


def ids(place: Path | str, options: dict[str, str] | None = None) -> list[str]:
    """Return the ids of all rows, in the order of topic, partition and offset."""
    return rows(place, options)["id"].to_list()
