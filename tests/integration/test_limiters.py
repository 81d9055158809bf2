"""Rate limits across partitions, workers and crashes, compared with what the specification says of the same records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest

from operators.rate_limit import Limit
from tests.flowing import Running, write_flow
from tests.limits import Place, Shuffled, assert_as_specified, crash, kept
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.kafka

LIMIT = {"name": "Rate limit", "type": "rate", "max_per_second": 20, "by": "context.service"}


def delivered(elastic: FakeElastic) -> Counter[Place]:
    """Return how many records of each key and second were delivered."""
    assert elastic.violations == []
    return kept(list(elastic.docs.values()))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_exact_over_partitions_and_workers(kafka: Kafka, elastic: FakeElastic, tmp_path: Path, workers: int) -> None:
    """In each key's windows pass exactly as many as the limits say, whoever reads them; the ledger has the rest."""
    shuffled = Shuffled(kafka, keys=200, seconds=150, records=20_000)
    rule = {**LIMIT, "max_per_second": 10, "max_per_minute": 300, "max_per_hour": 600, "lateness": "10m"}
    flow = write_flow(tmp_path, kafka, shuffled.topic, {"search": {"url": elastic.url}}, rules=[rule])
    with Running(flow, "--workers", str(workers)) as running:
        running.drain(kafka, shuffled.topic, f"{shuffled.topic}.search")
        assert running.stop() == 0
    found = delivered(elastic)
    assert assert_as_specified(shuffled.asked, found, [Limit(1, 10), Limit(60, 300), Limit(3600, 600)]) > 100
    ledger = running.ledgers()["search"]
    assert (ledger.read, ledger.delivered) == (shuffled.sent, found.total())
    assert ledger.dropped == {"Rate limit": shuffled.sent - found.total()}


def test_all_three_limits_of_two_rules(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """No window of any length gets more than its limit, and the longest ones as much as there is room for."""
    shuffled = Shuffled(kafka, keys=20, seconds=50, records=20_000)
    by_key = {
        **LIMIT,
        "max_per_second": 5,
        "max_per_hour": 100,
        "when": [{"field": "level", "operator": "eq", "value": "info"}],
    }
    overall = {"name": "Overall", "type": "rate", "max_per_hour": 1500, "levels": ["info"]}
    flow = write_flow(
        tmp_path, kafka, shuffled.topic, {"search": {"url": elastic.url, "rules": [overall]}}, rules=[by_key]
    )
    with Running(flow, "--workers", "2") as running:
        running.drain(kafka, shuffled.topic, f"{shuffled.topic}.search")
        assert running.stop() == 0
    found = delivered(elastic)
    hours: Counter[tuple[str, int]] = Counter()
    room: Counter[tuple[str, int]] = Counter()
    for place, count in shuffled.asked.items():
        hours[place.key, place.second // 3600] += found[place]
        room[place.key, place.second // 3600] += min(count, 5)
        assert found[place] <= 5
    assert all(count <= 100 for count in hours.values())
    passed_by_key = sum(min(count, 100) for count in room.values())
    ledger = running.ledgers()["search"]
    assert ledger.dropped["Rate limit"] == shuffled.sent - passed_by_key
    by_hour = Counter(place.second // 3600 for place in found.elements())
    assert all(count <= 1500 for count in by_hour.values())
    assert ledger.delivered == found.total() == passed_by_key - ledger.dropped["Overall"]
    assert found.total() == 1500 or len(by_hour) > 1


def test_repetitions_over_partitions_and_workers(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Wherever its repetitions are read, one record of each key passes in a window; summaries tell of the others."""
    shuffled = Shuffled(kafka, keys=100, seconds=5, records=5000)
    rule = {"name": "No repetitions", "type": "dedupe", "by": ["context.service", "level"], "window": "1h"}
    rules = [{**rule, "summarise": True}]
    flow = write_flow(tmp_path, kafka, shuffled.topic, {"search": {"url": elastic.url}}, rules=rules)
    with Running(flow, "--workers", "2") as running:
        running.drain(kafka, shuffled.topic, f"{shuffled.topic}.search")
        assert running.stop() == 0
    keys = {place.key for place in shuffled.asked}
    records = [orjson.loads(each) for each in elastic.docs.values()]
    assert sorted(each["context"]["service"] for each in records if "category" not in each) == sorted(keys)
    told = [each for each in records if "category" in each]
    assert sum(each["metadata"]["dropped"]["records"] for each in told) == shuffled.sent - len(keys)
    assert {each["context"]["service"] for each in told} <= keys
    ledger = running.ledgers()["search"]
    assert (ledger.dropped, ledger.made) == ({"No repetitions": shuffled.sent - len(keys)}, len(told))


def test_a_crash_grants_no_window_more(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Recorded is exactly what the limits let through; over them is at most what interrupted epochs had sent before."""
    found = crash(kafka, elastic, tmp_path, kills=3, records=3000, limit=20)
    assert found.extra <= sum(found.interrupted)


def test_summaries_tell_what_was_dropped(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Each window that has dropped something says so in one record; together they say exactly what was dropped."""
    shuffled = Shuffled(kafka, keys=30, seconds=5, records=5000)
    told = {**LIMIT, "summarise": True, "lateness": "2s"}
    flow = write_flow(tmp_path, kafka, shuffled.topic, {"search": {"url": elastic.url}}, rules=[told])
    with Running(flow, "--workers", "2") as running:
        running.drain(kafka, shuffled.topic, f"{shuffled.topic}.search")
        running.until(lambda: any(b"logweir" in each for each in list(elastic.docs.values())), "silence is told")
        shuffled.send(2000)
        running.drain(kafka, shuffled.topic, f"{shuffled.topic}.search")
        assert running.stop() == 0
    records = [orjson.loads(each) for each in elastic.docs.values()]
    summaries = [each for each in records if each.get("category") == "logweir"]
    ledger = running.ledgers()["search"]
    assert ledger.in_flight == 0
    assert ledger.delivered == len(records)
    by_key: Counter[str] = Counter()
    for each in summaries:
        dropped = each["metadata"]["dropped"]
        assert (dropped["rule"], dropped["seconds"], each["level"]) == ("Rate limit", 1, "warn")
        by_key[each["context"]["service"]] += dropped["records"]
    assert by_key.total() == ledger.dropped["Rate limit"]
    passed = Counter(each["context"]["service"] for each in records if each.get("category") != "logweir")
    asked = Counter(place.key for place in shuffled.asked.elements())
    assert asked == passed + by_key
