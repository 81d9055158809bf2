"""The share of each stage: the flow's own parts, run in one thread over the topic, one more of them each time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from flows.config import Flow
from flows.sources.base import SourceContext
from flows.sources.kafka import Kafka
from flows.sources.kafka_consumer import consumer_settings
from flows.sources.kafka_source import KafkaSource
from logweir.batch import Batch
from logweir.events import Events
from operators.decode import Decoder
from operators.projection import Projection
from operators.rules import compile_rules, fields_of
from sinks.compression import compress
from sinks.destination import Records

STAGES = ("consume", "decode for rules", "rules", "decode for the sink", "encode", "gzip")
_BODY_BYTES = 1_000_000


def parts(flow: Flow) -> list[Callable[[Batch], Batch]]:
    """Return the steps of a flow for one destination, in the order of `STAGES`, as the flow composes them."""
    rules = [rule for rule in flow.rules if rule.enabled]
    settings = flow.enabled["search"]
    layout = flow.source.layout()
    asked = Projection(fields_of(rules), layout, identified=False)
    read = Projection(settings.fields(), layout)
    first, final = Decoder(asked, final=False), Decoder(read, identified=True)
    decided = compile_rules(rules, asked)
    destination = settings.open(read.getter, None)
    bodies: list[bytes] = []
    pieces: list[bytes] = []

    def decode_first(batch: Batch) -> Batch:
        if rules:
            first(batch)
        return batch

    def decode_final(batch: Batch) -> Batch:
        final(batch)
        return batch

    def encode(batch: Batch) -> Batch:
        pieces.extend(destination.encode(Records.of(batch)))
        if len(pieces) * 540 > _BODY_BYTES:
            bodies.append(destination.frame(pieces))
            pieces.clear()
        return batch

    def squeeze(batch: Batch) -> Batch:
        while bodies:
            compress(bodies.pop(), "gzip")
        return batch

    return [decode_first, decided.filter, decode_final, encode, squeeze]


def shares(flow: Flow, records: int, repeats: int) -> None:
    """Print the CPU of each stage per record read, medians, librdkafka's threads counted to `consume`."""
    totals = [statistics.median(_run(flow, records, stages) for _ in range(repeats)) for stages in range(len(STAGES))]
    before = 0.0
    for stage, total in zip(STAGES, totals, strict=True):
        print(f"  {stage:>20} {max(0.0, total - before):5.2f} us {max(0.0, total - before) / totals[-1]:4.0%}")
        before = total
    print(f"  {'together':>20} {totals[-1]:5.2f} us; the rest of the flow's CPU is sending, the engine and the ledger")


def _run(flow: Flow, records: int, stages: int) -> float:
    """Return microseconds of CPU a record for the first stages."""
    steps = parts(flow)[:stages]
    assert isinstance(flow.source, Kafka)
    context = SourceContext(Events(), lambda: 1 << 30, lambda _count: None)
    settings = consumer_settings(flow.source.librdkafka(), f"stages-{time.time_ns()}")
    source = KafkaSource(settings, flow.source.topics, "earliest", context, discover_interval=0)
    partitions = [source.build_part("source", name, None) for name in source.list_parts()]
    left = records
    started = time.process_time()
    while left > 0:
        some = [batch for partition in partitions for batch in partition.next_batch()]
        if not some:
            time.sleep(0.002)
        for each in some:
            left -= each.account.read
            batch = each
            for step in steps:
                batch = step(batch)
    spent = time.process_time() - started
    source.commit_last()
    return spent / records * 1e6
