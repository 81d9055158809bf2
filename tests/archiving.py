"""What flows with an archive go through in the integration tests, and for longer in the proof."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import deltalake
import polars as pl
from deltalake.exceptions import TableNotFoundError

from tests.feeding import Feed
from tests.flowing import Running, assert_ledger, write_flow
from tests.scenarios import assert_all_there, new_name
from tests.servers.kafka import Kafka


def flow_with_archive(directory: Path, kafka: Kafka, topic: str, **more: Any) -> Path:
    """Write a flow that archives a topic, quickly, and return its path; the table is `directory`/archive."""
    archive = {"path": str(directory / "archive"), "batch": {"flush_interval": "300ms"}, **more.pop("archive", {})}
    archive["retry"] = {"backoff": "100ms", "max_backoff": "1s"}
    nowhere = {"type": "file", "path": str(directory / "out.ndjson")}
    return write_flow(directory, kafka, topic, {"out": nowhere}, retention={"archive": archive}, **more)


class Reader:
    """Reads the whole table again and again while others write it; as a context manager it ends with the block.

    Args:
        place: The table.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self.reads = 0
        self.problems: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        before = 0
        while not self._ended.wait(0.1):
            try:
                rows, different = _counted(self._place)
            except Exception as error:  # noqa: BLE001  whatever it is, the table could not be read
                # Polars says in either way that there is none yet.
                if self.reads or not isinstance(error, TableNotFoundError | FileNotFoundError):
                    self.problems.append(repr(error))
                continue
            self.reads += 1
            if rows != different or rows < before:
                self.problems.append(f"{rows} rows of {different} ids after {before}")
            before = rows


def _counted(place: Path) -> tuple[int, int]:
    found = pl.scan_delta(str(place)).select(pl.len().alias("rows"), pl.col("id").n_unique().alias("ids")).collect()
    return found["rows"][0], found["ids"][0]


class Crashes(NamedTuple):
    """The figures of a flow that was killed again and again."""

    sent: int
    duplicates: int
    """Records that came again after a kill and were there already."""
    commits: int
    reads: int
    """Of the whole table, while it was written."""
    seconds: float


def crash(kafka: Kafka, directory: Path, *arguments: str, kills: int, rate: int, longest: float) -> Crashes:
    """Kill a flow at random moments while it archives, its worker and its supervisor in turns, and account for it all.

    Args:
        kafka: The broker.
        directory: For the flow.
        arguments: Of `logweir run`, beside the flow.
        kills: How often.
        rate: Records a second that are produced meanwhile.
        longest: Seconds that it runs before a kill at most.
    """
    topic = new_name("archive")
    flow = flow_with_archive(directory, kafka, topic)
    place = directory / "archive"
    dice = random.Random(topic)
    started = time.monotonic()
    with Feed(kafka, topic, plant=300) as feed, ExitStack() as ended:
        feed.start(rate)
        running = ended.enter_context(Running(flow, "--only", "archive", *arguments))
        reader = ended.enter_context(Reader(place))
        starts = 0
        for number in range(kills):
            version = _version(place)
            _wait_committing(running, starts, place, version)
            time.sleep(dice.uniform(0, longest))
            starts = 0
            if number % 2 == 0:
                starts = len(running.told("stream.added"))
                os.kill(dice.choice(running.workers()), signal.SIGKILL)
            else:
                running.kill()
                running = ended.enter_context(Running(flow, "--only", "archive", *arguments))
        feed.stop()
        # All may have been recorded before the last kill; stopped at once, it would tell of the killed worker.
        running.until(lambda: len(running.told("stream.added")) > starts, "a worker has started")
        running.drain(kafka, topic, f"{topic}.archive", timeout=300)
        assert running.stop() == 0
    ledger = running.ledgers()["archive"]
    assert_ledger(ledger, read=feed.sent, delivered=len(feed.expected), dropped=feed.dropped, dead=feed.dead)
    found = pl.scan_delta(str(place)).select("id", "topic", "partition", "offset").collect()
    assert_all_there(found["id"].to_list(), feed)
    assert found.select(pl.struct("topic", "partition", "offset").n_unique()).item() == len(found)
    feed.assert_dead_letters("archive", once=False)
    assert not reader.problems, reader.problems
    return Crashes(feed.sent, ledger.duplicates, _version(place), reader.reads, time.monotonic() - started)


def _wait_committing(running: Running, starts: int, place: Path, version: int) -> None:
    """Wait until a worker beyond so many has started, and the table is at a later version."""
    running.until(lambda: len(running.told("stream.added")) > starts, "a worker has started")
    running.until(lambda: _version(place) > version, "it commits")


def _version(place: Path) -> int:
    try:
        return int(deltalake.DeltaTable(place).version())
    except TableNotFoundError:
        return -1


def limited(kafka: Kafka, directory: Path, records: int, *arguments: str) -> None:
    """Archive what a limit lets pass, each record once.

    The limit is asked about a few batches alone. Its answer comes from another process, and other batches meanwhile.
    """
    topic = new_name("archive")
    rules = [{"name": "Few", "type": "rate", "max_per_second": 1, "by": "context.service", "levels": ["error"]}]
    flow = flow_with_archive(directory, kafka, topic, rules=rules, archive={"from": "kept"})
    # One partition, so that batches of the same one are on their way together.
    with Feed(kafka, topic, 1) as feed, Running(flow, "--only", "archive", *arguments) as running:
        running.until(running.workers, "it runs")
        feed.start(2000)
        running.until(lambda: feed.sent >= records, "records were sent")
        feed.stop()
        running.drain(kafka, topic, f"{topic}.archive")
        assert running.stop() == 0
    ledger = running.ledgers()["archive"]
    found = pl.scan_delta(str(directory / "archive")).select("id").collect()["id"]
    assert ledger.read == feed.sent == ledger.delivered + ledger.dropped["Few"]
    assert ledger.dropped["Few"]
    assert ledger.duplicates == 0
    assert len(found) == found.n_unique() == ledger.delivered
