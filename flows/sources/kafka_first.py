"""Where a Kafka source begins: decided once for all its partitions, and durable before a record is handed out.

`start` is about the moment at which a flow first reads a topic, and that moment must not come again: what is written
while a destination holds, or while no epoch is finished, would be skipped with `start: latest`. So the first positions
stand in the file `positions.json` of the recovery store, which is written before anything is read. The first worker to
come decides for all; the others read what it wrote.

    {"version": 1, "logs": {"<cluster>/<topic id>": {"topic": name, "partitions": {"0": {"offset": 17}}}},
     "awaited": {name: epoch milliseconds}, "patterns": ["^logs"]}

A partition that comes later begins at its beginning, for what it holds has never been read; so does a topic that didn't
exist when the flow wanted it, and one that is made anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import re2

from flows.sources.kafka_offsets import Key, Offsets
from flows.sources.kafka_position import Position, in_cluster, is_same
from flows.sources.kafka_topics import Found, Topic
from logweir.errors import SourceError
from logweir.private import private
from logweir.recorded import version_of

FILE = "positions.json"
_VERSION = 1

Start = Literal["earliest", "latest"] | datetime
Log = dict[int, Position]


class FirstPositions:
    """The first position of each partition of the source.

    Args:
        directory: Where they are kept; None: nowhere, for a source that only looks.
        start: Where a topic is begun that was never read.
        wanted: The topics; what begins with `^` is a pattern.
        recorded: Gives the partitions whose positions are recorded elsewhere, as pairs of topic and number.
        gap: Tells that a position was of no use: the partition, and why.
    """

    def __init__(
        self,
        directory: Path | None,
        start: Start,
        wanted: Sequence[str],
        recorded: Callable[[], Collection[Key]],
        gap: Callable[[Key, str], None],
    ) -> None:
        self._path = None if directory is None else directory / FILE
        self._start = start
        self._named = {each for each in wanted if not each.startswith("^")}
        self._patterns = [each for each in wanted if each.startswith("^")]
        self._recorded = recorded
        self._gap = gap
        self._lock = threading.Lock()
        self._logs: dict[str, tuple[str, Log]] = {}
        """By the log's name: the topic's, and where each partition begins."""
        self._awaited: dict[str, int] = {}
        """Topics that could not be read when they were wanted: since when, or zero for those that didn't exist."""
        self._known_patterns: list[str] = []

    def settle(self, found: Found, offsets: Offsets) -> None:
        """Decide about what there is and nothing is decided about.

        Raises:
            SourceError: The file can't be read or written, or the brokers don't say.
            KafkaException: The brokers don't say.
        """
        with self._lock, self._held():
            before = self._to_json()
            fresh = [(name, n) for name, n in found.keys() if n not in self._of(found.topics[name])]  # noqa: SIM118
            if fresh:
                self._decide(found, fresh, offsets)
            now = int(time.time() * 1000)
            for name in found.issues:
                if not any(topic == name for topic, _ in self._logs.values()):
                    self._awaited.setdefault(name, 0 if name in found.absent else now)
            self._known_patterns = self._patterns
            if self._to_json() != before:
                self._save()

    def of(self, topic: Topic, number: int) -> Position:
        """Return where a partition begins."""
        return self._of(topic).get(number) or Position(None, topic.log)

    def _of(self, topic: Topic) -> Log:
        return self._logs[topic.log][1] if topic.log in self._logs else {}

    def _decide(self, found: Found, fresh: list[Key], offsets: Offsets) -> None:
        recorded = set(self._recorded())
        read_before = {name for name, _ in recorded}
        committed = offsets.committed([key for key in fresh if key not in recorded])
        starts: dict[Key, Position] = {}
        begin: list[Key] = []
        by_start: list[Key] = []
        for key in fresh:
            name, log = key[0], found.topics[key[0]].log
            kept = committed.get(key)
            if kept is not None and is_same(kept.log, log, name):
                starts[key] = kept._replace(log=kept.log or log, adopted=not kept.log)
            elif self._is_late(name, log, read_before, kept):
                if kept is not None:
                    self._gap(key, f"the group's offset is one of {kept.log}, and the topic is {log} now")
                begin.append(key)
            else:
                by_start.append(key)
        # Of a topic that the group has read before, another partition is a new one.
        read = {name for name, _ in starts}
        begin += [key for key in by_start if key[0] in read]
        by_start = [key for key in by_start if key[0] not in read]
        self._place(found, starts, begin, by_start, offsets)
        for (name, number), position in starts.items():
            log = found.topics[name].log
            self._logs.setdefault(log, (name, {}))[1][number] = position
        self._forget_old(found)
        for name in found.topics:
            self._awaited.pop(name, None)

    def _is_late(self, name: str, log: str, read_before: Collection[str], kept: Position | None) -> bool:
        """Tell whether a partition has come since the flow began to read its topic, or to wait for it."""
        if log in self._logs or self._awaited.get(name) == 0 or (kept is not None and in_cluster(kept.log, log)):
            return True
        others = [each for each, (topic, _) in self._logs.items() if topic == name]
        if any(in_cluster(each, log) for each in others):
            return True
        if not others and name in read_before and not self._logs:
            # A store from before this file: the topic was read, and this partition isn't in it.
            return True
        # One that is found by a pattern, which was in force before.
        known = [each for each in self._patterns if each in self._known_patterns]
        return (
            name not in self._named
            and any(in_cluster(each, log) for each in self._logs)
            and any(re2.search(each, name) for each in known)
        )

    def _place(
        self, found: Found, starts: dict[Key, Position], begin: list[Key], by_start: list[Key], offsets: Offsets
    ) -> None:
        """Ask the brokers where the beginnings are, and where `start` lies."""
        now = int(time.time() * 1000)
        led = {key for key in [*begin, *by_start] if found.led(key)}
        places = offsets.beginnings([key for key in begin if key in led])
        since = dict.fromkeys(begin, 0)
        for key in by_start:
            waited = self._awaited.get(key[0])
            if isinstance(self._start, datetime):
                since[key] = int(self._start.timestamp() * 1000)
            elif self._start == "latest":
                since[key] = waited or now
            else:
                since[key] = 0
        plain = [key for key in by_start if key in led and not self._awaited.get(key[0])]
        if isinstance(self._start, datetime):
            places |= offsets.since(plain, int(self._start.timestamp() * 1000))
        else:
            places |= (offsets.ends if self._start == "latest" else offsets.beginnings)(plain)
        for key in [*begin, *by_start]:
            log = found.topics[key[0]].log
            # One that has no leader now is looked at again, by the time at which this was decided.
            starts[key] = Position(places.get(key), log, since=since[key])

    def _forget_old(self, found: Found) -> None:
        """Forget logs that others have taken the place of, but for the last: a topic may be made anew every day."""
        for name, topic in found.topics.items():
            old = [each for each, (of, _) in self._logs.items() if of == name and each != topic.log]
            for log in old:
                if in_cluster(log, topic.log):
                    del self._logs[log]

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other workers from deciding meanwhile, and read what they have decided."""
        if self._path is None:
            yield
            return
        try:
            with open(self._path.with_suffix(".lock"), "ab", opener=private) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self._path.exists():
                    self._read(self._path)
                yield
        except OSError as error:
            msg = f"{self._path}: {error.strerror}: make recovery.directory writable, or set another"
            raise SourceError(msg) from error

    def _read(self, path: Path) -> None:
        try:
            self._load(json.loads(path.read_text()))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            msg = f"{path}: can't be read: {error}: restore it, or delete it to decide by source.start anew"
            raise SourceError(msg) from error

    def _load(self, data: Mapping[str, Any]) -> None:
        version_of(data, _VERSION)
        self._logs = {
            log: (
                each["topic"],
                {int(n): _position(place) for n, place in each["partitions"].items()},
            )
            for log, each in data["logs"].items()
        }
        self._awaited, self._known_patterns = dict(data["awaited"]), list(data["patterns"])

    def _to_json(self) -> str:
        logs = {
            log: {"topic": topic, "partitions": {str(n): position.to_dict() for n, position in sorted(parts.items())}}
            for log, (topic, parts) in self._logs.items()
        }
        data = {"version": _VERSION, "logs": logs, "awaited": self._awaited, "patterns": self._known_patterns}
        return json.dumps(data)

    def _save(self) -> None:
        if self._path is None:
            return
        fresh = self._path.with_suffix(".new")
        with open(fresh, "w", opener=private) as out:
            out.write(self._to_json())
            out.flush()
            os.fsync(out.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _position(place: dict[str, Any]) -> Position:
    found = Position.of(place)
    assert found is not None
    return found
