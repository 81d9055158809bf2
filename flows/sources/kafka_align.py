"""What a Kafka source does so that its partitions keep in step: where limits count by event time, see alignment.py.

Partitions that wait are paused once a lot of them is read, or they would take the room that those behind need. Of those
that are empty the brokers are asked for the end, since only they know whether there is something to read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from flows.sources.alignment import Alignment, Lane
from flows.sources.kafka_part import KafkaPart

HELD_BYTES = 8_000_000
"""Of all partitions that wait; with more of these nothing is fetched for them."""
_LOW_BYTES = 250_000
"""A partition that was paused is fetched again when it has less than that."""
_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 1.0
"""How often to look whether an end has to be asked for: more and more seldom while the answers change nothing."""
_ASK_SECONDS = 5.0
_LATEST = -1
"""The timestamp by which the brokers are asked for the end: for committed transactions, where only these are read."""

Parts = Mapping[tuple[str, int], KafkaPart]


class InStep:
    """Pauses partitions that wait, and finds out which are read to their ends.

    Args:
        consumer: The consumer, which others use too.
        parts: Its partitions.
        alignment: Says who waits.
    """

    def __init__(self, consumer: Consumer, parts: Parts, alignment: Alignment) -> None:
        self._consumer = consumer
        self._parts = parts
        self._alignment = alignment
        self._paused: set[tuple[str, int]] = set()
        self._polled = 0.0
        """When the consumer was polled last, by the monotonic clock."""
        self._asked = 0.0
        """And when its brokers were asked."""
        self._asking = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def held(self) -> int:
        """Return how many bytes wait for other partitions: they take no room that those need."""
        if not self._alignment.waits:
            return 0
        return sum(part.waiting for part in self._parts.values() if part.blocked)

    def assigned(self) -> None:
        """Note that all partitions were assigned anew, which pauses none."""
        self._paused.clear()

    def polled(self) -> None:
        """Pause and resume partitions, between two polls."""
        alignment = self._alignment
        if self._paused:
            self._pass([key for key in self._paused if self._may_go(key)], pause=False)
        if not alignment.waits:
            return
        self._polled = time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._ask_always, name="ends", daemon=True)
            self._thread.start()
        if self.held() > HELD_BYTES:
            self._pass([key for key, part in self._parts.items() if part.blocked and key not in self._paused])

    def close(self) -> None:
        """Ask no more; returns when no question is on its way."""
        self._closed.set()
        with self._asking:
            pass

    def _may_go(self, key: tuple[str, int]) -> bool:
        part = self._parts.get(key)
        return part is None or not part.blocked or part.waiting < _LOW_BYTES

    def _pass(self, keys: list[tuple[str, int]], *, pause: bool = True) -> None:
        if not keys:
            return
        partitions = [TopicPartition(*key) for key in keys if key in self._parts]
        if pause:
            self._consumer.pause(partitions)
            self._paused.update(keys)
        else:
            self._consumer.resume(partitions)
            self._paused.difference_update(keys)

    def _ask_always(self) -> None:
        wait = _LOOK_SECONDS
        while not self._closed.wait(wait):
            with self._asking:
                changed = self._closed.is_set() or self._ask()
            wait = _LOOK_SECONDS if changed else min(2 * wait, _LONGEST_LOOK_SECONDS)

    def _ask(self) -> bool:
        """Ask for the ends, if partitions hold up others; false where none of these was read to its end."""
        wanted = self._alignment.empty()
        if not wanted:
            return True
        now, moment = time.monotonic(), time.time()
        passed, self._asked = min(now - self._asked, _LONGEST_LOOK_SECONDS), now
        parts = [part for part in list(self._parts.values()) if part.readable and part.position is not None]
        try:
            # Those too that have something: they tell whether anything can be read.
            found = self._consumer.offsets_for_times(
                [TopicPartition(*part.key, _LATEST) for part in parts], _ASK_SECONDS
            )
        except KafkaException:
            return False
        ends = {(each.topic, each.partition): each.offset for each in found if each.error is None and each.offset >= 0}
        at_end = False
        for part in self._parts_of(wanted):
            end = ends.get(part.key)
            if end is not None and part.position is not None and max(part.position, part.end) >= end:
                self._alignment.read_to_end(part.lane, moment)
                at_end = True
            elif ends and now - self._polled < _LONGEST_LOOK_SECONDS:
                self._alignment.missed(part.lane, passed)
        return at_end

    def _parts_of(self, lanes: list[Lane]) -> list[KafkaPart]:
        names = {lane.name for lane in lanes}
        return [part for part in list(self._parts.values()) if part.lane.name in names]
