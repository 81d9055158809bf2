"""Records to a Kafka topic, without ever making the application wait.

librdkafka's queue is the buffer: a record is handed to it on the thread that logs, and its own threads send. While the
brokers are away records wait there, up to `max_records` and `max_bytes`; what a full queue refuses goes to the fallback
or is dropped, as `when_full` says, and is counted. Once the brokers take records again, one record tells of it.

What was accepted is delivered, or written to the fallback: also when its time is up, at exit, and when the interpreter
ends. A forked child has a producer of its own; what waited in its parent remains the parent's.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any
from weakref import WeakSet

from logweir_logger.levels import LEVELS, WARN
from logweir_logger.outputs import Output, compose
from logweir_logger.outputs.kafka_settings import DEFAULTS, check, client_class
from logweir_logger.outputs.stream import StreamOutput

MAX_RECORDS = 100_000
MAX_BYTES = 64 * 1024 * 1024
EXIT_SECONDS = 10.0
"""How long the end of the process waits for the brokers; then the rest goes to the fallback."""
_TEND_SECONDS = 0.1
_QUIET_SECONDS = 1.0
"""After so long without a refusal an outage is over; after so long without a record nothing waits for company."""


class KafkaOutput(Output):
    """Records to a topic of Kafka.

    Args:
        brokers: host:port of some brokers, as a list or with commas between.
        topic: Where records go.
        level: The least severe level that is written.
        max_records: How many may wait for the brokers.
        max_bytes: How many bytes may wait, besides.
        when_full: What happens to a record when so many wait: "fallback" writes it to the fallback, from a thread of
            the output's own and with a bound of the same size; "drop" drops it. Both are counted.
        fallback: Where records go that Kafka doesn't take: standard error by default, None for nowhere.
        settings: librdkafka's own, such as security.protocol, sasl.*, ssl.*.

    Raises:
        ModuleNotFoundError: confluent-kafka isn't installed.
        ValueError: A setting is wrong.
    """

    def __init__(
        self,
        brokers: str | Sequence[str],
        topic: str,
        *,
        level: str = "trace",
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        when_full: str = "fallback",
        fallback: Output | str | None = "stderr",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(level)
        check(brokers, topic, when_full, max_records, max_bytes, settings or {})
        self._topic = topic
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._fallback = StreamOutput(fallback) if isinstance(fallback, str) else fallback
        self._set_aside = when_full == "fallback" and self._fallback is not None
        self._settings = {
            **DEFAULTS,
            **(settings or {}),
            "bootstrap.servers": brokers if isinstance(brokers, str) else ",".join(brokers),
            "queue.buffering.max.messages": max_records,
            "queue.buffering.max.kbytes": max(1, max_bytes // 1024),
            # Reports of success would cost as much as the sending; what isn't waiting or failed was delivered.
            "delivery.report.only.error": True,
        }
        self._client_class = client_class(self._settings)
        self._fixed = b""
        self._exiting = False
        self._producer: Any
        self._produce: Any
        self._renew()
        # The earlier it is registered, the later it runs: after what the application does at its end.
        if not _OUTPUTS:
            atexit.unregister(_exit_all)
            atexit.register(_exit_all)
        _OUTPUTS.add(self)

    def attach(self, fixed: bytes) -> None:
        """Learn the context of the logger, for the record that tells of an outage."""
        self._fixed = self._fixed or fixed

    def write(self, line: bytes, severity: int) -> None:
        """Hand one record to the producer; never waits, never raises."""
        try:
            self._produce(self._topic, line)
        except BufferError:
            self._refused(line, severity, aside=self._set_aside)
        except Exception as error:  # noqa: BLE001  # too large, or the producer has failed for good
            self._refusal = str(error)
            self._refused(line, severity, aside=self._fallback is not None)
        else:
            next(self._accepted)

    def stats(self) -> dict[str, Any]:
        """Return counts since the start, or the fork, of this process.

        `accepted` by the producer; of these `delivered`, `waiting` and `undelivered` (which went to the fallback); and
        beside these, `fallback`: refused and written there, and `dropped`: refused and lost, by level. What is
        undelivered and has no fallback, or one that fails, is dropped as "undelivered".
        """
        with self._lock:
            accepted = next(self._accepted) - self._looks
            self._looks += 1
            undelivered = self._undelivered
            # Its length counts events as well, such as errors.
            waiting = 0 if self._producer is None else min(len(self._producer), accepted - undelivered)
            return {
                "accepted": accepted,
                "delivered": max(0, accepted - waiting - undelivered),
                "waiting": waiting,
                "undelivered": undelivered,
                "fallback": self._total_aside,
                "dropped": dict(self._total_dropped),
            }

    def flush(self, timeout: float = EXIT_SECONDS) -> bool:
        """Return whether nothing waits any more, after these seconds at most."""
        producer = self._producer
        left = 0 if producer is None else producer.flush(max(0.0, timeout))
        self._write_aside()
        return not left

    def close(self, timeout: float = EXIT_SECONDS) -> None:
        """Wait for the brokers for some seconds, and write to the fallback what they have not taken by then."""
        with self._starting:
            producer, stopping = self._producer, self._stopping
            self._produce = self._late if self._exiting else self._start
            if producer is None:
                self._write_aside()
                return
            self._tell(producer, at_end=True)
            if producer.flush(timeout):
                producer.purge()
                producer.flush(1.0)
            stopping.set()
            if self._tender is not threading.current_thread():
                self._tender.join(1.0)
            if self._exiting:
                # Its end waits for its threads, one of which may never come back from a look-up of names that was
                # interrupted by a fork. The end of the process waits for none of them.
                _keep(self._producer)
            self._producer = None
            self._write_aside()
            # What couldn't be told to Kafka is told where the records went.
            self._tell(None, at_end=True)

    def _renew(self) -> None:
        """Begin anew: at first, and in a forked child, where neither locks nor threads are of use any more."""
        self._starting = threading.RLock()
        self._lock = threading.Lock()
        self._producer = None
        self._produce = self._start
        self._stopping = threading.Event()
        self._tender = threading.current_thread()
        self._aside: deque[tuple[bytes, str]] = deque()
        self._aside_bytes = 0
        # Counting is one step of C, so threads need no lock for it; a look counts itself, and is taken off again.
        self._accepted = count()
        self._looks = 0
        self._undelivered = 0
        self._total_aside = 0
        self._total_dropped: Counter[str] = Counter()
        self._reason = ""
        self._forget_outage()

    def _forget_outage(self) -> None:
        self._dropped: Counter[str] = Counter()
        self._sent_aside = 0
        self._since = self._until = 0.0
        self._announced = False
        self._refusal = ""

    def abandon(self) -> None:
        """Leave everything to the parent: called in a forked child."""
        # Its end would wait for threads that only the parent has.
        _keep(self._producer)
        self._renew()

    def _start(self, topic: str, line: bytes) -> None:
        """Start the producer with the first record: a process that forks before has nothing to leave behind."""
        with self._starting:
            if self._producer is None:
                self._producer = producer = self._client_class(
                    {**self._settings, "on_delivery": self._reported, "error_cb": self._said}
                )
                self._stopping = threading.Event()
                self._tender = threading.Thread(
                    target=self._tend, args=(producer, self._stopping), name="logweir-kafka", daemon=True
                )
                self._tender.start()
                _at_end_of_child()
                self._produce = producer.produce
        self._producer.produce(topic, line)

    def _late(self, _topic: str, line: bytes) -> None:
        """Write a record that comes when the process is almost gone."""
        if self._fallback is not None:
            self._fallback.write(line, WARN)

    def _refused(self, line: bytes, severity: int, *, aside: bool) -> None:
        """Take a record that the producer has refused, which the fallback's thread writes if it may be set aside."""
        with self._lock:
            self._note_outage()
            room = len(self._aside) < self._max_records and self._aside_bytes + len(line) <= self._max_bytes
            if aside and room:
                self._aside.append((line, LEVELS[severity]))
                self._aside_bytes += len(line)
                self._sent_aside += 1
                self._total_aside += 1
            else:
                self._dropped[LEVELS[severity]] += 1
                self._total_dropped[LEVELS[severity]] += 1

    def _note_outage(self) -> None:
        self._until = time.time()
        self._since = self._since or self._until

    def _why(self) -> str:
        return self._refusal or self._reason or "more records than may wait"

    def _said(self, error: Any) -> None:
        self._reason = str(error)

    def _reported(self, error: Any, message: Any) -> None:
        """Take a record that was accepted and can't be delivered."""
        if error is None:
            return
        self._reason = str(error)
        with self._lock:
            self._undelivered += 1
            self._note_outage()
            if self._fallback is None:
                self._dropped["undelivered"] += 1
                self._total_dropped["undelivered"] += 1
            else:
                self._sent_aside += 1
        if self._fallback is not None:
            self._fall_back(message.value(), "undelivered")

    def _tend(self, producer: Any, stopping: threading.Event) -> None:
        """Serve the producer's callbacks, the fallback and the record of an outage, until told to stop."""
        waiting, since = 0, 0.0
        while not stopping.is_set():
            try:
                producer.poll(_TEND_SECONDS)
                self._write_aside()
                if len(producer) != waiting:
                    waiting, since = len(producer), time.monotonic()
                elif waiting and time.monotonic() - since > _QUIET_SECONDS:
                    # A long linger.ms waits for records that may not come.
                    producer.flush(_TEND_SECONDS)
                if (
                    self._since
                    and time.time() - self._until > _QUIET_SECONDS
                    and len(producer) < self._max_records // 2
                ):
                    self._tell(producer)
            except Exception as error:  # noqa: BLE001, PERF203  # a fatal error, or a fallback that fails
                self._reason = str(error)
                if not self._replace(producer):
                    time.sleep(_TEND_SECONDS)

    def _replace(self, producer: Any) -> bool:
        """Start anew after an error that the producer doesn't recover from; what it held goes to the fallback."""
        if not _is_fatal(self._reason):
            return False
        with self._starting:
            if self._producer is not producer:
                return False
            self._producer, self._produce = None, self._start
            self._stopping.set()
        producer.purge()
        try:
            producer.flush(1.0)
        except Exception as error:  # noqa: BLE001  # it may say once more that it is dead
            self._reason = str(error)
        return True

    def _write_aside(self) -> None:
        """Write to the fallback what was set aside."""
        if not self._aside or self._fallback is None:
            return
        with self._lock:
            waiting, self._aside, self._aside_bytes = self._aside, deque(), 0
        for line, level in waiting:
            self._fall_back(line, level)

    def _fall_back(self, line: bytes, level: str) -> None:
        """Write a record to the fallback; where that fails too it is dropped, and counted under this name."""
        fallback: Any = self._fallback
        try:
            if not self._announced:
                # Once an outage it is said why records come here.
                said = {"topic": self._topic, "reason": self._why()}
                fallback.write(
                    compose(self._fixed, WARN, "Kafka does not take records; they are written here", said), WARN
                )
                self._announced = True
            fallback.write(line, WARN)
        except Exception as error:  # noqa: BLE001  # a closed pipe, a full disk
            with self._lock:
                self._refusal = f"the fallback fails too: {type(error).__name__}: {error}"
                self._note_outage()
                self._sent_aside -= 1
                self._total_aside -= level != "undelivered"
                self._dropped[level] += 1
                self._total_dropped[level] += 1

    def _tell(self, producer: Any, *, at_end: bool = False) -> None:
        """Tell Kafka, by one record, what it missed; without a producer, the fallback is told."""
        with self._lock:
            if not self._since:
                return
            said = {
                "topic": self._topic,
                "dropped": dict(self._dropped),
                "fallback": self._sent_aside,
                "since": _moment(self._since),
                "until": _moment(self._until),
                "reason": self._why(),
            }
            line = compose(self._fixed, WARN, "Kafka missed records of this application", said)
            if producer is not None:
                try:
                    producer.produce(self._topic, line)
                except Exception:  # noqa: BLE001  # full again: later
                    return
                next(self._accepted)
            self._forget_outage()
        if producer is None and at_end and self._fallback is not None:
            # Where that fails there is nowhere left to tell it.
            with suppress(Exception):
                self._fallback.write(line, WARN)

    def exit(self, timeout: float) -> None:
        """Close for good: the process ends."""
        self._exiting = True
        self.close(timeout)


_OUTPUTS: WeakSet[KafkaOutput] = WeakSet()
_told: list[int] = []
"""The child of multiprocessing that has been told to close the outputs at its end."""


def _keep(producer: Any) -> None:
    """See to it that a producer is never taken down."""
    import ctypes

    if producer is not None:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(producer))


def _is_fatal(reason: str) -> bool:
    return "_FATAL" in reason


def _moment(seconds: float) -> str:
    milli = int(seconds * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milli % 1000:03d}Z"


def _at_end_of_child() -> None:
    """Close outputs when a child of multiprocessing ends, which passes by what atexit knows."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or os.getpid() in _told:
        return
    from multiprocessing.util import Finalize

    _told[:] = [os.getpid()]
    Finalize(None, _exit_all, exitpriority=0)


def _exit_all() -> None:
    deadline = time.monotonic() + EXIT_SECONDS
    for output in list(_OUTPUTS):
        output.exit(max(0.1, deadline - time.monotonic()))


def _abandon_all() -> None:
    for output in list(_OUTPUTS):
        output.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all)
