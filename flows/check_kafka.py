"""librdkafka's settings in a flow file that it refuses: it tells without a broker, by making a client of them.

What it refuses in any surroundings is a finding: a name that it doesn't know, a value that a property can't have. What
depends on the machine, such as a file of certificates that isn't there, is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from logging import NullHandler, getLogger
from typing import Any, NamedTuple

from flows.document import Document, Finding, Path
from flows.sources.kafka import Kafka as KafkaSource
from logweir.librdkafka import teller
from logweir.settings import nearest
from sinks.settings import CommonDestination

_PROPERTY = re.compile(r"configuration property", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]*)"|`([^`]*)`')
_QUIET = getLogger("logweir.check.librdkafka")
_QUIET.addHandler(NullHandler())
_QUIET.propagate = False
_PLACE = ("bootstrap.servers", "client.id")
"""Without the brokers no client tries to reach them."""


class _Use(NamedTuple):
    """Settings, where they stand, and what clients are made of them."""

    path: Path
    given: Mapping[str, Any]
    plain: dict[str, Any]
    consumes: bool
    produces: bool


def refused_settings(document: Document, flow: Any) -> list[Finding]:
    """Return a finding for each setting that librdkafka refuses wherever it runs."""
    return [document.find(path, said, key=key) for path, said, key, sure in _refused(flow) if sure]


def doubtful_settings(document: Document, flow: Any) -> list[Finding]:
    """Return a warning for settings that librdkafka refuses on this machine."""
    return [
        document.find(path, f"librdkafka refuses it here: {said}", warning=True, key=True)
        for path, said, _, sure in _refused(flow)
        if not sure
    ]


def _uses(flow: Any) -> Iterator[_Use]:
    source = flow.source
    if isinstance(source, KafkaSource) and source.settings:
        dead = flow.dead_letter.topic_prefix is not None
        yield _Use(("source", "settings"), source.settings, source.librdkafka(), consumes=True, produces=dead)
    destinations: Mapping[str, CommonDestination] = flow.destinations
    for name, each in destinations.items():
        given = getattr(each, "settings", None)
        if getattr(each, "type", "") == "kafka" and given:
            plain = each.librdkafka()  # type: ignore[attr-defined]  # its type says that it is Kafka's
            yield _Use(("destinations", name, "settings"), given, plain, consumes=False, produces=True)


def _refused(flow: Any) -> Iterator[tuple[Path, str, bool, bool]]:
    """Yield the place of each refused setting, why, whether its name is wrong, and whether it is so anywhere."""
    for use in _uses(flow):
        plain = {name: value for name, value in use.plain.items() if name not in _PLACE}
        said = teller(use.given)
        seen: set[str] = set()
        for make in _clients(use):
            left = dict(plain)
            while (error := make(left)) is not None:
                text = said(error)
                quoted = [first or second for first, second in _QUOTED.findall(error.str())]
                culprit = next((each for each in reversed([*left, *quoted]) if each in left and each in text), None)
                # Which kind of client says so first doesn't matter.
                text = text.partition("Failed to create ")[2].partition(": ")[2] or text
                if text not in seen:
                    seen.add(text)
                    unknown = "No such configuration property" in text
                    place = use.path if culprit is None else (*use.path, culprit)
                    hint = nearest(culprit, _KNOWN) if unknown and culprit is not None else ""
                    yield place, text + hint, unknown or culprit is None, _PROPERTY.search(text) is not None
                if culprit is None:
                    break
                del left[culprit]


def _clients(use: _Use) -> Iterator[Callable[[dict[str, Any]], Any]]:
    from confluent_kafka import Consumer, KafkaException, Producer

    def tried(kind: Any, more: Mapping[str, Any]) -> Callable[[dict[str, Any]], Any]:
        def make(settings: dict[str, Any]) -> Any:
            try:
                kind({**settings, **more})
            except KafkaException as error:
                return error.args[0]
            return None

        return make

    if use.consumes:
        yield tried(Consumer, {"group.id": "logweir", "logger": _QUIET})
    if use.produces:
        yield tried(Producer, {"enable.idempotence": True, "logger": _QUIET})


_KNOWN = (
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.kerberos.service.name",
    "sasl.kerberos.principal",
    "sasl.kerberos.keytab",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "client.id",
    "client.rack",
    "isolation.level",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "max.partition.fetch.bytes",
    "queued.max.messages.kbytes",
    "session.timeout.ms",
    "socket.timeout.ms",
    "socket.keepalive.enable",
    "message.timeout.ms",
    "message.max.bytes",
    "linger.ms",
    "batch.size",
    "partitioner",
    "reconnect.backoff.max.ms",
    "topic.metadata.refresh.interval.ms",
    "allow.auto.create.topics",
    "statistics.interval.ms",
    "debug",
)
"""Settings that are often set, for a hint at a name that is misspelt."""
