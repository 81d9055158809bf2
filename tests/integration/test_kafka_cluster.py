"""Several brokers, of which some are away: what can be read is, and a log that was cut off goes on where it parts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.flowing import Running, assert_ledger, until, write_flow
from tests.scenarios import new_name, stored_in
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka
from tests.servers.kafka_cluster import Cluster
from tests.servers.maven import ServersUnavailable

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three brokers; each test leaves all of them running."""
    servers = Cluster()
    try:
        servers.start()
        yield servers
    except ServersUnavailable as error:
        pytest.skip(str(error))
    finally:
        servers.close()


def flow_file(directory: Path, brokers: str, topic: str, elastic: FakeElastic, **source: Any) -> Path:
    """Write a flow from a topic of the cluster to the stand-in."""
    own = {"type": "kafka", "brokers": brokers.split(","), "topics": [topic], "group": topic, **source}
    dead = {"directory": str(directory / "dead")}
    return write_flow(directory, None, topic, {"search": {"url": elastic.url}}, source=own, dead_letter=dead)


def values(name: str, count: int) -> list[bytes]:
    """Return records whose ids are a name and a number."""
    return [b'{"id":"%s-%d"}' % (name.encode(), number) for number in range(count)]


def found(elastic: FakeElastic, name: str) -> int:
    """Return how many of these have arrived."""
    return sum(each.startswith(f"{name}-") for each in stored_in(elastic))


def arrived(elastic: FakeElastic, count: int) -> bool:
    """Tell whether so many have arrived."""
    return len(elastic.docs) == count


def test_a_partition_without_a_leader(cluster: Cluster, elastic: FakeElastic, tmp_path: Path) -> None:
    """It holds up no other, in a running flow or in one that starts, and is read once a broker has it again."""
    topic = new_name("leaderless")
    cluster.create_topic(topic, [[1], [2], [3]])
    for partition in range(3):
        cluster.produce(topic, values(f"first{partition}", 50), partition)
    flow = flow_file(tmp_path, cluster.brokers, topic, elastic)
    with Running(flow) as running:
        running.until(lambda: len(elastic.docs) == 150, "all are read")
        cluster.nodes[3].kill()
        try:
            cluster.wait_leaders(topic, [1, 2, -1])
            for partition in (0, 1):
                cluster.produce(topic, values(f"more{partition}", 50), partition)
            running.until(lambda: len(elastic.docs) == 250, "the others are read")
            running.until(lambda: running.told("source.health"), "it is told")
            assert running.stop() == 0
            for partition in (0, 1):
                cluster.produce(topic, values(f"again{partition}", 50), partition)
            with Running(flow) as restarted:
                restarted.until(lambda: len(elastic.docs) == 350, "the others are read after a start")
                restarted.until(
                    lambda: any(
                        f"{topic}[2] has no leader" in each["issue"] for each in restarted.told("source.health")
                    ),
                    "it is told after a start",
                )
                cluster.nodes[3].start()
                cluster.wait_leaders(topic, [1, 2, 3])
                cluster.produce(topic, values("back2", 50), 2)
                restarted.until(lambda: len(elastic.docs) == 400, "what was without a leader is read")
                restarted.until(
                    lambda: restarted.told("source.health")[-1]["issue"] == "", "it is told that all is well"
                )
                assert restarted.stop() == 0
        finally:
            cluster.nodes[3].start()
            cluster.wait_leaders(topic, [1, 2, 3])
    assert running.told("flow.crashed") == restarted.told("flow.crashed") == []
    assert_ledger(restarted.ledgers()["search"], read=400, delivered=400, dropped={}, dead={})
    assert set(elastic.creates.values()) == {1}


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "running"])
def test_an_unclean_election(cluster: Cluster, elastic: FakeElastic, tmp_path: Path, *, stopped: bool) -> None:
    """A leader that lacks the last records is elected: the flow says so, and reads on from where the logs part."""
    topic = new_name("unclean")
    settings = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
    cluster.create_topic(topic, [[3, 2]], **settings)
    cluster.produce(topic, values("both", 100), 0)
    flow = flow_file(tmp_path, cluster.brokers, topic, elastic)
    running = Running(flow)
    try:
        running.until(lambda: len(elastic.docs) == 100, "what both have is read")
        cluster.nodes[2].kill()
        cluster.produce(topic, values("lost", 50), 0)
        running.until(lambda: len(elastic.docs) == 150, "what one has is read")
        if stopped:
            assert running.stop() == 0
        cluster.nodes[3].kill()
        cluster.nodes[2].start()
        cluster.wait_leaders(topic, [2])
        # More than were cut off, so the old position exists in the new log.
        cluster.produce(topic, values("other", 80), 0)
        if stopped:
            running.__exit__(None, None, None)
            running = Running(flow)
        running.until(lambda: found(elastic, "other") == 80, "what came instead is read")
        assert running.stop() == 0
        (gap,) = running.told("source.gap")
        assert "was cut off at offset 100" in gap["reason"]
        assert_ledger(running.ledgers()["search"], read=230, delivered=230, dropped={}, dead={})
    finally:
        running.__exit__(None, None, None)
        for node in cluster.nodes.values():
            node.start()
    assert set(elastic.creates.values()) == {1}


def test_the_brokers_of_another_cluster(kafka: Kafka, cluster: Cluster, elastic: FakeElastic, tmp_path: Path) -> None:
    """A position of one cluster is none of another: the flow begins there, and goes on when it comes back."""
    topic = new_name("clusters")
    kafka.create_topic(topic)
    cluster.create_topic(topic, [[1]])
    kafka.produce(topic, values("one", 100))
    cluster.produce(topic, values("two", 150), 0)
    for brokers, due, gaps in ((kafka.brokers, 100, 0), (cluster.brokers, 250, 1), (kafka.brokers, 260, 1)):
        if due == 260:
            kafka.produce(topic, values("more", 10))
        with Running(flow_file(tmp_path, brokers, topic, elastic)) as running:
            running.until(partial(arrived, elastic, due), "all of that cluster is read")
            assert running.stop() == 0
        assert len(running.told("source.gap")) == gaps
    assert_ledger(running.ledgers()["search"], read=260, delivered=260, dropped={}, dead={})
    until(lambda: set(elastic.creates.values()) == {1}, "each once")
