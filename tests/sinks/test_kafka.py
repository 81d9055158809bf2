from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AclOperation, ResourceType
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from logweir.head import Head, Headers
from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Records, Retry, TooLarge
from sinks.kafka import RESERVED, Kafka, KafkaDestination
from sinks.kafka_answers import ALONE_TOO_LARGE, Failure, read_failures
from sinks.kafka_lines import Messages
from tests.conftest import start
from tests.flowing import Running, until
from tests.servers.kafka import Kafka as Broker
from tests.servers.kafka import forbidden
from tests.servers.process import free_ports
from tests.sinks.cloud_support import ODD, PATIENCE_SECONDS, engine

QUICK = {"message.timeout.ms": 2000, "topic.metadata.propagation.max.ms": 1000}
"""Failures that take a minute as a rule."""
HOPELESS = {"message.timeout.ms": 500}
"""Where nothing can be delivered anyway."""
NOBODY = "127.0.0.1:9"


def configured(brokers: str = NOBODY, topic: str = "t", **changes: Any) -> Kafka:
    """Return settings as a flow file gives them."""
    given = {"type": "kafka", "brokers": [brokers], "topic": topic, "settings": QUICK}
    return TypeAdapter(Kafka).validate_python({**given, **changes})


def with_login(broker: Broker, topic: str, password: str, user: str = "", **changes: Any) -> Kafka:
    """Return settings of a user who logs in."""
    login = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user or broker.sasl_username,
        "sasl.password": password,
    }
    return configured(broker.sasl_brokers, topic, settings={**QUICK, **login}, **changes)


class Message(NamedTuple):
    """One message of a topic."""

    partition: int
    key: bytes | None
    value: bytes
    headers: Any


def read(broker: Broker, topic: str) -> list[Message]:
    """Return all messages of a topic, in order within each partition."""
    consumer = Consumer({"bootstrap.servers": broker.brokers, "group.id": "reader", "log_level": 0})
    try:
        parts = [
            TopicPartition(topic, each, 0)
            for each in consumer.list_topics(topic, PATIENCE_SECONDS).topics[topic].partitions
        ]
        missing = sum(consumer.get_watermark_offsets(part, timeout=PATIENCE_SECONDS)[1] for part in parts)
        consumer.assign(parts)
        found: list[Message] = []
        while len(found) < missing:
            for each in consumer.consume(missing - len(found), 1):
                assert each.error() is None, each.error()
                found.append(Message(each.partition() or 0, each.key(), each.value() or b"", each.headers() or []))
        return sorted(found, key=lambda message: message.partition)
    finally:
        consumer.close()


def numbers(broker: Broker, topic: str) -> list[int]:
    """Return the numbers of the records in a topic."""
    return [orjson.loads(message.value)["n"] for message in read(broker, topic)]


def records(*span: int, **more: Any) -> list[bytes]:
    """Return records with these numbers."""
    return [orjson.dumps({"n": number, **more}) for number in range(*span)]


def made(broker: Broker, partitions: int = 1, **config: object) -> str:
    """Return the name of a new topic."""
    name = f"out-{uuid4().hex[:8]}"
    broker.create_topic(name, partitions, **config)
    return name


@pytest.fixture(scope="module")
def own() -> Iterator[Broker]:
    """A broker that tests may stop, and that makes no topics by itself."""
    broker = Broker(create=False)
    try:
        start(broker)
        yield broker
    finally:
        broker.close()


class TestSettings:
    @pytest.mark.parametrize("name", RESERVED)
    def test_reserved_settings(self, name: str) -> None:
        """A setting of librdkafka that delivery rests on is refused with what to do instead."""
        with pytest.raises(ValidationError, match=f"`{name}` can't be set here: "):
            configured(settings={name: "x"})

    @pytest.mark.parametrize("changes", [{"topic": "a b"}, {"topic": ".."}, {"brokers": []}, {"compression": "lzma"}])
    def test_what_no_broker_would_take_is_a_finding(self, changes: dict[str, Any]) -> None:
        """What can't work is refused before anything is sent."""
        with pytest.raises(ValidationError):
            configured(**changes)

    def test_a_setting_that_is_none(self, tmp_path: Path) -> None:
        """A name that librdkafka doesn't know holds the records, and the issue says which it is."""
        with engine(configured(settings={"sasl.pasword": "pl4nted"}), tmp_path) as run:
            run.write(*records(1))
            assert run.issue() == 'No such configuration property: "sasl.pasword": check `settings`'
            assert run.destination.probe() == Hold(run.issue())
            assert "pl4nted" not in run.said() + repr(run.destination._settings)  # type: ignore[attr-defined]


class TestEncode:
    @given(st.lists(st.tuples(st.none() | st.text() | st.integers() | st.booleans(), st.text(min_size=1)), min_size=1))
    def test_messages(self, some: list[tuple[Any, str]]) -> None:
        """Whatever keys and ids are, each message has its own: text as it is, anything else as JSON, and nothing."""
        ids = [each for _, each in some]
        columns = Records(records(len(some)), ids, [key for key, _ in some], identities=ids)
        keys = [
            key if key is None else key.encode() if isinstance(key, str) else json.dumps(key).encode()
            for key, _ in some
        ]
        headers: list[Headers] = [[("id", each.encode())] for _, each in some]
        for key, header in (("k", "id"), ("k", None), (None, "id"), (None, None)):
            plain = {"headers": "drop", "timestamp": "now"}
            settings = configured(key=key, id_header=header, **plain)
            taker = KafkaDestination(settings, (lambda each: each) if key else None)
            got = taker.messages(taker.frame(taker.encode(columns)))
            assert got == Messages(columns.values, keys if key else [], [], headers if header else [])

    @given(
        st.lists(
            st.tuples(
                st.none() | st.binary(max_size=8) | st.sampled_from([b"\n", b"\xfe", b"\xff\x02", b"a\nb"]),
                st.lists(st.tuples(st.text(), st.none() | st.binary(max_size=12)), max_size=3),
                st.integers(-1, 1 << 45),
            ),
            min_size=1,
        ),
        st.booleans(),
    )
    def test_what_a_message_has_beside_its_value(self, some: list[tuple[Any, Any, int]], identified: bool) -> None:
        """Any key, headers and timestamp of the source's messages come through a body of lines as they were."""
        heads: list[Any] = [Head(*each) for each in some]
        columns = Records(records(len(some)), identities=[f"i\n{n}" for n in range(len(some))], heads=heads)
        taker = KafkaDestination(configured(id_header="id" if identified else None), None)
        got = taker.messages(taker.frame(taker.encode(columns)))
        own = [[("id", f"i\n{n}".encode())] if identified else [] for n in range(len(some))]
        expected = [[*each[1], *mine] for each, mine in zip(some, own, strict=True)]
        assert got.values == columns.values
        assert got.keys == [key for key, _, _ in some]
        assert got.millis == [millis for _, _, millis in some]
        assert (got.headers or [[]] * len(some)) == expected


@pytest.mark.kafka
class TestDelivery:
    @pytest.mark.parametrize("compression", [True, False, "gzip", "snappy", "zstd"])
    def test_records_arrive_as_they_are(self, kafka: Broker, tmp_path: Path, compression: Any) -> None:
        """Odd records arrive byte for byte and in order, however they are compressed."""
        topic = made(kafka)
        values = [*ODD, *records(3000)]
        with engine(configured(kafka.brokers, topic, compression=compression), tmp_path, concurrency=1) as run:
            run.deliver(*values)
            run.deliver(*ODD)
        assert [message[1:] for message in read(kafka, topic)] == [(None, value, []) for value in [*values, *ODD]]

    def test_keys(self, kafka: Broker, tmp_path: Path) -> None:
        """A key is the field's value; it decides the partition as it does for Kafka's own clients."""
        topic = made(kafka, 4)
        keys: list[Any] = ["foobar", "21", 21, "", "a\nb", {"a": 1}, None]
        values = [orjson.dumps({"n": number, "context": {"user": key}}) for number, key in enumerate(keys * 20)]
        with engine(configured(kafka.brokers, topic, key="context.user", id_header="logweir.id"), tmp_path) as run:
            run.deliver(*values)
        found = read(kafka, topic)
        assert Counter(message.value for message in found) == Counter(values)
        expected = {b"foobar": 1357151166 % 4, b"21": 1173551340 % 4}  # murmur2, by Kafka's own test vectors
        for message in found:
            record = orjson.loads(message.value)
            key = record["context"]["user"]
            sent = key if key is None else key.encode() if isinstance(key, str) else orjson.dumps(key)
            assert message.key == sent
            assert message.headers == [("logweir.id", b"logs-0-%d" % record["n"])]
            assert message.key not in expected or message.partition == expected[message.key]

    def test_the_topics_limit(self, kafka: Broker, tmp_path: Path) -> None:
        """A record that is larger than the topic takes costs itself alone, also where all fit but their batch."""
        topic = made(kafka, max_message_bytes=4000)
        values = records(100, pad="x" * 300)
        values[37] = records(37, 38, pad=uuid4().hex * 500)[0]
        with engine(configured(kafka.brokers, topic, compression=False), tmp_path) as run:
            run.deliver(*values)
        assert sorted(numbers(kafka, topic)) == [number for number in range(100) if number != 37]
        assert [(each["cause"], each["record"].encode()) for each in run.letters()] == [("too large", values[37])]

    @pytest.mark.parametrize("limit", [{"message.max.bytes": 2000}, {"queue.buffering.max.kbytes": 4}])
    def test_the_producers_limit(self, kafka: Broker, tmp_path: Path, limit: dict[str, int]) -> None:
        """A record that the producer itself can't take costs itself alone; a full queue only costs time."""
        topic = made(kafka)
        values = [*records(50), *records(50, 51, pad="x" * 9000), *records(51, 100)]
        with engine(configured(kafka.brokers, topic, settings=limit), tmp_path, concurrency=1) as run:
            run.deliver(*values)
        assert numbers(kafka, topic) == [number for number in range(100) if number != 50]
        assert [(each["cause"], orjson.loads(each["record"])["n"]) for each in run.letters()] == [
            ("record too large", 50)
        ]

    @pytest.mark.parametrize("every", [10, 100])
    def test_a_refused_record(self, kafka: Broker, tmp_path: Path, every: int) -> None:
        """Records that a compacted topic refuses, since they have no key, are set aside; the others are delivered."""
        topic = made(kafka, cleanup_policy="compact")
        values = [orjson.dumps({"n": number, **({"k": "a"} if number % every else {})}) for number in range(100)]
        with engine(configured(kafka.brokers, topic, key="k"), tmp_path) as run:
            run.deliver(*values)
        assert sorted(numbers(kafka, topic)) == [number for number in range(100) if number % every]
        assert sorted(orjson.loads(each["record"])["n"] for each in run.letters()) == list(range(0, 100, every))
        assert {each["cause"] for each in run.letters()} == {"rejected: INVALID_RECORD"}

    def test_many_senders(self, kafka: Broker, tmp_path: Path) -> None:
        """Requests that are sent side by side don't take each other's reports."""
        topic = made(kafka, 3)
        with engine(configured(kafka.brokers, topic), tmp_path, max_records=3, concurrency=8) as run:
            run.deliver(*records(700))
            assert len(run.destination._idle) <= 8  # type: ignore[attr-defined]
        assert sorted(numbers(kafka, topic)) == list(range(700))


@pytest.mark.kafka
class TestTrouble:
    def test_a_wrong_password(self, kafka: Broker, tmp_path: Path) -> None:
        """A refused login holds the records, and names the settings without what they hold."""
        topic = made(kafka)
        settings = with_login(kafka, topic, "pl4nted-wrong")
        settings.settings.update(HOPELESS)
        with engine(settings, tmp_path) as run:
            run.write(*records(10))
            issue = run.issue()
            found = run.destination.probe()
            assert "pl4nted" not in run.said() + repr((settings, found)) + str(settings.model_dump())
        for said in (issue, found.issue if isinstance(found, Hold) else ""):
            assert "uthentication failed" in said
            assert said.endswith(
                "check sasl.mechanism, sasl.username, sasl.password and security.protocol under `settings`"
            )
        assert read(kafka, topic) == []

    def test_a_right_password(self, kafka: Broker, tmp_path: Path) -> None:
        """With the right password the records arrive, and the health is good."""
        topic = made(kafka)
        with engine(with_login(kafka, topic, kafka.sasl_password), tmp_path) as run:
            run.deliver(*records(10))
            assert run.destination.probe() == Delivered()
        assert numbers(kafka, topic) == list(range(10))

    def test_a_topic_that_is_forbidden(self, kafka: Broker, tmp_path: Path) -> None:
        """Without the permission to write the records wait, and are delivered once it is there."""
        topic = made(kafka)
        user = kafka.other_username
        with engine(with_login(kafka, topic, kafka.sasl_password, user), tmp_path) as run:
            with forbidden(kafka, user, (ResourceType.TOPIC, topic, AclOperation.WRITE)):
                run.until(lambda: isinstance(run.destination.probe(), Hold))
                run.write(*records(10))
                assert run.issue().endswith(
                    "allow this user to write to `topic`, or check sasl.username under `settings`"
                )
            run.deliver()
            run.until(lambda: run.destination.probe() == Delivered())
        # A request may have come just as the permission did.
        assert sorted(numbers(kafka, topic)) == list(range(10))

    def test_a_fatal_error(self, kafka: Broker, tmp_path: Path) -> None:
        """When a producer can't go on, as without the permission for any topic, a new one does."""
        topic = made(kafka)
        user = kafka.other_username
        everything = (ResourceType.TOPIC, "*", AclOperation.WRITE)
        idempotent = (ResourceType.BROKER, "kafka-cluster", AclOperation.IDEMPOTENT_WRITE)
        with engine(with_login(kafka, topic, kafka.sasl_password, user), tmp_path) as run:
            with forbidden(kafka, user, everything, idempotent):
                run.until(lambda: isinstance(run.destination.probe(), Hold))
                run.write(*records(10))
                assert "allow this user" in run.issue()
            run.deliver()
        assert numbers(kafka, topic) == list(range(10))

    def test_nobody_listens(self, tmp_path: Path) -> None:
        """Brokers that can't be reached are tried again, and the reason says which they are."""
        with engine(configured(settings={"message.timeout.ms": 500}), tmp_path) as run:
            run.write(*records(1))
            run.until(lambda: run.delivery.stats.retries)
            assert "Connect to ipv4#127.0.0.1:9 failed: Connection refused" in run.said()
            assert "check `brokers`, and security.protocol under `settings`" in run.said()

    def test_a_certificate_that_does_not_verify(self, tmp_path: Path) -> None:
        """A broker whose certificate nobody vouches for holds the records, and the issue names the settings."""
        with _tls_server(tmp_path) as address:
            settings = configured(address, settings={**QUICK, **HOPELESS, "security.protocol": "SSL"})
            with engine(settings, tmp_path) as run:
                run.write(*records(1))
                assert "certificate verify failed" in run.issue()
                assert "check ssl.ca.location and the other ssl.* under `settings`" in run.issue()
                assert isinstance(run.destination.probe(), Hold)

    def test_a_topic_that_is_missing(self, own: Broker, tmp_path: Path) -> None:
        """A topic that doesn't exist holds the records; neither they nor a health check make it."""
        topic = f"later-{uuid4().hex[:8]}"
        with engine(configured(own.brokers, topic), tmp_path) as run:
            found = run.destination.probe()
            assert isinstance(found, Hold)
            assert found.issue.endswith("create it, or check `topic` and `brokers`")
            run.write(*records(10))
            assert run.issue().endswith("create it, or check `topic` and `brokers`")
            own.create_topic(topic)
            run.deliver()
            assert run.destination.probe() == Delivered()
        assert numbers(own, topic) == list(range(10))

    def test_a_health_check_makes_no_topic(self, kafka: Broker, tmp_path: Path) -> None:
        """Where the broker makes topics of itself, asking for one still doesn't."""
        topic = f"never-{uuid4().hex[:8]}"
        with engine(configured(kafka.brokers, topic), tmp_path) as run:
            assert isinstance(run.destination.probe(), Hold)
        assert topic not in kafka.admin().list_topics(timeout=10).topics

    def test_an_outage(self, own: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is sent while the broker is away is written once, when it is back within the producer's time.

        What the client of an idle producer says of brokers that are away is taken from it, so that it doesn't pile up.
        """
        monkeypatch.setattr("sinks.kafka._TEND_SECONDS", 0.1)
        topic, quiet = made(own), made(own)
        with (
            engine(configured(own.brokers, topic, settings={}), tmp_path, concurrency=1) as run,
            engine(configured(own.brokers, quiet), tmp_path) as idle,
        ):
            run.deliver(*records(100))
            idle.deliver(*records(10))
            (producer,) = idle.destination._idle  # type: ignore[attr-defined]
            own.kill()
            try:
                run.write(*records(100, 200))
                idle.until(lambda: producer.troubles.last)
            finally:
                own.start()
            run.deliver(*records(200, 300))
            idle.deliver(*records(10, 20))
            assert run.delivery.stats.retries == 0
        assert numbers(own, topic) == list(range(300))
        assert numbers(own, quiet) == list(range(20))

    def test_a_pause_beyond_the_producers_time(self, own: Broker, tmp_path: Path) -> None:
        """What the producer has given up is sent again, so that nothing is lost."""
        topic = made(own)
        with engine(configured(own.brokers, topic), tmp_path) as run:
            run.deliver(*records(100))
            os.kill(own.pid, signal.SIGSTOP)
            try:
                run.write(*records(100, 200))
                run.until(lambda: run.delivery.stats.retries)
            finally:
                os.kill(own.pid, signal.SIGCONT)
            run.deliver(*records(200, 300))
        assert set(numbers(own, topic)) == set(range(300))


@contextmanager
def _tls_server(folder: Path) -> Iterator[str]:
    """A server with a certificate of its own making, which answers nothing; gives its address."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{port}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


TRANSPORT = Failure("_TRANSPORT", "Connection refused")
TIMED_OUT = Failure("_MSG_TIMED_OUT", "Local: Message timed out")


class TestAnswers:
    @pytest.mark.parametrize(
        ("failed", "trouble", "expected"),
        [
            ({}, None, Delivered),
            ({}, TRANSPORT, Delivered),
            ({0: TIMED_OUT, 1: TIMED_OUT}, None, Retry),
            ({0: TIMED_OUT, 1: TIMED_OUT}, TRANSPORT, Retry),
            ({0: TIMED_OUT, 1: TIMED_OUT}, Failure("_AUTHENTICATION", ""), Hold),
            ({0: TIMED_OUT, 1: TIMED_OUT}, Failure("_SSL", ""), Hold),
            ({0: Failure("_FATAL", ""), 1: Failure("_FATAL", "")}, Failure("OUT_OF_ORDER_SEQUENCE_NUMBER", ""), Retry),
            ({0: Failure("_FATAL", ""), 1: Failure("_FATAL", "")}, Failure("CLUSTER_AUTHORIZATION_FAILED", ""), Hold),
            ({0: Failure("TOPIC_AUTHORIZATION_FAILED", ""), 1: TIMED_OUT}, None, Hold),
            ({0: Failure("_UNKNOWN_TOPIC", ""), 1: Failure("_UNKNOWN_TOPIC", "")}, None, Hold),
            ({0: Failure("_BAD_MSG", ""), 1: Failure("_BAD_MSG", "")}, None, Retry),
            ({0: Failure("NOT_ENOUGH_REPLICAS", ""), 1: Failure("NEW_IN_KAFKA_9", "")}, None, Retry),
            ({0: Failure("MSG_SIZE_TOO_LARGE", ""), 1: Failure("MSG_SIZE_TOO_LARGE", "")}, None, TooLarge),
            ({0: Failure("MSG_SIZE_TOO_LARGE", ""), 1: TIMED_OUT}, None, Retry),
        ],
    )
    def test_whole(self, failed: dict[int, Failure], trouble: Failure | None, expected: type[Outcome]) -> None:
        """A request of which nothing was taken has the outcome of its failures; what isn't known is retried."""
        assert type(read_failures(failed, trouble, 2)) is expected

    def test_in_part(self) -> None:
        """Of a request that was taken in part each record has its own outcome."""
        refused, beside = Failure("INVALID_RECORD", "said"), Failure("_INVALID_DIFFERENT_RECORD", "")
        assert read_failures({1: refused}, None, 3) == Partial({}, (1,), after=0.0)
        assert read_failures({0: beside, 1: refused}, None, 3) == Partial({}, (0, 1), after=0.0)
        for large in (Failure("MSG_SIZE_TOO_LARGE", ""), beside, refused):
            assert read_failures({0: large, 1: refused}, None, 2) == Invalid("rejected: INVALID_RECORD", "said")
        assert read_failures({2: Failure(ALONE_TOO_LARGE, "9 bytes")}, None, 3) == Partial(
            {2: ("record too large", "9 bytes")}
        )
        assert read_failures({2: Failure("MSG_SIZE_TOO_LARGE", "")}, None, 3) == Partial({}, (2,), after=0.0)
        other = Failure("NEW_IN_KAFKA_9", "")
        assert read_failures({0: other, 1: refused}, None, 3) == Partial({}, (0, 1), "NEW_IN_KAFKA_9: ")
        found = read_failures({0: Failure("_UNKNOWN_PARTITION", "said"), 1: other}, None, 3)
        assert isinstance(found, Partial)
        assert (found.retry, found.reason) == ((0, 1), "")
        assert found.issue.startswith("_UNKNOWN_PARTITION: said: check")


@pytest.mark.kafka
def test_a_flow(kafka: Broker, tmp_path: Path) -> None:
    """A flow reads one topic and writes what passes to another, each record once."""
    topic, copy = made(kafka, 2), made(kafka, 2)
    kafka.produce(topic, [orjson.dumps({"n": n, "level": "info" if n % 2 else "debug"}) for n in range(2000)])
    flow = tmp_path / "flow.yaml"
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": kafka.sasl_username}
    settings = {
        "name": "copy",
        "source": {"type": "kafka", "brokers": [kafka.brokers], "topics": [topic], "group": topic},
        "rules": [{"name": "info", "type": "level", "levels": ["info"]}],
        "destinations": {
            "copy": {
                "type": "kafka",
                "brokers": [kafka.sasl_brokers],
                "topic": copy,
                "settings": {**login, "sasl.password": kafka.sasl_password},
                "batch": {"flush_interval": "100ms"},
            }
        },
        "dead_letter": {"directory": str(tmp_path / "dead")},
        "recovery": {"directory": str(tmp_path / "recovery"), "interval": "500ms"},
        "status": {"listen": "127.0.0.1:0"},
    }
    flow.write_bytes(orjson.dumps(settings))
    with Running(flow) as running:
        until(lambda: len(read(kafka, copy)) >= 1000, "all is there")
        assert running.stop() == 0
    assert sorted(numbers(kafka, copy)) == list(range(1, 2000, 2))
