"""How many letters are still dead: what is in the dead letter now, and that no redrive has settled.

The ledger counts what has died, for ever; this counts what is left of it, so it is zero again after a full redrive. In
a directory these are lines behind the place to which each file is settled, in a topic offsets: with two flows that
share one, or a redrive of some causes alone, it is the most that there can be.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import orjson

from flows.config import Flow
from flows.sources.kafka import Kafka
from sinks.deadletter import REDRIVE_SUFFIX

_PAUSE_SECONDS = 5.0
_ASK_SECONDS = 10.0
_BLOCK_BYTES = 1_000_000


class StillDead:
    """Counts one destination's letters again and again, on a thread of its own.

    Args:
        flow: The flow.
        name: The destination.
    """

    def __init__(self, flow: Flow, name: str) -> None:
        self.count: int | None = None
        """None where it isn't known."""
        self._flow = flow
        self._name = name
        self._consumer: Any = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name=f"{name}-still-dead", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Count no more."""
        self._closed.set()
        self._thread.join(timeout=1)

    def _look(self) -> None:
        directory = self._flow.dead_letter.directory
        count = self._in_topic if directory is None else InDirectory(Path(directory), self._name).count
        while not self._closed.is_set():
            try:
                self.count = count()
            except (OSError, ValueError, KeyError, TypeError):
                self.count = None
            self._closed.wait(_PAUSE_SECONDS)
        if self._consumer is not None:
            self._consumer.close()

    def _in_topic(self) -> int | None:
        from confluent_kafka import Consumer, KafkaException, TopicPartition

        from flows.sources.kafka_consumer import consumer_settings

        source = self._flow.source
        assert isinstance(source, Kafka)
        topic, group = f"{self._flow.dead_letter.topic_prefix}{self._name}", f"{source.group}.redrive.{self._name}"
        try:
            if self._consumer is None:
                self._consumer = Consumer({**consumer_settings(source.librdkafka(), group), "log_level": 0})
            found = self._consumer.list_topics(topic, timeout=_ASK_SECONDS).topics[topic]
            parts = [TopicPartition(topic, number) for number in found.partitions]
            dead = 0
            for part in self._consumer.committed(parts, timeout=_ASK_SECONDS) if parts else ():
                low, high = self._consumer.get_watermark_offsets(part, timeout=_ASK_SECONDS)
                dead += max(0, high - max(low, part.offset))
        except KafkaException:
            return None
        return dead


class InDirectory:
    """Counts the letters of a destination in a directory; what was counted before isn't read again.

    Args:
        directory: The directory.
        destination: The destination's name.
    """

    def __init__(self, directory: Path, destination: str) -> None:
        self._directory = directory
        self._memory = directory / f"{destination}{REDRIVE_SUFFIX}.json"
        self._named = re.compile(re.escape(destination) + rf"(?:-\d+|{re.escape(REDRIVE_SUFFIX)})?\.ndjson")
        self._counted: dict[str, tuple[int, int, int, int]] = {}
        """Of each file: which it was, the settled place, the place that was counted to, and the lines between."""

    def count(self) -> int:
        """Return how many letters no redrive has settled.

        Raises:
            OSError: They can't be read.
            ValueError: What a redrive has noted can't be read.
        """
        noted = orjson.loads(self._memory.read_bytes())["files"] if self._memory.exists() else {}
        paths = self._directory.iterdir() if self._directory.is_dir() else ()
        names = [path.name for path in paths if self._named.fullmatch(path.name)]
        self._counted = {name: self._of(name, noted.get(name, {}).get("done", 0)) for name in names}
        return sum(lines for _, _, _, lines in self._counted.values())

    def _of(self, name: str, done: int) -> tuple[int, int, int, int]:
        with (self._directory / name).open("rb") as file:
            status = os.fstat(file.fileno())
            number, before, to, lines = self._counted.get(name, (0, 0, 0, 0))
            if number != status.st_ino or before != done or to > status.st_size:
                to, lines = done, 0
            file.seek(to)
            while block := file.read(_BLOCK_BYTES):
                lines += block.count(b"\n")
                to += len(block)
            return status.st_ino, done, to, lines
