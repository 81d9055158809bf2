import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from flows.config import Flow, LoadedFlow, load
from flows.schema import flow_schema
from flows.show import MASK, show
from flows.sources import SOURCES, load_source
from logweir.errors import ConfigError
from operators.rule_models import LevelRule
from sinks import SINKS, load_sink
from sinks.elasticsearch import Elasticsearch

DATA = Path(__file__).parent / "data"
MINIMAL = "name: a\nsource: {type: stdin}\ndestinations:\n  out: {type: console}\n"
KAFKA = (
    "name: a\nsource: {type: kafka, brokers: [b:9092], topics: [t], group: g}\ndestinations:\n  out: {type: console}\n"
)


def findings(text: str, environment: dict[str, str] | None = None) -> list[str]:
    """Return all that is wrong with a flow."""
    with pytest.raises(ConfigError) as caught:
        load(text, environment=environment or {})
    return caught.value.findings


def loaded(text: str, environment: dict[str, str] | None = None) -> Flow:
    """Return the flow of a valid text."""
    return load(text, environment=environment or {}).flow


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "INDEX", "USERNAME", "PASSWORD", "API_KEY"):
        monkeypatch.delenv(f"ELASTIC_{name}", raising=False)


def test_defaults() -> None:
    """What is left out has the documented default."""
    flow = loaded(MINIMAL)
    assert flow.rules == []
    assert flow.isolation == "none"
    assert flow.dead_letter.directory == "./dead-letter"
    assert flow.recovery.interval == 10
    assert flow.status.listen == "127.0.0.1:8080"
    assert (flow.max_in_flight, flow.stop_timeout) == (16_000_000, 25)
    destination = flow.destinations["out"]
    assert (destination.batch.max_records, destination.batch.max_bytes, destination.batch.flush_interval) == (
        5000,
        10**6,
        5,
    )
    assert (destination.retry.max_retries, destination.retry.backoff, destination.retry.max_backoff) == (3, 1, 30)
    assert (destination.on_failure, destination.concurrency, destination.partitions) == ("hold", 4, 1)


def test_defaults_with_kafka() -> None:
    """With a Kafka source each destination is isolated, and dead letters go to topics."""
    flow = loaded(KAFKA)
    assert flow.isolation == "destination"
    assert flow.dead_letter.topic_prefix == "dead."
    assert loaded(KAFKA + "dead_letter: {directory: d}\nisolation: none\n").dead_letter.directory == "d"


def test_every_finding_at_once() -> None:
    """A file with many faults is answered with all of them, in order, each at its place, with what is allowed."""
    text = (DATA / "faulty.yaml").read_text()
    expected = (DATA / "faulty.findings").read_text().splitlines()
    assert findings(text, {"SECRET": "hunter22222", "RATE": "0.5"}) == expected


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "flow.yaml:1:1: is empty; a flow needs name, source and destinations"),
        ("# nothing\n", "flow.yaml:1:1: is empty; a flow needs name, source and destinations"),
        ("- a\n", "flow.yaml:1:1: must be a mapping of names to values"),
        (MINIMAL + "isolation: destination\n", "must be none with a source of type stdin, which is read only once"),
        (MINIMAL.replace("console}", "console, enabled: false}"), ": none is enabled; a flow needs one to deliver to"),
        (MINIMAL.replace("{type: stdin}", "{typ: stdin}"), "`type` is required, one of file, generate, kafka, stdin"),
        (MINIMAL + "dead_letter: {}\n", "needs either topic_prefix or directory, and not both"),
        (MINIMAL + "max_in_flight: 0\n", "max_in_flight: must be greater than 0"),
        (MINIMAL + "max_in_flight: 1 mb\n", "must be a size such as 500KB, 1MB or 16MiB"),
        (MINIMAL + "retain: {}\n", "retain: unknown setting"),
        (
            "name: 5" + MINIMAL[7:],
            "flow.yaml:1:7: name: must be text (quote it if it looks like a number or a boolean)",
        ),
    ],
)
def test_single_findings(text: str, finding: str) -> None:
    """Each mistake is answered with what is allowed."""
    found = findings(text)
    assert len(found) == 1
    assert finding in found[0]


@pytest.mark.parametrize(
    ("brokers", "topic", "more", "circle"),
    [
        ("b:9092", "logs", "", True),
        ("other:9092, b:9092", "logs", "", True),
        ("other:9092", "logs", "", False),
        ("b:9092", "copy", "", False),
        ("b:9092", "logs", "enabled: false", False),
    ],
)
def test_a_topic_that_is_read_is_not_written(brokers: str, topic: str, more: str, circle: bool) -> None:
    """A destination that would feed the flow's own source is a finding at its topic."""
    text = (
        "name: a\nsource: {type: kafka, brokers: ['b:9092'], topics: [audit, logs]}\ndestinations:\n"
        f"  screen: {{type: console}}\n  out: {{type: kafka, brokers: [{brokers}], topic: {topic}, {more}}}\n"
    )
    expected = "is a topic that the source reads, so its records would go round for ever; write to another"
    if circle:
        assert [each.partition(": ")[2] for each in findings(text)] == [f"destinations.out.topic: {expected}"]
    else:
        loaded(text)


@pytest.mark.parametrize(
    ("topics", "more", "circle"),
    [
        ("[logs, dead.out]", "", "out"),
        ("[dead.out]", "dead_letter: {topic_prefix: dead.}", "out"),
        ("[lost.out]", "dead_letter: {topic_prefix: lost.}", "out"),
        ("[dead.archive]", "retention: {archive: ./archive}", "archive"),
        ("[dead.out]", "dead_letter: {topic_prefix: lost.}", ""),
        ("[dead.out]", "dead_letter: {directory: ./dead}", ""),
        ("[dead.off]", "", ""),
        ("[dead.other]", "", ""),
        ("['^dead']", "", ""),
    ],
)
def test_own_dead_letters_are_not_read(topics: str, more: str, circle: str) -> None:
    """A source that would read the flow's own dead letters is a finding; another flow's may be read."""
    text = (
        f"name: a\nsource: {{type: kafka, brokers: ['b:9092'], topics: {topics}}}\ndestinations:\n"
        f"  out: {{type: console}}\n  off: {{type: file, path: x, enabled: false}}\n{more}\n"
    )
    if circle:
        [found] = findings(text)
        assert "source.topics" in found
        assert f"is the topic of this flow's own dead letters for {circle}" in found
    else:
        loaded(text)


def test_a_destination_among_the_dead_letters() -> None:
    """A destination that writes to the topic of dead letters is a finding."""
    text = (
        "name: a\nsource: {type: kafka, brokers: ['b:9092'], topics: [logs]}\ndestinations:\n"
        "  out: {type: kafka, brokers: ['b:9092'], topic: dead.out}\n"
    )
    [found] = findings(text)
    assert "is the topic of the dead letters of out" in found


def test_missing_at_the_parent() -> None:
    """What is missing is told at the mapping that misses it."""
    assert findings("name: a\n") == [
        "flow.yaml:1:1: `destinations` is required",
        "flow.yaml:1:1: `source` is required",
    ]


def test_values_from_variables() -> None:
    """Text from a variable becomes a number, a boolean, a size or a duration where one is wanted, else stays text."""
    text = (
        "name: ${NAME}\nsource: {type: stdin}\nstop_timeout: ${FIVE}\nmax_in_flight: ${SIZE}\n"
        "rules:\n  - {name: '${FIVE}', type: sample, sample_rate: '${RATE}', enabled: '${OFF}', priority: '${FIVE}'}\n"
        "destinations:\n  out:\n    type: ${TYPE}\n    url: http://x\n    index: ${FIVE}\n    compression: ${OFF}\n"
        "    concurrency: ${FIVE}\n    batch: {flush_interval: '${WAIT}'}\n"
    )
    environment = {"NAME": "a", "FIVE": "5", "RATE": "0.5", "OFF": "false", "SIZE": "1MB", "WAIT": "1m"}
    flow = loaded(text, environment | {"TYPE": "elasticsearch"})
    rule, out = flow.rules[0], flow.destinations["out"]
    assert (flow.stop_timeout, flow.max_in_flight) == (5, 1_000_000)
    assert (rule.name, rule.enabled, rule.priority) == ("5", False, 5)
    assert isinstance(out, Elasticsearch)
    assert (out.index, out.compression, out.concurrency, out.batch.flush_interval) == ("5", False, 5, 60)


@pytest.mark.parametrize("value", ["yes", "1", "True", "hunter2", ""])
def test_a_variable_is_no_boolean(value: str) -> None:
    """Of a variable's text too, only true and false are booleans."""
    found = findings(MINIMAL.replace("console}", "console, enabled: '${V}'}"), {"V": value})
    assert found == ["flow.yaml:4:33: destinations.out.enabled: must be true or false"]


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is left out is read from its usual variable; one that is written wins."""
    monkeypatch.setenv("ELASTIC_URL", "http://from-environment")
    monkeypatch.setenv("ELASTIC_INDEX", "from-environment")
    monkeypatch.setenv("ELASTIC_API_KEY", "key")
    out = loaded(MINIMAL.replace("{type: console}", "{type: elasticsearch, index: written}")).destinations["out"]
    assert isinstance(out, Elasticsearch)
    assert (out.url, out.index) == ("http://from-environment", "written")
    assert out.api_key is not None
    assert out.api_key.get_secret_value() == "key"


def test_rules_of_a_destination() -> None:
    """A destination's own rules are real rules, apart from those of the flow."""
    own = "rules: [{name: own, type: level, levels: [info], priority: 5}]"
    flow = loaded(
        MINIMAL.replace("console}", f"console, {own}}}") + "rules:\n  - {name: r, type: sample, sample_rate: 1}\n"
    )
    assert [rule.name for rule in flow.rules] == ["r"]
    assert [rule.name for rule in flow.own_rules("out")] == ["own"]
    assert isinstance(flow.own_rules("out")[0], LevelRule)


PLANTED = "pl4nted-s3cret-value"


def test_secrets_in_findings() -> None:
    """Wherever a variable stands, and however wrong its value is there, no finding shows it."""
    everywhere = (DATA / "secret-everywhere.yaml").read_text()
    for secret in (PLANTED, f"http://user:{PLANTED}@host:99999/", f"\n{PLANTED}\n"):
        text = "\n".join(findings(everywhere, {"S": secret}))
        assert PLANTED not in text
        assert PLANTED[:8] not in text


def test_secrets_in_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow that is shown masks secrets, passwords in URLs and librdkafka's secret settings."""
    monkeypatch.setenv("ELASTIC_API_KEY", PLANTED)
    secrets = (
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
        "ssl.keystore.password",
    )
    settings = ", ".join(f"{name}: {PLANTED}" for name in secrets)
    flow = loaded(
        f"name: a\nsource:\n  type: kafka\n  brokers: [b:9092]\n  topics: [t]\n  group: g\n"
        f"  settings: {{{settings}, ssl.key.location: /key, sasl.username: me}}\n"
        "destinations:\n"
        f"  a: {{type: elasticsearch, url: 'https://me:{PLANTED}@host/p?api_key={PLANTED}&x=1', api_key: null}}\n"
        f"  b: {{type: elasticsearch, url: 'https://host', username: me, password: {PLANTED}, api_key: null}}\n"
    )
    shown = show(flow)
    assert PLANTED not in json.dumps(shown)
    assert PLANTED not in repr(flow.destinations["b"])
    assert shown["source"]["settings"]["sasl.password"] == MASK
    assert shown["destinations"]["a"]["url"] == f"https://host/p?api_key={MASK}&x=1"
    assert shown["destinations"]["b"]["username"] == "me"


def test_show_keeps_every_setting() -> None:
    """What is shown has the settings of each type, the rules of a destination too."""
    shown = show(loaded(MINIMAL.replace("console}", "console, rules: [{name: r, type: level, levels: [warning]}]}")))
    assert shown["source"]["type"] == "stdin"
    assert shown["destinations"]["out"]["rules"][0]["levels"] == ["warn"]


def test_pickle() -> None:
    """A loaded flow can be handed to another process."""
    once: LoadedFlow = load(KAFKA, environment={})
    again = pickle.loads(pickle.dumps(once))
    assert again.flow == once.flow
    assert again.document.values == once.document.values


def test_unreadable_file(tmp_path: Path) -> None:
    """A file that is missing or a directory is a finding that names it."""
    with pytest.raises(ConfigError, match=r"no\.yaml: can't be read: No such file"):
        load(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(tmp_path)


def _models(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    if model not in seen:
        seen.add(model)
        for field in model.model_fields.values():
            for each in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(each, type) and issubclass(each, BaseModel):
                    _models(each, seen)
    return seen


def test_every_setting_has_a_description() -> None:
    """No setting of any model is without a description; `type` may be, since its one value says it."""
    seen: set[type[BaseModel]] = set()
    _models(Flow, seen)
    for name in SOURCES:
        _models(load_source(name), seen)
    for name in SINKS:
        _models(load_sink(name), seen)
    missing = [
        f"{model.__name__}.{name}"
        for model in seen
        for name, field in model.model_fields.items()
        if not field.description and name != "type"
    ]
    assert missing == []
    definitions = flow_schema()["$defs"].values()
    assert [each["title"] for each in definitions if "properties" in each and not each.get("description")] == []


FRAGMENTS = st.sampled_from(
    [
        "name: a\n",
        "source: {type: stdin}\n",
        "source:\n  type: file\n",
        "source: [1]\n",
        "rules:\n",
        "rules: {}\n",
        "  - {name: r, type: level, levels: [info]}\n",
        "  - {name: r, type: field, field: x}\n",
        "  - 5\n",
        "  - {type: [x]}\n",
        "destinations:\n",
        "  out:\n",
        "    type: console\n",
        "    type: elasticsearch\n",
        "    batch: 5\n",
        "    rules: [{}]\n",
        "  out: {type: {}}\n",
        "isolation: ${V}\n",
        "? [x]\n",
        "    enabled: ${V}\n",
        "dead_letter: []\n",
        "1: 2\n",
        "~\n",
    ]
)


@settings(deadline=None)
@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_any_flow(text: str) -> None:
    """Whatever YAML is given as a flow, it loads, or every finding has a place; nothing else is raised."""
    try:
        load(text, environment={"V": "none"})
    except ConfigError as error:
        for finding in error.findings:
            line, column = finding.split(":")[1:3]
            assert int(line) >= 1
            assert int(column) >= 1
