"""librdkafka's settings that are wrong, told without a broker; patterns of topics; the group of a flow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flows.assigning import planned
from flows.check_kafka import doubtful_settings
from flows.config import LoadedFlow, load
from flows.dead_letters import reads
from logweir.errors import ConfigError


def read(source: dict[str, Any], **destinations: Any) -> LoadedFlow:
    """Return a flow from Kafka."""
    base = {"type": "kafka", "brokers": ["127.0.0.1:1"], "topics": ["logs"], **source}
    return load(json.dumps({"name": "t", "source": base, "destinations": destinations or {"out": {"type": "console"}}}))


def findings(source: dict[str, Any], **destinations: Any) -> list[str]:
    """Return what is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        read(source, **destinations)
    return caught.value.findings


def test_every_wrong_setting_is_named() -> None:
    """Each with its place, also where another one is wrong."""
    wrong = {"security.protocol": "SASL_PLAIN", "sasl.user": "x", "fetch.max.bytes": "many", "client.id": "fine"}
    found = findings({"settings": wrong})
    assert len(found) == 3
    assert 'source.settings.security.protocol: Invalid value "SASL_PLAIN"' in found[0]
    assert "source.settings.sasl.user: No such configuration property" in found[1]
    assert "did you mean `sasl.username`?" in found[1]
    assert "source.settings.fetch.max.bytes: " in found[2]
    assert all(each.startswith("flow.yaml:1:") for each in found)


def test_a_destination_and_dead_letters() -> None:
    """A producer has settings of its own, and one is made of the source's for dead letters."""
    kafka = {"type": "kafka", "brokers": ["127.0.0.1:1"], "topic": "x", "settings": {"batch.size": -4, "linger": 3}}
    found = findings({}, out=kafka)
    assert ["destinations.out.settings.batch.size: " in found[0], "did you mean `linger.ms`?" in found[1]] == [True] * 2
    (found_too,) = findings({"settings": {"max.in.flight.requests.per.connection": 5000000}})
    assert "source.settings.max.in.flight.requests.per.connection: " in found_too


def test_no_secret_is_shown() -> None:
    """Not even one that stands where another value belongs."""
    (found,) = findings({"settings": {"sasl.password": "hunter22hunter22", "sasl.pasword": "hunter22hunter22"}})
    assert "hunter22" not in found


def test_what_depends_on_the_machine_is_a_warning() -> None:
    """A file of certificates may be there where the flow runs."""
    loaded = read({"settings": {"security.protocol": "ssl", "ssl.ca.location": "/nowhere/ca.pem"}})
    (found,) = doubtful_settings(loaded.document, loaded.flow)
    assert found.warning
    assert found.path == "source.settings.ssl.ca.location"


def test_right_settings() -> None:
    """Nothing is said of them."""
    loaded = read(
        {"settings": {"security.protocol": "ssl", "fetch.max.bytes": 1000000, "isolation.level": "read_committed"}}
    )
    assert doubtful_settings(loaded.document, loaded.flow) == []


@pytest.mark.parametrize("topic", ["^lo(gs", "two words", "..", "", "logs*"])
def test_what_is_no_topic(topic: str) -> None:
    """Neither a name nor a pattern."""
    (found,) = findings({"topics": ["logs", topic]})
    assert "source.topics" in found


def test_patterns() -> None:
    """They are for the flow, and for which dead letters are its own."""
    assert read({"topics": ["^logs\\..*", "audit"]}).flow.source.model_dump()["topics"] == ["^logs\\..*", "audit"]
    topics = {"^logs\\..*", "audit"}
    assert [reads(topics, each) for each in ("logs.a", "audit", "audit.b", "xlogs.a")] == [True, True, False, False]


def test_the_group_is_the_flows_name() -> None:
    """So a second flow of the same topic reads it too."""
    assert planned(read({}).flow, ["out"], 1).group == "t.out"
    assert planned(read({"group": "g"}).flow, ["out"], 1).group == "g.out"
    assert "source.group" in findings({"group": ""})[0]
