"""What runs inside one worker process: the dataflow of one destination (or of all, without isolation) and its state."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flows.config import Flow
from flows.sources.base import SourceContext
from flows.sources.kafka import Kafka
from logweir.batch import Batch
from logweir.events import Events
from logweir.ledger import Ledger
from operators.decode import Decoder
from operators.limiters import Limiters, Question, Summary
from operators.projection import Projection
from operators.redact import Redactor
from operators.rule_models import LimiterRule
from operators.rules import RuleSet, compile_rules, fields_of, projected_at_once
from sinks.deadletter import DeadLetters, DirectoryDeadLetters, KafkaDeadLetters, create_topic
from sinks.decide import Policy
from sinks.delivery import Delivering, Delivery
from sinks.flight import Flight
from sinks.health import Health, HealthChecks
from sinks.settings import CommonDestination

_OVERFLOW_SECONDS = 60.0
"""A destination that is slower than its source is told at most this often."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the supervisor tells a worker to run. Travels by a pipe, so that a changed file can't change a restart."""

    flow: Flow
    destinations: tuple[str, ...]
    """Those that this dataflow delivers to."""
    group: str
    recovery: Path
    """The directory with Bytewax's recovery store of this dataflow."""
    worker: int = 0
    workers: int = 1
    addresses: tuple[str, ...] = ()
    """host:port of each worker's process, when there are several."""
    sink_partitions: dict[str, int] = field(default_factory=dict)
    """How many sink partitions each destination's ledger is kept in; never shrinks, or a ledger would be lost."""


class Runtime:
    """One worker's steps, sink partitions and figures.

    Args:
        assignment: What to run.
        events: Where to tell what happens.
        restart: Asks the supervisor for a graceful restart, with the reason.
    """

    def __init__(self, assignment: Assignment, events: Events, restart: Callable[[str], None]) -> None:
        self.assignment = assignment
        self.events = events
        flow = assignment.flow
        self.destinations: dict[str, CommonDestination] = {name: flow.enabled[name] for name in assignment.destinations}
        self._flights = {name: Flight(flow.max_in_flight) for name in self.destinations}
        self._health = {name: Health(name, events) for name in self.destinations}
        self.deliveries: dict[str, dict[int, Delivery]] = {name: {} for name in self.destinations}
        self._stop_by: float | None = None
        self.context = SourceContext(
            events=events, room=self._room, taken=self._taken, restart=restart, group=assignment.group
        )
        self.source = flow.source.open(self.context)
        self._compile()
        self._checks = self._start_checks() if assignment.worker == 0 else []
        self._topics_made: set[str] = set()
        self._overflowed = -_OVERFLOW_SECONDS

    def decode(self, batch: Batch) -> Batch:
        """Return what of a raw batch the flow's rules let pass, redacted, with the fields that rules read decoded."""
        if self._redact is not None:
            self._redact(batch)
        if self._decoder is None:
            return batch
        self._decoder(batch)
        return self._rules.filter(batch)

    def route(self, name: str, batch: Batch, origin: str) -> Batch | Question:
        """Return what of a batch goes to this destination, or what its limiters have to be asked about it first.

        Args:
            name: The destination.
            batch: What the flow's rules let pass.
            origin: The sink partition that it goes to.
        """
        if len(self.destinations) > 1:
            batch = batch.twin()
        batch = self._own_rules[name].filter(batch)
        question = self._limiters[name].ask(batch, origin, time.time()) if self._limiters[name].rules else None
        return question or self._finish(name, batch)

    def settle(self, name: str, item: Question | Summary) -> Batch | None:
        """Take the limiters' answer; return the batch that it is about once that is the last one, or their summary."""
        limiters = self._limiters[name]
        batch = limiters.summarise(item) if isinstance(item, Summary) else limiters.settle(item)
        return None if batch is None else self._finish(name, batch)

    def limiters(self, name: str) -> list[LimiterRule]:
        """Return the rules with a state that this destination's records are asked about, in order."""
        return self._limiters[name].rules

    def _finish(self, name: str, batch: Batch) -> Batch:
        """Decode into the fields that the destination reads, unless that is done."""
        if not batch.ids:
            self._final_decoders[name](batch)
        return batch

    def partitions(self, name: str) -> range:
        """Return the sink partitions that this worker owns; it delivers what it reads, so nothing crosses processes."""
        total = self.assignment.sink_partitions.get(name, 1)
        return range(self.assignment.worker, total, self.assignment.workers)

    def deliver(self, name: str, partition: int, state: dict[str, Any] | None) -> Delivery:
        """Start one sink partition, from its recorded state if there is one."""
        settings = self.destinations[name]
        state = state or {}
        ledger = Ledger.from_dict(state["ledger"]) if "ledger" in state else None
        delivery = Delivery(
            delivering(name, settings),
            settings.open(self._projections[name].getter, state.get("destination"), partition=partition),
            self._dead_letters(name, partition),
            self._flights[name],
            self.events,
            ledger,
            self._health[name],
        )
        self.deliveries[name][partition] = delivery
        return delivery

    def stop(self) -> None:
        """End the sources; what is in flight has until `stop_timeout` to be delivered."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self.assignment.flow.stop_timeout
        self.context.stopping.set()

    def stop_by(self) -> float | None:
        """Return the monotonic time at which a barrier gives up; None while the flow isn't stopping."""
        return self._stop_by

    def status(self) -> dict[str, Any]:
        """Return this worker's ledgers and live figures, by destination."""
        report: dict[str, Any] = {}
        for name, deliveries in self.deliveries.items():
            ledger = Ledger()
            running = list(deliveries.values())
            for delivery in running:
                ledger.merge(delivery.ledger)
            report[name] = {
                "ledger": ledger.to_dict(),
                "partitions": [delivery.status() for delivery in running],
                "health": self._health[name].to_dict(),
                "lag": self.source.lag(),
                "in_flight_bytes": self._flights[name].bytes,
                "buffer_utilisation": round(self._flights[name].bytes / self._flights[name].limit, 4),
            }
        return report

    def close(self) -> None:
        """Release every destination."""
        for checks in self._checks:
            checks.close()
        for deliveries in self.deliveries.values():
            for delivery in deliveries.values():
                delivery.close()

    def _compile(self) -> None:
        flow = self.assignment.flow
        rules = [rule for rule in flow.rules if rule.enabled]
        own = {name: [rule for rule in flow.own_rules(name) if rule.enabled] for name in self.destinations}
        layout = flow.source.layout()
        every = [*rules, *(rule for some in own.values() for rule in some)]
        self._projections = {name: Projection(each.fields(), layout) for name, each in self.destinations.items()}
        whole = projected_at_once(every, [each.fields() for each in self.destinations.values()], layout)
        asked = whole or Projection(fields_of(every), layout, identified=False)
        self._redact = Redactor(flow.redact, layout) if flow.redact else None
        hide = self._redact.text if self._redact else None
        self._decoder = Decoder(asked, final=whole is not None, hide=hide) if every else None
        self._rules: RuleSet = compile_rules(rules, asked)
        first = len(self._rules.limiters)
        self._own_rules = {name: compile_rules(some, asked, first) for name, some in own.items()}
        self._limiters = {
            name: Limiters([*self._rules.limiters, *some.limiters], asked) for name, some in self._own_rules.items()
        }
        self._final_decoders = {name: Decoder(each, hide=hide) for name, each in self._projections.items()}

    def _start_checks(self) -> list[HealthChecks]:
        """Watch the health of each destination. Where there are several workers, one asks for all."""
        return [
            HealthChecks(
                self._health[name],
                partial(settings.open, self._projections[name].getter, None),
                settings.health_interval,
            )
            for name, settings in self.destinations.items()
        ]

    def _dead_letters(self, name: str, partition: int) -> DeadLetters:
        settings = self.assignment.flow.dead_letter
        source = self.assignment.flow.source
        if settings.directory is not None:
            return DirectoryDeadLetters(Path(settings.directory), name, partition)
        assert isinstance(source, Kafka)
        topic = f"{settings.topic_prefix}{name}"
        if topic not in self._topics_made:
            create_topic(source.librdkafka(), topic)
            self._topics_made.add(topic)
        return KafkaDeadLetters(source.librdkafka(), topic, name, self.events)

    def _room(self) -> int:
        name, flight = min(self._flights.items(), key=lambda each: each[1].room())
        room = flight.room()
        if room <= 0 and time.monotonic() - self._overflowed > _OVERFLOW_SECONDS:
            self._overflowed = time.monotonic()
            self.events.tell(
                "stream.overflow", "warn", stream=name, in_flight_bytes=flight.bytes, max_in_flight=flight.limit
            )
        return room

    def _taken(self, count: int) -> None:
        for flight in self._flights.values():
            flight.add(count)


def delivering(name: str, settings: CommonDestination) -> Delivering:
    """Return what the delivery engine has to know of a destination's settings."""
    return Delivering(
        name=name,
        max_records=settings.batch.max_records,
        max_bytes=settings.batch.max_bytes,
        flush_interval=settings.batch.flush_interval,
        concurrency=settings.concurrency,
        policy=Policy(
            settings.retry.max_retries, settings.retry.backoff, settings.retry.max_backoff, settings.on_failure
        ),
    )
