"""What runs inside one worker process: the dataflow of one destination (or of all, without isolation) and its state."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flows.archiving import FlowArchive
from flows.config import Flow
from flows.limiting import Place
from flows.ordering import InOrder
from flows.orders import Prepare
from flows.plan import Plan
from flows.recovery_store import forget_gone, recorded_keys
from flows.sampling import SamplerSet
from flows.seats import Seating
from flows.sources.alignment import STEP, Alignment
from flows.sources.base import SourceContext
from flows.sources.kafka import Kafka
from flows.still_dead import StillDead
from logweir.batch import Batch
from logweir.events import Events
from logweir.ledger import Ledger
from operators.limiters import Item, Progress, Question, Routed
from operators.projection import Projection
from operators.summaries import Summary
from operators.watermark import Outstanding, Standing
from sinks.deadletter import DeadLetters, DirectoryDeadLetters, KafkaDeadLetters
from sinks.deadletter_topic import create_topic, shortcomings
from sinks.decide import Policy
from sinks.delivering import Delivering
from sinks.delivery import Delivery
from sinks.flight import Flight
from sinks.health import Health, HealthChecks
from sinks.settings import DeliverySettings
from sinks.table_delivery import deliver_to

GONE_PARTITIONS = 1000
"""Files that are gone, whose positions and samplers are remembered nevertheless."""
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
    interval: float = 10.0
    """Seconds of an epoch."""
    worker: int = 0
    workers: int = 1
    addresses: tuple[str, ...] = ()
    """host:port of each worker's process, when there are several."""
    sink_partitions: dict[str, int] = field(default_factory=dict)
    """How many sink partitions each destination's ledger is kept in; never shrinks, or a ledger would be lost."""
    seatings: Mapping[str, Seating] = field(default_factory=dict)
    """Where each destination's limiters keep their states."""
    revision: int = 0
    """Counts the changes of the flow's settings that the dataflow has taken while it ran."""


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
        outlets = flow.outlets
        self.destinations: dict[str, DeliverySettings] = {name: outlets[name] for name in assignment.destinations}
        self._flights = {name: Flight(_in_flight(flow, each)) for name, each in self.destinations.items()}
        self._health = {name: Health(name, events) for name in self.destinations}
        self.deliveries: dict[str, dict[int, Delivery]] = {name: {} for name in self.destinations}
        self._stop_by: float | None = None
        # Now, since once the engine runs nobody else may look into its store.
        recorded = recorded_keys(assignment.recovery, f"{self.dataflow}.source")
        self.context = SourceContext(
            events=events,
            room=self._room,
            taken=self._taken,
            restart=restart,
            group=assignment.group,
            recovery=assignment.recovery,
            recorded=lambda: recorded,
            passed_over=partial(_writes, flow),
        )
        self.context.alignment = self.alignment = Alignment(
            events, flow.source.max_ahead, self._source_partitions, assignment.worker
        )
        self.source = flow.source.open(self.context)
        layout = flow.source.layout()
        self._projections = {name: Projection(each.fields(), layout) for name, each in self.destinations.items()}
        self._changing = threading.Lock()
        self._plan = Plan(flow, self._projections, assignment.seatings, assignment.revision)
        self._plans = {self._plan.revision: self._plan}
        """Those that questions may have been asked by, or will be."""
        self.alignment.active = self._plan.counts_events()
        self._outstanding = {name: Outstanding() for name in self.destinations}
        self._progress: dict[str, Standing] = {}
        self._turns = 0
        self._orders = {name: InOrder() for name, each in self.destinations.items() if isinstance(each, FlowArchive)}
        self._checks = self._start_checks() if assignment.worker == 0 else []
        counted = self.destinations if assignment.worker == 0 else ()
        self._still_dead = {name: StillDead(flow, name) for name in counted}
        self._topics_made: set[str] = set()
        self._overflowed = -_OVERFLOW_SECONDS

    @property
    def dataflow(self) -> str:
        """Return the dataflow's id, with which those of its steps begin."""
        return self.assignment.flow.name.replace("-", "_")

    def forget_gone(self) -> None:
        """Throw away what is recorded of the oldest files that are gone, before the dataflow begins."""
        steps = [f"{self.dataflow}.{step}" for step in ("source", *(f"sample_{name}" for name in self.destinations))]
        forgotten = forget_gone(self.assignment.recovery, steps, self.source.gone, GONE_PARTITIONS)
        if forgotten:
            reason = f"these are gone, and {GONE_PARTITIONS} others that are gone were read later"
            self.events.tell("source.forgotten", "info", paths=forgotten, reason=reason)

    def decode(self, batch: Batch) -> tuple[Plan, Batch]:
        """Return what of a raw batch the flow's rules let pass, and by which plan its way goes on."""
        if batch.pulse:
            return self._plan, batch
        with self._changing:
            plan = self._plan.begin()
        self._turns += 1
        batch.turn = self._turns
        return plan, plan.decode(batch)

    def route(self, name: str, plan: Plan, batch: Batch, origin: str) -> list[tuple[str, Routed]]:
        """Return what goes to a destination's sink partition, or to its limiters, and how far the process is by that.

        Args:
            name: The destination.
            plan: By which the batch was decided about.
            batch: What the flow's rules let pass.
            origin: The sink partition.
        """
        items: list[tuple[str, Routed]] = []
        if not batch.pulse:
            if self.alignment.active and not batch.origin.noted:
                self.alignment.read(batch.lane, plan.moments(name, batch))
            turn, low = batch.turn, batch.low
            item = plan.route(name, batch, origin)
            items.append((origin, item))
            if isinstance(item, Question):
                self._outstanding[name].asked(turn, low)
        if batch.low and plan.counts_events(name):
            standing = self.alignment.standing(self._outstanding[name].low(batch.low))
            told = self._progress.get(name)
            if told is None or standing.low - told.low >= STEP or standing.lanes != told.lanes:
                self._progress[name] = standing
                items.append((origin, Progress(origin, standing, plan.revision)))
        return items

    def in_order(self, name: str, batches: list[Batch]) -> list[Batch]:
        """Return the batches whose turn it is: the archive has to get them in the order in which they were read."""
        order = self._orders.get(name)
        return batches if order is None else order.leave(batches)

    def held_back(self, name: str) -> int:
        """Return how many batches wait for their turn."""
        order = self._orders.get(name)
        return 0 if order is None else order.waiting

    def settle(self, name: str, item: Item) -> Batch | None:
        """Take the limiters' answer; return the batch that it is about once that is the last one, or their summary."""
        if isinstance(item, Summary):
            return self._plan.told(name, item)
        batch = self._plans[item.revision].settle(name, item)
        if batch is not None:
            self._outstanding[name].settled(batch.turn)
        return batch

    def place(self, name: str, slot: int, revision: int | None) -> Place | None:
        """Return the limiter that has a slot of a destination in this revision of the settings, or at present.

        A revision may be forgotten while progress that was told by it is on its way: then nobody has the slot.
        """
        plan = self._plan if revision is None else self._plans.get(revision)
        return None if plan is None else plan.places[name].get(slot)

    def samplers(self, name: str, revision: int) -> SamplerSet:
        """Return the samplers of a destination in this revision of the settings."""
        return SamplerSet(self._plans[revision].samplers[name], self.source.partitions())

    def partitions(self, name: str) -> range:
        """Return the sink partitions that this worker owns; it delivers what it reads, so nothing crosses processes."""
        total = self.assignment.sink_partitions.get(name, 1)
        return range(self.assignment.worker, total, self.assignment.workers)

    def deliver(self, name: str, partition: int, state: dict[str, Any] | None) -> Delivery:
        """Start one sink partition, from its recorded state if there is one."""
        state = state or {}
        ledger = Ledger.from_dict(state["ledger"]) if "ledger" in state else None
        destination = self.destinations[name].open(
            self._projections[name].getter, state.get("destination"), partition=partition
        )
        dead_letters = self._dead_letters(name, partition)
        with self._changing:
            self.deliveries[name][partition] = delivery = deliver_to(
                destination,
                delivering(name, self._plan.flow.outlets[name]),
                dead_letters,
                self._flights[name],
                self.events,
                ledger,
                self._health[name],
            )
        return delivery

    def prepare(self, order: Prepare) -> None:
        """Compile changed settings, so that what is asked by them is understood. Nothing here asks by them yet.

        Raises:
            LogweirError: They can't be compiled.
        """
        plan = Plan(order.flow, self._projections, order.seatings, order.revision)
        self._plans = {self._plan.revision: self._plan, plan.revision: plan}
        # Compiled rules refer to each other in circles, and a worker hardly ever looks for such by itself.
        gc.collect()

    def swap(self, revision: int) -> None:
        """Go on by settings that were prepared, from the next batch and the next request on."""
        with self._changing:
            self._plan = self._plans[revision]
            self.alignment.active = self._plan.counts_events()
            flow, outlets = self._plan.flow, self._plan.flow.outlets
            for name, deliveries in self.deliveries.items():
                self._flights[name].limit = _in_flight(flow, outlets[name])
                for delivery in deliveries.values():
                    delivery.configure(delivering(name, outlets[name]))
            for name, checks in zip(self.destinations, self._checks, strict=False):
                checks.interval = outlets[name].health_interval

    def settled(self) -> bool:
        """Tell whether nothing is on its way any more by settings from before the last swap."""
        return not any(plan.waiting for plan in self._plans.values() if plan is not self._plan)

    def stop(self) -> None:
        """End the sources; what is in flight has until `stop_timeout` to be delivered."""
        if self._stop_by is None:
            self._stop_by = time.monotonic() + self._plan.flow.stop_timeout
        self.context.stopping.set()

    def stop_by(self) -> float | None:
        """Return the monotonic time at which a barrier gives up; None while the flow isn't stopping."""
        return self._stop_by

    def status(self) -> dict[str, Any]:
        """Return this worker's ledgers and live figures, by destination."""
        report: dict[str, Any] = {}
        for name, deliveries in self.deliveries.items():
            running = list(deliveries.values())
            report[name] = {
                "ledgers": {str(number): delivery.ledger.to_dict() for number, delivery in [*deliveries.items()]},
                "partitions": [delivery.status() for delivery in running],
                "health": self._health[name].to_dict(),
                "lag": self.source.lag(),
                "lag_seconds": self.source.lag_seconds(),
                "source_issues": self.source.issues(),
                "still_dead": self._still_dead[name].count if name in self._still_dead else None,
                "in_flight_bytes": self._flights[name].bytes,
                "buffer_utilisation": round(self._flights[name].bytes / self._flights[name].limit, 4),
            }
        return report

    def close(self) -> None:
        """Release every destination."""
        for checks in self._checks:
            checks.close()
        for counter in self._still_dead.values():
            counter.close()
        for deliveries in self.deliveries.values():
            for delivery in deliveries.values():
                delivery.close()

    def _source_partitions(self) -> int:
        return self.source.partitions()

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
            if create_topic(source.librdkafka(), topic):
                named = [each for each in source.topics if not each.startswith("^")]
                for reason in shortcomings(source.librdkafka(), topic, named):
                    self.events.tell("stream.dead_letter_topic", "warn", stream=name, reason=reason)
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


def _writes(flow: Flow, topic: str) -> bool:
    """Tell whether a flow writes to a topic itself: its dead letters, or what a destination of it gets."""
    prefix = flow.dead_letter.topic_prefix
    dead = prefix is not None and topic in {f"{prefix}{name}" for name in flow.outlets}
    brokers = set(flow.source.brokers) if isinstance(flow.source, Kafka) else set()
    # A topic of this name in another cluster is another topic.
    return dead or any(
        getattr(each, "topic", None) == topic and not brokers.isdisjoint(getattr(each, "brokers", ()))
        for each in flow.destinations.values()
    )


def _in_flight(flow: Flow, settings: DeliverySettings) -> int:
    """Return the most bytes in flight to a destination: the archive gathers one commit while it writes another."""
    needed = 2 * settings.batch.max_bytes if isinstance(settings, FlowArchive) else 0
    return max(flow.max_in_flight, needed)


def delivering(name: str, settings: DeliverySettings) -> Delivering:
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
