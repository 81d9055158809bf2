"""What the tests of compaction share: an archive with records in it, a compactor, and a look into the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from flows.archiving import FlowArchive
from flows.compaction.decide import Decider
from flows.compaction.execute import Compactor, Done, Known
from flows.compaction.files import Partition
from flows.compaction.view import View
from sinks.archive_stores import Bucket
from tests.sinks.archive_support import configured, rows

TARGET = 1_000_000


def record(number: int, day: str = "2026-01-01", level: str = "info", **more: Any) -> bytes:
    """Return a record with this number as its id."""
    return orjson.dumps({"id": str(number), "timestamp": f"{day}T00:00:00.{number % 1000:03}Z", "level": level, **more})


def at(text: str) -> Callable[[], float]:
    """Return a clock that stands still."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    return lambda: moment


def compactor(settings: FlowArchive, clock: Callable[[], float] = time.time, **more: Any) -> Compactor:
    """Return a compactor with a view of its own."""
    view = View(settings.retention.archive.store())
    view.load()
    decider = Decider(settings.retention, settings.layout)
    return Compactor(view, decider, more.pop("target_size", TARGET), clock, **more)


def compact(settings: FlowArchive, clock: Callable[[], float] = time.time, **more: Any) -> list[Done]:
    """Do all that is to be done, as often as it takes; return what was done."""
    made = compactor(settings, clock, **more)
    known: dict[Partition, Known] = {}
    done: list[Done] = []
    while True:
        some = [made.tend(each, known.setdefault(each, {})) for each in list(made.view.partitions)]
        done += [each for each in some if each]
        if not any(some):
            return done


def classes(place: Path | str, options: Mapping[str, str] | None = None) -> dict[str, tuple[str, str | None]]:
    """Return the class and the policy of each record, by id; each id has to be there once."""
    found = rows(place, None if options is None else dict(options))
    assert found["id"].n_unique() == found.height
    return {
        each["id"]: (each["retention"], each["policy"]) for each in found.select("id", "retention", "policy").to_dicts()
    }


@contextmanager
def moto() -> Iterator[tuple[str, dict[str, Any]]]:
    """Run S3, and give a place for an archive in it with the settings that go with it."""
    from moto.server import ThreadedMotoServer

    # What it stores outlives the server.
    bucket = f"logs-{uuid4()}"

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        settings = {
            "endpoint_url": f"http://{host}:{port}",
            "region": "us-east-1",
            "access_key_id": "id",
            "secret_access_key": "key",
        }
        place = f"s3://{bucket}/an/archive"
        store = configured(place, archive=settings).retention.archive.store()
        assert isinstance(store, Bucket)
        store.client().create_bucket(Bucket=bucket)
        yield place, settings
    finally:
        server.stop()


class Held:
    """Holds the records of some ids."""

    def __init__(self, *ids: str) -> None:
        self._ids = ids

    def may_hold(self, partition: Partition) -> bool:
        """Hold some in every partition."""
        del partition
        return True

    def held(self, some: Any) -> Any:
        """Return which are held."""
        import pyarrow as pa
        import pyarrow.compute as pc

        return pc.is_in(some.column("id"), pa.array(self._ids, pa.string()))
