"""What a Kafka source looks for beside reading: other logs, other partitions, parts that can't be read, and its lag.

On a thread of its own, with a client of its own, since the consumer stands still while a destination holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from confluent_kafka import KafkaException

from flows.sources.base import SourceContext
from flows.sources.kafka_offsets import Key
from flows.sources.kafka_part import KafkaPart
from flows.sources.kafka_reader import Reader
from flows.sources.kafka_topics import Found, Topic

LOOK_SECONDS = 2.0
"""How often the topics that are read are looked at, and their ends."""
AWAIT_SECONDS = 30.0
"""How often it is looked for topics that are missing, where new ones are not looked for."""


class Watch:
    """Looks at the brokers, again and again.

    Args:
        reader: Reads this process's partitions.
        found: What there was to read when the source began.
        discover_interval: Seconds between looks for new partitions; zero for never.
        context: The flow.
    """

    def __init__(self, reader: Reader, found: Found, discover_interval: float, context: SourceContext) -> None:
        self._reader = reader
        self._known = set(found.keys())
        self._issues = dict(found.issues)
        self._awaited = bool(found.issues or not self._known)
        self._discover_interval = discover_interval or (AWAIT_SECONDS if self._awaited else 0.0)
        self._discover_at = time.monotonic() + self._discover_interval
        self._context = context
        self._ends: dict[Key, int] = {}
        self._at_end: dict[Key, float] = {}
        """When a partition was known last to be read to its end, in epoch seconds."""
        self._leaderless: set[Key] = set()
        """Without a leader at the last look: most have one by the next."""
        self._told: set[str] = set()
        self._closed = threading.Event()
        self._looking = threading.Lock()
        self._tell_issues()
        threading.Thread(target=self._look_always, name="watch", daemon=True).start()

    def issues(self) -> list[str]:
        """Return why what can't be read can't be, in words."""
        return sorted({*self._issues.values(), *(part.issue for part in list(self._reader.parts.values()))} - {""})

    def lag(self) -> int | None:
        """Return how many offsets lie between what was read and the ends; None while that isn't known of one."""
        total = 0
        for key, part in list(self._reader.parts.items()):
            end = self._ends.get(key)
            if end is not None and part.position is not None:
                total += max(0, end - part.position)
            elif part.readable:
                return None
        return total

    def lag_seconds(self) -> float | None:
        """Return how long the oldest record waits that was not read, at the most; None while that isn't known."""
        longest, now = 0.0, time.time()
        for key, part in list(self._reader.parts.items()):
            end = self._ends.get(key)
            if end is None or part.position is None:
                if part.readable:
                    return None
            elif end > part.position:
                since = max(part.last_written, self._at_end.get(key, 0.0))
                if not since:
                    return None
                longest = max(longest, now - since)
        return round(longest, 3)

    def close(self) -> None:
        """Look no more; returns when no look is on its way."""
        self._closed.set()
        with self._looking:
            pass

    def _look_always(self) -> None:
        while not self._closed.is_set() and not self._context.stopping.is_set():
            with self._looking:
                try:
                    self._look()
                    self._ask_ends()
                except KafkaException:
                    # Who can't be reached is told by the consumer; what was known of it stays.
                    pass
                self._tell_issues()
            self._closed.wait(LOOK_SECONDS)

    def _look(self) -> None:
        now = time.monotonic()
        discover = bool(self._discover_interval) and now >= self._discover_at
        found = self._reader.topics.look(anew=discover)
        self._issues = found.issues
        leaderless = {key for key in found.keys() if not found.led(key)}  # noqa: SIM118
        for part in list(self._reader.parts.values()):
            self._judge(part, found, leaderless & self._leaderless)
        self._leaderless = leaderless
        if discover:
            self._discover_at = now + self._discover_interval
            fresh = sorted(set(found.keys()) - self._known)
            if fresh:
                names = ", ".join(f"{name}[{number}]" for name, number in fresh[:10])
                self._context.restart(f"new partitions: {names}{' and more' if fresh[10:] else ''}")
                # The restart may take a while, and is asked for once.
                self._known.update(fresh)

    def _judge(self, part: KafkaPart, found: Found, leaderless: Iterable[Key]) -> None:
        """Note whether a partition can be read, and whether its log is another one."""
        (name, number), topic = part.key, found.topics.get(part.key[0])
        if topic is None or number not in topic.partitions:
            self._lose(part, gone=topic is not None or name in found.absent)
            if topic is not None:
                part.issue = f"{name}[{number}]: the topic was made anew with fewer partitions"
            return
        if part.log.partition("#")[0] != topic.log and not _was_named(part.log, topic, name):
            self._reader.changed(name, topic)
        elif part.gone:
            part.gone = False
            self._reader.assign()
        if part.key in leaderless:
            self._lose(part, gone=False)
            part.issue = f"{name}[{number}] has no leader: what it holds is read once a broker that has it is back"
        elif not part.readable and found.led(part.key):
            part.readable, part.issue = True, ""
            if part.position is None:
                self._reader.assign()

    def _lose(self, part: KafkaPart, *, gone: bool) -> None:
        if gone and not part.gone:
            # Or what is made anew in its place would be read on at the old offset.
            part.gone = True
            self._reader.assign()
        part.readable = False
        self._context.alignment.give_up(part.lane)

    def _ask_ends(self) -> None:
        keys = [key for key, part in list(self._reader.parts.items()) if part.readable]
        moment = time.time()
        ends = self._reader.offsets.readable_ends(keys)
        for key, end in ends.items():
            part = self._reader.parts.get(key)
            if part is not None and part.position is not None and part.position >= end:
                self._at_end[key] = moment
        self._ends.update(ends)

    def _tell_issues(self) -> None:
        issues = set(self.issues())
        for issue in sorted(issues - self._told):
            self._context.events.tell("source.health", "error", issue=issue)
        if self._told and not issues:
            self._context.events.tell("source.health", "info", issue="")
        self._told = issues


def _was_named(log: str, topic: Topic, name: str) -> bool:
    """Tell whether a log bears the topic's name since the brokers gave no ids when it was begun."""
    return log.partition("#")[0] == f"{topic.log.rpartition('/')[0]}/{name}"
