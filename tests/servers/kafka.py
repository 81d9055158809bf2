"""A real Apache Kafka broker: one node that is broker and controller, on free ports of 127.0.0.1.

`python -m tests.servers.kafka` runs one for development until Ctrl-C and keeps its data.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from tests.servers import maven
from tests.servers.process import POLL, JavaServer, free_ports, java_command, listening

ARTIFACTS = (
    "org.apache.kafka:kafka_2.13:4.3.1",
    # Without a binding its log is mute.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
    "org.apache.logging.log4j:log4j-core:2.25.4",
)
MAX_RECORD = 40_000_000
CLUSTER = "bG9nd2Vpci1kZXYta2Fma2E"
USERNAME = "logweir"
PASSWORD = "planted-password"  # of a broker that lives as long as the test
OTHER_USERNAME = "other"
DEVELOPMENT_PORT = 9092
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
DEVELOPMENT_TOPIC = "logs"


def prepare() -> Path:
    """Return the folder of the broker's jars, fetched the first time."""
    return maven.jars("kafka", ARTIFACTS)


def _properties(data: Path, ports: tuple[int, int, int, int, int], *, create: bool) -> str:
    plain, sasl, controller, behind, proxy = ports
    own = f"PLAINTEXT://127.0.0.1:{plain},SASL_PLAINTEXT://127.0.0.1:{sasl}"
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USERNAME}="{PASSWORD}"'
    login += f' user_{OTHER_USERNAME}="{PASSWORD}";'
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"{own},PROXY://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}",
        # Whoever asks by way of a proxy is sent to the proxy for all else.
        "advertised.listeners": f"{own},PROXY://127.0.0.1:{proxy}",
        "listener.security.protocol.map": (
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,PROXY:SASL_PLAINTEXT"
        ),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": login,
        "listener.name.proxy.plain.sasl.jaas.config": login,
        "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": _SCRAM,
        "listener.name.proxy.scram-sha-256.sasl.jaas.config": _SCRAM,
        # Whatever no rule is about is allowed, and those who don't log in may do everything.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "true",
        "super.users": "User:ANONYMOUS",
        "log.dirs": data / "logs",
        "num.partitions": 1,
        "auto.create.topics.enable": str(create).lower(),
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        # A test may not want to wait long for what was killed.
        "group.min.session.timeout.ms": 1000,
        "message.max.bytes": MAX_RECORD,
        "replica.fetch.max.bytes": MAX_RECORD,
        # Retention is looked at every second, so that a test can watch records go.
        "log.retention.check.interval.ms": 1000,
        "log.segment.delete.delay.ms": 100,
        # A node that starts again must wait until its former life has expired.
        "broker.session.timeout.ms": 1000,
        "broker.heartbeat.interval.ms": 200,
        # There is no other broker to hand leadership to.
        "controlled.shutdown.enable": "false",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


class Kafka(JavaServer):
    """A broker; as a context manager it runs inside the block.

    Args:
        port: Of the plain listener; None picks a free one.
        data: Kept between runs; None: a temporary folder.
        create: Make a topic that doesn't exist for whoever writes to it.
    """

    name = "Kafka"
    sasl_username = USERNAME
    sasl_password = PASSWORD
    other_username = OTHER_USERNAME
    """Another user, with the same password."""

    def __init__(self, port: int | None = None, data: Path | None = None, *, create: bool = True) -> None:
        super().__init__(data)
        self._create = create
        plain, sasl, controller, behind, proxy = free_ports(5)
        self._ports = (port or plain, sasl, controller, behind, proxy)
        self.brokers = f"127.0.0.1:{self._ports[0]}"
        """For clients without authentication."""
        self.sasl_brokers = f"127.0.0.1:{sasl}"
        """For clients with `security.protocol=SASL_PLAINTEXT` and `sasl.mechanism=PLAIN` or SCRAM-SHA-256."""
        self.behind_proxy = behind
        """The port of a listener like that one, which only a proxy is to connect to, that listens on `proxy_port`."""
        self.proxy_port = proxy

    def _command(self) -> list[str]:
        jars = [prepare()]
        config = self.data / "server.properties"
        config.write_text(_properties(self.data, self._ports, create=self._create), encoding="utf-8")
        if not (self.data / "logs" / "meta.properties").exists():
            arguments = ["format", "--ignore-formatted", "-t", CLUSTER, "-c", str(config)]
            short = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
            subprocess.run(
                java_command(jars, "kafka.tools.StorageTool", arguments, short), check=True, capture_output=True
            )
        return java_command(jars, "kafka.Kafka", [str(config)], ["-Xmx512m", "-XX:+UseSerialGC"])

    def admin(self) -> AdminClient:
        """Return a new admin client, which says nothing of connections that fail."""
        return AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})

    def _ready(self) -> bool:
        # A client that is refused waits before it tries again; a plain connection finds out sooner.
        if not listening(self._ports[0]):
            return False
        try:
            return bool(self.admin().list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    def create_topic(self, name: str, partitions: int = 1, **config: object) -> None:
        """Create a topic and wait until each partition has a leader.

        Args:
            name: Its name.
            partitions: How many.
            config: Kafka's topic settings with underscores for dots: `retention_ms=1000`.
        """
        admin = self.admin()
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=settings)
        for done in admin.create_topics([topic]).values():
            done.result(30)
        deadline = time.monotonic() + 30
        while True:
            found = admin.list_topics(name, timeout=30).topics[name].partitions
            if len(found) == partitions and all(one.leader >= 0 for one in found.values()):
                return
            if time.monotonic() > deadline:
                msg = f"topic {name} has no leader for each of its {partitions} partitions after 30 s"
                raise RuntimeError(msg)
            time.sleep(POLL)

    def produce(self, topic: str, values: Iterable[bytes], partition: int = -1) -> int:
        """Send these values and return how many, when the broker has acknowledged all of them.

        Raises:
            KafkaException: One of them was refused.
        """
        settings = {"bootstrap.servers": self.brokers, "log_level": 0, "message.max.bytes": MAX_RECORD, "linger.ms": 5}
        producer = Producer(settings)
        refused: list[object] = []

        def heard(error: object, _message: object) -> None:
            if error is not None:
                refused.append(error)

        count = 0
        for value in values:
            while True:
                try:
                    producer.produce(topic, value, partition=partition, on_delivery=heard)
                    break
                except BufferError:
                    producer.poll(0.05)
            count += 1
        left = producer.flush(60)
        if refused or left:
            raise KafkaException(refused[0] if refused else f"{left} records were not acknowledged within 60 s")
        return count

    def set_password(self, user: str, password: str) -> None:
        """Let a user log in by SCRAM-SHA-256, with this password from now on; connections that are there stay."""
        kind = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
        made = UserScramCredentialUpsertion(user, kind, password.encode())
        admin = self.admin()
        for done in admin.alter_user_scram_credentials([made]).values():
            done.result(30)

    def configure_topic(self, topic: str, **config: object) -> None:
        """Change a topic's settings, with underscores for dots."""
        name = ConfigResource.Type.TOPIC
        entries = [
            ConfigEntry(key.replace("_", "."), str(value), incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        admin = self.admin()
        for done in admin.incremental_alter_configs(
            [ConfigResource(name, topic, incremental_configs=entries)]
        ).values():
            done.result(30)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete what lies before this offset, as retention would."""
        # The client has to outlive its futures, or they never finish.
        admin = self.admin()
        for done in admin.delete_records([TopicPartition(topic, partition, before)]).values():
            done.result(30)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with its records."""
        admin = self.admin()
        for done in admin.delete_topics([topic]).values():
            done.result(30)


@contextmanager
def forbidden(kafka: Kafka, user: str, *operations: tuple[ResourceType, str, AclOperation]) -> Iterator[None]:
    """Forbid a user some operations inside the block, each on a resource; `*` is all of a type."""
    admin = kafka.admin()

    def rules(who: str, permission: AclPermissionType) -> list[AclBinding]:
        literal = ResourcePatternType.LITERAL
        return [AclBinding(kind, name, literal, who, "*", what, permission) for kind, name, what in operations]

    # With any rule on a resource, others would be refused what no rule allows them.
    made = rules(f"User:{user}", AclPermissionType.DENY) + rules("User:*", AclPermissionType.ALLOW)
    for done in admin.create_acls(made).values():
        done.result(30)
    try:
        yield
    finally:
        filters = [
            AclBindingFilter(
                each.restype,
                each.name,
                each.resource_pattern_type,
                each.principal,
                each.host,
                each.operation,
                each.permission_type,
            )
            for each in made
        ]
        for gone in admin.delete_acls(filters).values():
            gone.result(30)


def main(arguments: list[str] | None = None) -> int:
    """Run a development broker until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.kafka", description=main.__doc__)
    parser.add_argument("--port", type=int, default=DEVELOPMENT_PORT, help="of 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--topic", default=DEVELOPMENT_TOPIC, help="created when missing (default: %(default)s)")
    parser.add_argument("--partitions", type=int, default=4, help="of that topic (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if listening(chosen.port):
        print(f"Port {chosen.port} is taken; choose another with --port.", file=sys.stderr)
        return 1
    print("Starting Kafka; the first time, Maven fetches its jars ...", flush=True)
    try:
        with Kafka(chosen.port, maven.cache() / "kafka-dev") as kafka:
            if chosen.topic not in kafka.admin().list_topics(timeout=10).topics:
                kafka.create_topic(chosen.topic, chosen.partitions)
            flags = "" if chosen.port == DEVELOPMENT_PORT else f" --brokers {kafka.brokers}"
            flags += "" if chosen.topic == DEVELOPMENT_TOPIC else f" --topic {chosen.topic}"
            print(
                f"Kafka listens on {kafka.brokers}, with the topic {chosen.topic}. Its data is kept in {kafka.data}.\n"
                f"In another terminal:\n"
                f"    .venv/bin/logweir generate --rate 1000 --to kafka{flags}\n"
                f"    .venv/bin/logweir run flow.yaml\n"
                f"Ctrl-C stops it.",
                flush=True,
            )
            os.waitid(os.P_PID, kafka.pid, os.WEXITED | os.WNOWAIT)
            print(f"Kafka ended by itself; see {kafka.log}", file=sys.stderr)
            return 1
    except maven.ServersUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nKafka is stopped.")
        return 0


if __name__ == "__main__":
    sys.exit(main())
