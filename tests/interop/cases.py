"""Which destination goes to which server, with which settings, and how what is there is read back."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import zstandard
from confluent_kafka import Consumer, TopicPartition
from pydantic import TypeAdapter

from sinks.file import File
from sinks.http_endpoint import HttpEndpoint
from sinks.settings import CommonDestination
from tests.interop.servers import ACCESS_KEY, SECRET_KEY, Collector, Gateway, VictoriaLogs
from tests.servers.kafka import Kafka
from tests.servers.opensearch import OpenSearch
from tests.sinks import (
    elasticsearch_support,
    otlp_support,
    test_cloudwatch,
    test_datadog,
    test_kafka,
    test_loki,
    test_s3,
    test_splunk,
)


class There(NamedTuple):
    """What a server has of a record."""

    number: int
    message: str


class Running(NamedTuple):
    """A server that a case has started."""

    settings: CommonDestination
    read: Callable[[], list[There]]


class Case(NamedTuple):
    """A row of the table."""

    destination: str
    server: str
    variant: str
    start: Callable[[Path], AbstractContextManager[Running]]
    texts: bool = False
    """Whether the server takes texts alone."""

    def __str__(self) -> str:
        return f"{self.destination}, {self.server}, {self.variant}"


def _plain(row: dict[str, str]) -> There:
    return There(int(row["n"]), row["_msg"])


def _of_line(row: dict[str, str]) -> There:
    return There(int(row["n"]), row["message"])


def _of_event(row: dict[str, str]) -> There:
    return There(int(row["event.n"]), row["_msg"])


def _victoria(
    make: Callable[[str], CommonDestination], row: Callable[[dict[str, str]], There]
) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        del folder
        with VictoriaLogs() as server:
            yield Running(make(server.url), lambda: [row(each) for each in server.rows()])

    return start


def _collector(**changes: Any) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        del folder
        with Collector() as server:

            def read() -> list[There]:
                found = []
                for record in server.records():
                    attributes = {each["key"]: each["value"] for each in record["attributes"]}
                    found.append(There(int(attributes["n"]["intValue"]), record["body"]["stringValue"]))
                return found

            yield Running(otlp_support.configured(server.url, **changes), read)

    return start


_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.decompress,
    "zst": zstandard.ZstdDecompressor().decompress,
    "ndjson": bytes,
}


def _s3(url: str, **changes: Any) -> Running:
    """Return a bucket, made by boto3 and read by it."""
    import boto3

    given = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "bucket": f"interop-{uuid4().hex[:8]}"}
    settings = test_s3.configured(url, **given, region="us-east-1", **changes)
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    client.create_bucket(Bucket=settings.bucket)

    def read() -> list[There]:
        found = []
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=settings.bucket):
            for each in page.get("Contents", ()):
                body = client.get_object(Bucket=settings.bucket, Key=each["Key"])["Body"].read()
                found += _lines(_UNPACK[each["Key"].rpartition(".")[2]](body).splitlines())
        return found

    return Running(settings, read)


def _gateway(**changes: Any) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        del folder
        with Gateway() as server:
            yield _s3(server.url, **changes)

    return start


@contextmanager
def _moto() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@contextmanager
def _moto_s3(folder: Path) -> Iterator[Running]:
    del folder
    with _moto() as url:
        yield _s3(url)


@contextmanager
def _moto_cloudwatch(folder: Path) -> Iterator[Running]:
    import boto3

    del folder
    with _moto() as url:
        settings = test_cloudwatch.configured(url, create=True)
        client = boto3.client(
            "logs",
            endpoint_url=url,
            region_name=settings.region,
            aws_access_key_id="x",
            aws_secret_access_key="y",
        )

        def read() -> list[There]:
            names = {"logGroupName": settings.log_group, "logStreamName": settings.log_stream, "startFromHead": True}
            found, token = [], None
            while True:
                page = client.get_log_events(**names, **({"nextToken": token} if token else {}))
                found += _lines([event["message"].encode() for event in page["events"]])
                if page["nextForwardToken"] == token:
                    return found
                token = page["nextForwardToken"]

        yield Running(settings, read)


def _opensearch(**changes: Any) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        del folder
        with OpenSearch() as server:

            def read() -> list[There]:
                server.request("POST", "/logs*/_refresh")
                asked: dict[str, Any] = {"size": 10_000, "sort": ["n"], "query": {"match_all": {}}}
                found: list[There] = []
                while hits := server.request("POST", "/logs*/_search", asked)["hits"]["hits"]:
                    found += [There(hit["_source"]["n"], hit["_source"]["message"]) for hit in hits]
                    asked["search_after"] = hits[-1]["sort"]
                return found

            yield Running(elasticsearch_support.configured(url=server.url, compression=True, **changes), read)

    return start


def _kafka(**changes: Any) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        del folder
        with Kafka() as server, ExitStack() as stack:
            topic = f"interop-{uuid4().hex[:8]}"
            server.create_topic(topic)
            reader = Consumer({"bootstrap.servers": server.brokers, "group.id": topic, "log_level": 0})
            stack.callback(reader.close)

            def read() -> list[There]:
                reader.assign([TopicPartition(topic, 0, 0)])
                end = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1]
                values: list[bytes] = []
                while len(values) < end:
                    values += [each.value() or b"" for each in reader.consume(1000, 1) if each.error() is None]
                return _lines(values)

            yield Running(test_kafka.configured(server.brokers, topic, settings={}, **changes), read)

    return start


@contextmanager
def _file(folder: Path) -> Iterator[Running]:
    path = folder / "out.ndjson"
    settings = File.model_validate({"type": "file", "path": str(path)})
    yield Running(settings, lambda: _lines(path.read_bytes().splitlines()))


def _lines(lines: list[bytes]) -> list[There]:
    return [There(record["n"], record["message"]) for record in map(json.loads, lines)]


def _elastic(url: str, **changes: Any) -> CommonDestination:
    params = {"_msg_field": "message", "_time_field": "@timestamp", "_stream_fields": "context.service"}
    return elasticsearch_support.configured(url=f"{url}/insert/elasticsearch", bulk_only=True, params=params, **changes)


def _http(url: str, **changes: Any) -> CommonDestination:
    where = f"{url}/insert/jsonline?_msg_field=message&_time_field=timestamp"
    return TypeAdapter(HttpEndpoint).validate_python({"type": "http", "url": where, **changes})


def _loki(url: str, **changes: Any) -> CommonDestination:
    return test_loki.configured(f"{url}/insert", **changes)


def _datadog(url: str, **changes: Any) -> CommonDestination:
    return test_datadog.configured(f"{url}/insert/datadog", timestamps="milliseconds", **changes)


def _otlp(url: str, **changes: Any) -> CommonDestination:
    return otlp_support.configured(f"{url}/insert/opentelemetry", **changes)


def _variants() -> Iterator[Case]:
    both: dict[str, dict[str, Any]] = {"gzip": {"compression": True}, "plain": {"compression": False}}
    three: dict[str, dict[str, Any]] = {**both, "zstd": {"compression": "zstd"}}
    victoria = "VictoriaLogs"
    for name, how in both.items():
        yield Case("elasticsearch", victoria, name, _victoria(partial(_elastic, **how), _plain))
        yield Case("loki", victoria, name, _victoria(partial(_loki, **how), _of_line))
        yield Case("splunk", victoria, name, _victoria(partial(test_splunk.configured, **how), _of_event))
    for name, how in three.items():
        yield Case("datadog", victoria, name, _victoria(partial(_datadog, **how), _plain), texts=True)
        yield Case("http", victoria, name, _victoria(partial(_http, **how), _plain))
        yield Case("otlp", victoria, f"protobuf, {name}", _victoria(partial(_otlp, **how), _plain))
        for encoding in ("protobuf", "json"):
            collector = _collector(encoding=encoding, **how)
            yield Case("otlp", "OpenTelemetry Collector", f"{encoding}, {name}", collector)
        yield Case("s3", "versitygw", name, _gateway(**how))
    yield Case("elasticsearch", "OpenSearch", "one index", _opensearch())
    yield Case("elasticsearch", "OpenSearch", "by date", _opensearch(index="logs-%Y.%m.%d"))
    yield Case("elasticsearch", "OpenSearch", "bulk_only", _opensearch(bulk_only=True))
    yield Case("cloudwatch", "moto", "create", _moto_cloudwatch)
    yield Case("s3", "moto", "gzip", _moto_s3)
    for name in ("lz4", "gzip", "zstd", "snappy"):
        yield Case("kafka", "Apache Kafka", name, _kafka(compression=name))
    yield Case("file", "this machine", "plain", _file)


CASES = sorted(_variants(), key=str)
