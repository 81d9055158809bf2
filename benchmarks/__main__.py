"""`make bench`: the README's numbers, measured here and now; `--records N --repeats N` change how long it takes."""

from __future__ import annotations

import argparse
import subprocess
import sys

from benchmarks import archive, deliver, encode, limits, logger, redact
from benchmarks.processes import stop
from benchmarks.stages import shares
from flows.config import load
from tests.servers.kafka import Kafka

SERVERLESS = {"archive": archive.measure, "encode": encode.costs, "limits": limits.costs, "redact": redact.cost}
"""Measurements that need nothing else."""
KAFKA_ALONE = ("archive-kafka", "logger")


def main() -> None:
    """Start a broker and a counting server, fill the topic, compare."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=[*SERVERLESS, *KAFKA_ALONE], help="What needs no server, or Kafka alone.")
    options = parser.parse_args()
    if options.only == "logger":
        with Kafka() as kafka:
            kafka.create_topic(logger.TOPIC)
            logger.measure(kafka.brokers)
        return
    if options.only == "archive-kafka":
        with Kafka() as kafka:
            kafka.create_topic(deliver.TOPIC)
            size = deliver.fill(kafka.brokers, options.records, deliver.TOPIC, 1)
            archive.from_kafka(kafka.brokers, deliver.TOPIC, options.records, size)
        return
    if options.only:
        SERVERLESS[options.only](options.records, options.repeats)
        return
    command = [sys.executable, "-m", "benchmarks.bulk_server"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        with Kafka() as kafka:
            for topic, partitions in ((deliver.TOPIC, 1), (deliver.WIDE_TOPIC, 2)):
                kafka.create_topic(topic, partitions)
                size = deliver.fill(kafka.brokers, options.records, topic, partitions)
            print(f"{options.records:,} generated records of {size:.0f} bytes on average")
            for rules in ("selective", "all"):
                deliver.compare(kafka.brokers, url, options.records, rules, options.repeats)
                text = deliver.flow_text(kafka.brokers, url, "unused", rules, "stages")
                shares(load(text).flow, options.records, options.repeats)
            encode.costs(options.records, options.repeats)
            redact.cost(options.records, options.repeats)
            limits.costs(options.records, options.repeats)
            archive.from_kafka(kafka.brokers, deliver.TOPIC, options.records, size)
            deliver.workers(kafka.brokers, url, options.records, options.repeats)
            kafka.create_topic(logger.TOPIC)
            logger.measure(kafka.brokers)
    finally:
        stop(server)


if __name__ == "__main__":
    main()
