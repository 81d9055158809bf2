"""Bad input through a whole flow: each record's verdict, its neighbours, and what stands in the dead letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.feeding import read_topic
from tests.flowing import Running, assert_ledger, wait_drained, write_flow
from tests.operators.test_decode import BAD, FINE
from tests.scenarios import new_name
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka

RULES = [
    # So that the fields of the table are projected.
    {
        "name": "Not slow",
        "type": "field",
        "action": "exclude",
        "field": "performance.duration",
        "operator": "eq",
        "value": -1,
    },
    {
        "name": "Not odd",
        "type": "field",
        "action": "exclude",
        "field": "metadata.a.b",
        "operator": "eq",
        "value": "odd",
    },
    {"name": "Not traced", "type": "level", "action": "exclude", "levels": ["trace"]},
]


def good(number: int) -> bytes:
    """Return a record that nothing is wrong with."""
    return b'{"id":"good-%d","timestamp":"2026-11-01T10:00:00Z","level":"info","message":"m"}' % number


@pytest.mark.kafka
@pytest.mark.parametrize("rules", [[], RULES], ids=["without rules", "with rules"])
def test_bad_input(kafka: Kafka, elastic: FakeElastic, tmp_path: Path, rules: list[dict[str, Any]]) -> None:
    """Whatever is no record is dead-lettered, byte for byte; what is odd but valid and every neighbour is delivered."""
    topic = new_name("bad")
    kafka.create_topic(topic)
    sent: list[bytes] = []
    verdicts: dict[int, tuple[bytes, str]] = {}
    fine: dict[str, bytes] = {}
    for value, cause in BAD.values():
        verdicts[len(sent) + 1] = (value, cause)
        sent += [good(len(sent)), value]
    for name, value in FINE.items():
        # The table's ids are all alike; here each needs its own.
        identity = f"fine {name}"
        fine[identity] = value.replace(b':"a"', b':"%s"' % identity.encode(), 1)
        sent += [good(len(sent)), fine[identity]]
    sent.append(good(len(sent)))
    kafka.produce(topic, sent, partition=0)
    flow = write_flow(tmp_path, kafka, topic, {"search": {"url": elastic.url}}, rules=rules)
    with Running(flow) as running:
        wait_drained(kafka, topic, "search")
        assert running.stop() == 0

    letters = read_topic(kafka, f"{topic}.dead.search")
    found = {int(headers["logweir.offset"]): (value, headers) for value, headers in letters}
    refused = {offset for offset, (_, headers) in found.items() if headers["logweir.cause"].startswith("rejected")}
    # What the server itself refuses, as a real one does: a field twice, and numbers that are too long.
    theirs = {"fine duplicate keys", "fine an integer of 5,000 digits"}
    assert {found[offset][0] for offset in refused} == {fine[identity] for identity in theirs}
    assert len(letters) == len(found)
    assert found.keys() - refused == verdicts.keys()
    for offset, (value, cause) in verdicts.items():
        letter, headers = found[offset]
        assert letter == value
        assert headers["logweir.cause"] == cause
        assert headers["logweir.reason"]
        assert (headers["logweir.topic"], headers["logweir.partition"]) == (topic, "0")
        assert (headers["logweir.destination"], headers["logweir.attempts"]) == ("search", "0")

    documents = {identity: doc for (_, identity), doc in elastic.docs.items()}
    for identity, value in fine.items():
        if identity not in theirs:
            # The very bytes, behind the timestamp that they lack.
            assert documents.pop(identity).endswith(value.strip()[1:])
    assert len(documents) == len(BAD) + len(FINE) + 1
    assert all(identity.startswith("good-") for identity in documents)
    ledger = running.ledgers()["search"]
    dead: dict[str, int] = {"rejected: document_parsing_exception": len(theirs)}
    for _, cause in verdicts.values():
        dead[cause] = dead.get(cause, 0) + 1
    assert_ledger(ledger, read=len(sent), delivered=len(sent) - len(letters), dropped={}, dead=dead)
    assert sum(seen.raw_bytes > 20_000_000 for seen in elastic.seen) == 1
    assert orjson.loads(documents["good-0"])["@timestamp"] == "2026-11-01T10:00:00Z"
