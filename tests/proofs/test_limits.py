"""Limits at the size that is promised, with their figures."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import orjson
import pytest

from operators.rate_limit import Limit
from tests import limits
from tests.flowing import Running, write_flow
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.proof

SPECIFIED = [Limit(1, 100), Limit(60, 5000), Limit(3600, 100_000)]


@pytest.mark.kafka
def test_exact_at_full_size(kafka: Kafka, tmp_path: Path) -> None:
    """A million records of 200 keys: by one, two and four workers each window keeps what the specification says.

    Each is a replay of the same topic too: windows of one length keep the same number, and samples the very same ids.
    """
    begin = int(time.time()) // 3600 * 3600 - 3000
    shuffled = limits.Shuffled(kafka, keys=200, seconds=1500, records=1_000_000, begin=begin)
    rule = {"name": "R", "type": "rate", "by": "context.service", "lateness": "2h"}
    all_three = {**rule, "max_per_second": 100, "max_per_minute": 5000, "max_per_hour": 100_000}
    seconds: list[Counter[limits.Place]] = []
    samples: list[set[bytes]] = []
    for workers in (1, 2, 4):
        directory = tmp_path / str(workers)
        directory.mkdir()
        out: dict[str, dict[str, object]] = {
            "all_three": {"rules": [all_three]},
            "seconds": {"rules": [{**rule, "max_per_second": 20}]},
            "sample": {"sampling": {"rate": 0.01}},
        }
        destinations = {
            name: {"type": "file", "path": f"{directory}/{name}-{{partition}}", **each} for name, each in out.items()
        }
        group = f"{shuffled.topic}-{workers}"
        source = {"type": "kafka", "brokers": [kafka.brokers], "topics": [shuffled.topic], "group": group}
        flow = write_flow(directory, kafka, shuffled.topic, destinations, source=source)
        with Running(flow, "--workers", str(workers)) as running:
            for name in destinations:
                running.drain(kafka, shuffled.topic, f"{group}.{name}", timeout=600)
            assert running.stop() == 0
        lines = {
            name: [line for path in directory.glob(f"{name}-*") for line in path.read_bytes().splitlines()]
            for name in destinations
        }
        found = limits.kept(lines["all_three"])
        windows = limits.assert_as_specified(shuffled.asked, found, SPECIFIED)
        ledger = running.ledgers()["all_three"]
        assert (ledger.read, ledger.delivered) == (shuffled.sent, found.total())
        by_hour = limits.in_windows(found, 3600)
        print(  # noqa: T201
            f"\n{workers} workers: {ledger.read:,} read, {found.total():,} kept as specified in every window of "
            f"{len(by_hour)} keys; {windows:,} of them had dropped some, {list(by_hour.values()).count(100_000)} "
            "were full for their hour"
        )
        seconds.append(limits.kept(lines["seconds"]))
        assert seconds[-1] == {place: min(count, 20) for place, count in shuffled.asked.items()}
        samples.append({orjson.loads(line)["id"] for line in lines["sample"]})
    assert seconds[0] == seconds[1] == seconds[2]
    assert samples[0] == samples[1] == samples[2]
    print(f"replays: {seconds[0].total():,} kept each time, and the same {len(samples[0]):,} sampled")  # noqa: T201


@pytest.mark.kafka
def test_twenty_kills(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """No recorded epoch grants a window more than its limit; a kill adds at most what its epoch had sent before."""
    found = limits.crash(kafka, elastic, tmp_path, kills=20, records=20_000, limit=100)
    print(f"\n{found.read:,} read, {found.delivered:,} delivered: exactly what the limits let through")  # noqa: T201
    most = ", ".join(f"{count:,}" for count in found.interrupted)
    print(f"20 kills, epochs of 0.5 s; interrupted ones had sent {most}; {found.extra:,} over the limits")  # noqa: T201
    assert found.extra <= sum(found.interrupted)


MANY = 1_000_000_000
LIMITS: dict[str, dict[str, object]] = {
    "a limit": {"type": "rate", "max_per_minute": MANY},
    "three limits": {"type": "rate", "max_per_second": MANY, "max_per_minute": MANY, "max_per_hour": MANY},
    "repetitions": {"type": "dedupe", "window": "60s"},
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_million_keys(tmp_path: Path, limit: str) -> None:
    """A key takes less than 300 bytes for as long as it is remembered, and none once it has expired."""
    found = limits.many_keys(tmp_path, LIMITS[limit], keys=1_000_000)
    print(  # noqa: T201
        f"\n{limit}: {found.bytes_a_key:.0f} bytes a key, {found.bytes_left:.0f} once they have expired; "
        f"{found.few:.2f} us of CPU a record with 12 keys, {found.many:.2f} us with 1,000,000: "
        f"{found.few / found.many:.2f} times the throughput"
    )
    assert found.bytes_a_key < 300
    assert found.bytes_left < 60
