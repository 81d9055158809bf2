"""Three real Kafka brokers: the first is the controller too, so the other two can be killed and started again."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.servers.kafka import prepare
from tests.servers.process import POLL, JavaServer, free_ports, java_command, listening

CLUSTER = "dGhyZWUtYnJva2Vycy1mbw"
_NODES = (1, 2, 3)


class Node(JavaServer):
    """One broker.

    Args:
        number: Its id.
        port: Where it listens.
        controller: The port of the controller, which is the first node.
        data: Its folder.
    """

    def __init__(self, number: int, port: int, controller: int, data: Path) -> None:
        super().__init__(data)
        self.name = f"Kafka {number}"
        self.number = number
        self.port = port
        self._controller = controller
        self.brief = True

    def _command(self) -> list[str]:
        own = f"PLAINTEXT://127.0.0.1:{self.port}"
        first = self.number == 1
        settings = {
            "process.roles": "broker,controller" if first else "broker",
            "node.id": self.number,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "listeners": f"{own},CONTROLLER://127.0.0.1:{self._controller}" if first else own,
            "advertised.listeners": own,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": self.data / "logs",
            "auto.create.topics.enable": "false",
            # The groups live where nobody is killed: see `Cluster.start`.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 200,
            "controlled.shutdown.enable": "false",
            # A follower that is away leaves the replicas in sync soon.
            "replica.lag.time.max.ms": 2000,
        }
        config = self.data / "server.properties"
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        jars = [prepare()]
        if not (self.data / "logs" / "meta.properties").exists():
            arguments = ["format", "--ignore-formatted", "-t", CLUSTER, "-c", str(config)]
            short = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
            subprocess.run(
                java_command(jars, "kafka.tools.StorageTool", arguments, short), check=True, capture_output=True
            )
        return java_command(jars, "kafka.Kafka", [str(config)], ["-Xmx256m", "-XX:+UseSerialGC"])

    def _ready(self) -> bool:
        if not listening(self.port):
            return False
        try:
            brokers = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0}).list_topics(
                timeout=5
            )
        except KafkaException:
            return False
        return self.number in brokers.brokers


class Cluster:
    """Three brokers."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="logweir-brokers-")
        *ports, controller = free_ports(len(_NODES) + 1)
        self.nodes = {
            number: Node(number, port, controller, Path(self._folder.name) / str(number))
            for number, port in zip(_NODES, ports, strict=True)
        }
        self.brokers = ",".join(f"127.0.0.1:{port}" for port in ports)

    def admin(self) -> AdminClient:
        """Return a new admin client."""
        return AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})

    def start(self) -> None:
        """Start all; the first alone has the groups' offsets.

        Raises:
            ServersUnavailable: Java or the jars are missing.
        """
        for node in self.nodes.values():
            node.start()
        self.create_topic("__consumer_offsets", [[1]], **{"cleanup.policy": "compact"})

    def create_topic(self, name: str, replicas: list[list[int]], **config: str) -> None:
        """Create a topic whose partitions have these replicas, and wait until each has a leader."""
        admin = self.admin()
        made = NewTopic(name, num_partitions=len(replicas), replica_assignment=replicas, config=config)
        for done in admin.create_topics([made]).values():
            done.result(30)
        self.wait_leaders(name, [each[0] for each in replicas])

    def wait_leaders(self, topic: str, leaders: list[int]) -> None:
        """Wait until the partitions have these leaders; -1 for none.

        Raises:
            RuntimeError: They have others for a minute.
        """
        admin, deadline = self.admin(), time.monotonic() + 60
        while True:
            found = admin.list_topics(topic, timeout=30).topics[topic].partitions
            if [each.leader for _, each in sorted(found.items())] == leaders:
                return
            if time.monotonic() > deadline:
                msg = f"the leaders of {topic} are {[each.leader for each in found.values()]}, and not {leaders}"
                raise RuntimeError(msg)
            time.sleep(POLL)

    def produce(self, topic: str, values: Iterable[bytes], partition: int) -> None:
        """Send these values, each acknowledged by the leader.

        Raises:
            KafkaException: One was refused.
        """
        producer = Producer({"bootstrap.servers": self.brokers, "log_level": 0, "acks": 1, "linger.ms": 5})
        refused: list[object] = []
        for value in values:
            producer.produce(
                topic, value, partition=partition, on_delivery=lambda error, _: refused.append(error) if error else None
            )
        if producer.flush(60) or refused:
            raise KafkaException(refused[0] if refused else "not acknowledged")

    def close(self) -> None:
        """End all, and remove their data."""
        for node in self.nodes.values():
            node.kill()
        self._folder.cleanup()
