"""`logweir check --connect`: asks the source's brokers and every enabled destination whether they would do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from flows.config import Flow
from flows.show import table
from flows.sources.base import SourceContext
from flows.sources.kafka import Kafka
from logweir.errors import LogweirError
from logweir.events import Events
from logweir.librdkafka import teller
from logweir.terminal import visible
from operators.projection import Projection
from sinks.archive import ArchiveDestination
from sinks.deadletter_topic import shortcomings
from sinks.destination import Delivered, Hold
from sinks.health import timed
from sinks.settings import DeliverySettings

SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one of them has answered."""

    name: str
    type: str
    status: str
    """connected; unreachable, when it may pass; error, when a person has to mend something."""
    seconds: float | None
    issue: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "name": self.name,
            "type": self.type,
            "status": self.status,
            "seconds": self.seconds,
            "issue": self.issue,
        }


def connect(flow: Flow) -> list[Answer]:
    """Ask all at once; return the answers, the source's first. Nothing is read or sent, and nothing made stays."""
    asks: list[Callable[[], Answer]] = []
    if isinstance(flow.source, Kafka):
        asks.append(partial(_ask_source, flow, flow.group))
    asks += [partial(_ask, flow, name, settings) for name, settings in flow.outlets.items()]
    if isinstance(flow.source, Kafka) and flow.dead_letter.topic_prefix is not None:
        asks += [
            partial(_ask_letters, flow.source, name, f"{flow.dead_letter.topic_prefix}{name}") for name in flow.outlets
        ]
    with ThreadPoolExecutor(max_workers=len(asks)) as pool:
        return list(pool.map(lambda ask: ask(), asks))


def answers_text(answers: list[Answer]) -> str:
    """Return the answers as a table, each issue in full below it."""
    rows = [
        (each.name, each.type, each.status, "" if each.seconds is None else f"{each.seconds * 1000:,.0f} ms")
        for each in answers
    ]
    shown = table(("NAME", "TYPE", "STATUS", "TIME"), rows)
    return "\n".join([shown, *(f"\n{visible(f'{each.name}: {each.issue}')}" for each in answers if each.issue)])


def _ask(flow: Flow, name: str, settings: DeliverySettings) -> Answer:
    kind = str(getattr(settings, "type", ""))
    try:
        destination = settings.open(Projection(settings.fields(), flow.source.layout()).getter, None)
    except LogweirError as error:
        return Answer(name, kind, "error", None, str(error))
    try:
        # Others write nothing, since it could not be taken away again.
        found, seconds = timed(
            destination.try_out if isinstance(destination, ArchiveDestination) else destination.probe
        )
    finally:
        destination.close()
    match found:
        case Delivered():
            return Answer(name, kind, "connected", round(seconds, 3), "")
        case Hold(issue=issue):
            return Answer(name, kind, "error", round(seconds, 3), issue)
    return Answer(name, kind, "unreachable", round(seconds, 3), found.reason)


def _ask_source(flow: Flow, group: str) -> Answer:
    context = SourceContext(events=Events(), room=lambda: 0, taken=lambda _count: None, group=group)
    try:
        source = flow.source.open(context)
        source.list_parts()
    except LogweirError as error:
        return Answer(SOURCE, "kafka", "error", None, str(error))
    issues = source.issues()
    return Answer(SOURCE, "kafka", "error" if issues else "connected", None, "; ".join(issues))


def _ask_letters(source: Kafka, name: str, topic: str) -> Answer:
    """Look at the topic of a destination's dead letters, if there is one already."""
    from confluent_kafka import KafkaException

    named = [each for each in source.topics if not each.startswith("^")]
    shown = f"{name}: dead letters"
    try:
        said = shortcomings(source.librdkafka(), topic, named)
    except KafkaException as error:
        return Answer(shown, "kafka", "error", None, teller(source.settings)(error.args[0]))
    return Answer(shown, "kafka", "error" if said else "connected", None, "; ".join(said))
