"""Redrive: a destination's dead letters are sent again, by the engine and with the settings that the flow has for it.

Reads some letters, hands them to the delivery, and from time to time waits until all of them are settled: delivered, or
back in the dead letter. Only then is the place recorded up to which that is so, and a redrive that dies goes on there.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from flows.config import Flow
from flows.dead_letter_whole import WholeRecords
from flows.dead_letters import READ_BYTES, Letters, Read, Wanted
from flows.redrive_report import Report
from flows.redrive_steps import Steps
from flows.runtime import delivering
from flows.sources.kafka import Kafka
from logweir.errors import SourceError, UndeliveredError
from logweir.events import Events
from sinks.deadletter import DeadLetter, DeadLetters, DirectoryDeadLetters, KafkaDeadLetters
from sinks.delivery import Delivery
from sinks.destination import REDRIVE_PARTITION
from sinks.flight import Flight
from sinks.table_delivery import deliver_to

_GROUP = "logweir"
_READ_RECORDS = 500
_SETTLED_RECORDS = 50_000
"""The place is recorded at the latest after so many: the attempts of each are remembered until then."""
_ROOM_SECONDS = 0.02


def count(flow: Flow, name: str, causes: Iterable[str], events: Events) -> Report:
    """Return how many letters a redrive would send, by cause. Sends and changes nothing.

    Raises:
        LogweirError: They can't be read.
    """
    letters = _open(flow, name, causes, events, claim=False)
    report = Report(name, letters.passed, dry_run=True)
    try:
        while (reads := letters.read(_READ_RECORDS)) is not None:
            report.waiting.update(read.letter.cause for read in reads)
    finally:
        letters.close()
    return report


class Redrive:
    """Sends one destination's dead letters again.

    Args:
        flow: The flow.
        name: The destination.
        causes: Those whose letters are sent; all when empty.
        limit: The most letters to send.
        events: Where it tells what happens.
    """

    def __init__(self, flow: Flow, name: str, causes: Iterable[str], limit: int | None, events: Events) -> None:
        self._flow = flow
        self._name = name
        self._causes = frozenset(causes)
        self._limit = limit
        self._events = events
        self._stop_by: float | None = None
        self._undeliverable: Counter[str] = Counter()
        self._told = 0

    def stop(self) -> None:
        """Read no more; what is in flight has until `stop_timeout` to be settled."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self._flow.stop_timeout

    def run(self) -> Report:
        """Send them, and return what became of each.

        Raises:
            LogweirError: It can't go on; what is settled is recorded, and the next redrive goes on from there.
        """
        letters = _open(self._flow, self._name, self._causes, self._events, claim=True)
        try:
            return self._redrive(letters)
        finally:
            letters.close()

    def _redrive(self, letters: Letters) -> Report:
        settings = self._flow.outlets[self._name]
        steps = Steps(self._flow, self._name)
        flight = Flight(self._flow.max_in_flight)
        dead_letters = _AddingUp(_dead_letters(self._flow, self._name, self._events))
        destination = settings.open(steps.getter, letters.state, partition=REDRIVE_PARTITION)
        delivery = deliver_to(
            destination, replace(delivering(self._name, settings), again=True), dead_letters, flight, self._events
        )
        whole = None
        if isinstance(source := self._flow.source, Kafka):
            whole = WholeRecords(source.librdkafka(), f"{source.group}.redrive.{self._name}")
        report = Report(self._name, letters.passed, ledger=delivery.ledger, undeliverable=self._undeliverable)
        try:
            report.complete = self._send_all(letters, steps, delivery, dead_letters, flight, whole)
            if report.complete:
                self._tidy(letters, report)
        except UndeliveredError as error:
            self._events.tell("redrive.stopped", "warn", stream=self._name, reason=str(error))
        finally:
            delivery.close()
            if whole is not None:
                whole.close()
        report.stopped = self._stop_by is not None
        return report

    def _send_all(
        self,
        letters: Letters,
        steps: Steps,
        delivery: Delivery,
        dead_letters: _AddingUp,
        flight: Flight,
        whole: WholeRecords | None,
    ) -> bool:
        """Send until the end, the limit or a stop, and settle what was sent; True at the end."""
        interval = self._flow.recovery.interval
        left = self._limit if self._limit is not None else 1 << 62
        due = time.monotonic() + interval
        complete = False
        if not letters.is_empty():
            # A file has to be cut back to its size before the first letter, when this dies before the next place.
            letters.record(delivery.checkpoint())
        while left and self._stop_by is None and not complete:
            if dead_letters.noted >= _SETTLED_RECORDS or time.monotonic() >= due:
                self._settle(letters, delivery, dead_letters)
                due = time.monotonic() + interval
            room = flight.room()
            if room <= 0:
                time.sleep(_ROOM_SECONDS)
                continue
            reads = letters.read(min(_READ_RECORDS, left), min(READ_BYTES, room))
            complete = reads is None
            if reads:
                left -= len(reads)
                reads = self._made_whole(letters, reads, dead_letters, whole)
                dead_letters.note(read.letter for read in reads)
                batches = steps(reads)
                for batch in batches:
                    flight.add(batch.account.read_bytes)
                    self._undeliverable.update(each.cause for each in batch.account.rejected)
                delivery.write(batches)
        self._settle(letters, delivery, dead_letters)
        return complete

    def _made_whole(
        self, letters: Letters, reads: list[Read], dead_letters: _AddingUp, whole: WholeRecords | None
    ) -> list[Read]:
        """Return the letters with whole records; one whose record is gone is put back as it is."""
        if not any(read.letter.size for read in reads):
            return reads
        made: list[Read] = []
        for read in reads:
            letter = read.letter
            found = letter if not letter.size or whole is None else whole.find(letter)
            if found is None or found.size:
                letters.passed.cut += 1
                dead_letters.put_back(letter)
            else:
                made.append(read._replace(letter=found))
        return made

    def _settle(self, letters: Letters, delivery: Delivery, dead_letters: _AddingUp) -> None:
        """Wait until all that was sent is settled, and record it."""
        delivery.barrier(lambda: self._stop_by)
        letters.record(delivery.checkpoint())
        dead_letters.forget()
        ledger = delivery.ledger
        if ledger.read == self._told:
            return
        self._told = ledger.read
        self._events.tell(
            "redrive.progress",
            stream=self._name,
            read=ledger.read,
            delivered=ledger.delivered,
            dead_lettered=ledger.dead_lettered.total(),
        )

    def _tidy(self, letters: Letters, report: Report) -> None:
        try:
            letters.finish()
        except SourceError as error:
            report.untidy = True
            self._events.tell("redrive.untidy", "error", stream=self._name, reason=str(error))


class _AddingUp:
    """Dead letters that remember how often a record was sent before."""

    def __init__(self, inner: DeadLetters) -> None:
        self._inner = inner
        self._before: dict[tuple[str, int, int], int] = {}
        self._lock = threading.Lock()
        self.noted = 0
        """Letters whose attempts are remembered."""

    def note(self, letters: Iterable[DeadLetter]) -> None:
        """Remember the attempts of letters that are about to be sent."""
        with self._lock:
            for letter in letters:
                place = (letter.topic, letter.partition, letter.offset)
                self._before[place] = max(letter.attempts, self._before.get(place, 0))
                self.noted += 1

    def forget(self) -> None:
        """Forget all of them, once they are settled."""
        with self._lock:
            self._before.clear()
            self.noted = 0

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Accept letters, with all attempts that were ever made."""
        with self._lock:
            summed = [
                letter._replace(
                    attempts=letter.attempts + self._before.get((letter.topic, letter.partition, letter.offset), 0)
                )
                for letter in letters
            ]
        self._inner.write(summed)

    def put_back(self, letter: DeadLetter) -> None:
        """Accept a letter as it was."""
        self._inner.write([letter])

    def flush(self) -> None:
        """Return when they are durable."""
        self._inner.flush()

    def close(self) -> None:
        """Release what is held."""
        self._inner.close()


def run(flow: Flow, name: str, causes: Iterable[str], limit: int | None, events: Events) -> Report:
    """Redrive until it is done, or until SIGTERM or SIGINT; a second signal ends at once.

    Raises:
        LogweirError: It can't go on.
    """
    redrive = Redrive(flow, name, causes, limit, events)
    signals = (signal.SIGTERM, signal.SIGINT)

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        redrive.stop()
        for each in signals:
            signal.signal(each, signal.SIG_DFL)

    before = {each: signal.signal(each, on_signal) for each in signals}
    try:
        return redrive.run()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _open(flow: Flow, name: str, causes: Iterable[str], events: Events, *, claim: bool) -> Letters:
    source, dead_letter = flow.source, flow.dead_letter
    topics = frozenset(source.topics) if isinstance(source, Kafka) else frozenset()
    wanted = Wanted(name, topics, frozenset(causes), getattr(flow.outlets[name], "was", None))
    if dead_letter.directory is not None:
        from flows.dead_letter_files import LetterFiles

        return LetterFiles(Path(dead_letter.directory), wanted, events, claim=claim)
    from flows.dead_letter_topic import LetterTopic

    assert isinstance(source, Kafka)
    # The name of earlier versions where none is set, or all that was redriven would be redriven again.
    topic, group = f"{dead_letter.topic_prefix}{name}", f"{source.group or _GROUP}.redrive.{name}"
    return LetterTopic(source.librdkafka(), topic, group, wanted, events, claim=claim)


def _dead_letters(flow: Flow, name: str, events: Events) -> DeadLetters:
    """Return where the letters go that fail again: behind those that are read."""
    source, dead_letter = flow.source, flow.dead_letter
    if dead_letter.directory is not None:
        return DirectoryDeadLetters(Path(dead_letter.directory), name, None)
    assert isinstance(source, Kafka)
    return KafkaDeadLetters(source.librdkafka(), f"{dead_letter.topic_prefix}{name}", name, events)
