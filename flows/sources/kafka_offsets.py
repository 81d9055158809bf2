"""What offsets the brokers know of partitions: their beginnings and ends, those of a time, and those of the group.

A partition of which they don't say it is left out of an answer, so that it holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from flows.sources.kafka_consumer import committed_offsets
from flows.sources.kafka_position import Position, from_metadata

Key = tuple[str, int]
_ASK_SECONDS = 5.0
"""How long an answer is waited for; to begin with, the reading waits for it."""
_PROBE_SECONDS = 5.0
# The library has no types for these two.
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Offsets:
    """Asks for offsets.

    Args:
        admin: A client of the cluster.
        consumer: Knows the group.
        settings: The consumer's, for one that looks where a log was cut off.
        leader: Tells which broker leads a partition, as far as is known.
        said: Gives the words of an error.
    """

    def __init__(
        self,
        admin: AdminClient,
        consumer: Consumer,
        settings: Mapping[str, Any],
        leader: Callable[[Key], int],
        said: Callable[[Any], str],
    ) -> None:
        self._admin = admin
        self._consumer = consumer
        self._settings = dict(settings)
        self._leader = leader
        self._seconds = _ASK_SECONDS
        self._said = said
        whole = self._settings.get("isolation.level") == "read_uncommitted"
        self._readable = IsolationLevel.READ_UNCOMMITTED if whole else IsolationLevel.READ_COMMITTED
        self.reason = ""
        """Why the brokers did not tell an offset last."""

    def beginnings(self, keys: Iterable[Key]) -> dict[Key, int]:
        """Return the first offsets that there are."""
        return self._ask(keys, _EARLIEST)

    def ends(self, keys: Iterable[Key]) -> dict[Key, int]:
        """Return the offsets behind the last ones."""
        return self._ask(keys, _LATEST)

    def readable_ends(self, keys: Iterable[Key]) -> dict[Key, int]:
        """Return the offsets behind the last ones that the consumer may read: transactions that are open end before."""
        return self._ask(keys, _LATEST, self._readable)

    def since(self, keys: Iterable[Key], millis: int) -> dict[Key, int]:
        """Return the first offsets that were written at a time or later: the ends where nothing was."""
        found = self._ask(keys, OffsetSpec.for_timestamp(millis))
        return {**found, **self.ends([key for key, offset in found.items() if offset < 0])}

    def committed(self, keys: Iterable[Key]) -> dict[Key, Position]:
        """Return what the group has committed.

        Raises:
            KafkaException: The brokers don't say.
        """
        parts = [TopicPartition(*key) for key in keys]
        if not parts:
            return {}
        return {
            (each.topic, each.partition): Position(each.offset, from_metadata(each.metadata), _epoch(each.leader_epoch))
            for each in committed_offsets(self._consumer, parts)
            if each.offset >= 0
        }

    def parting(self, key: Key, epoch: int, low: int, high: int) -> int:
        """Return where a log has been going on under leaders later than a known one; `high` where it hasn't.

        Args:
            key: The partition.
            epoch: The leader's, of the last record that was read of the log as it was.
            low: The first offset that may be that.
            high: The last one.

        Raises:
            KafkaException: The brokers don't say.
        """
        own = {"enable.partition.eof": True, "log_level": 0, "queued.min.messages": 1}
        probe = Consumer({**self._settings, **own})
        try:
            # Epochs ascend along a log.
            while low < high:
                middle = (low + high) // 2
                probe.assign([TopicPartition(*key, middle)])
                message = probe.poll(_PROBE_SECONDS)
                if message is None:
                    what = f"{key[0]}[{key[1]}] from offset {middle} on"
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, what))  # noqa: SLF001
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    raise KafkaException(error)
                later = error is None and (_epoch(message.leader_epoch()) > epoch)
                if error is not None or later or (message.offset() or 0) >= high:
                    high = middle
                else:
                    low = (message.offset() or middle) + 1
            return low
        finally:
            probe.close()

    def _ask(
        self, keys: Iterable[Key], spec: OffsetSpec, level: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    ) -> dict[Key, int]:
        found: dict[Key, int] = {}
        # The answer about all of one question waits for the slowest broker, so each broker has its own.
        by_leader: dict[int, dict[TopicPartition, OffsetSpec]] = {}
        for key in keys:
            by_leader.setdefault(self._leader(key), {})[TopicPartition(*key)] = spec
        asked = [
            self._admin.list_offsets(wanted, isolation_level=level, request_timeout=self._seconds)
            for wanted in by_leader.values()
        ]
        for part, answer in ((part, answer) for answers in asked for part, answer in answers.items()):
            try:
                found[part.topic, part.partition] = answer.result(2 * self._seconds).offset
            except KafkaException as error:
                self.reason = self._said(error.args[0])
        return found


def _epoch(epoch: int | None) -> int:
    return -1 if epoch is None else epoch
