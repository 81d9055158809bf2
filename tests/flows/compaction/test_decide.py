"""The policies of today, asked about what is in the archive: the same answer as when it was written."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from flows.compaction.decide import Decider
from operators.formats import ECS, LOGWEIR, PINO, TEXT, Format
from tests.flows.compaction.support import record
from tests.sinks.archive_support import configured, writer

CONDITION = {"field": "performance.duration", "operator": "gt", "value": 100}
POLICIES: dict[str, Any] = {
    "default": "default",
    "none": [],
    "conditions": [
        {"name": "slow", "period": "1y", "conditions": [CONDITION]},
        {"name": "errors", "period": "90d", "levels": ["error"]},
        {"name": "http", "period": "30d", "categories": ["http"], "priority": 5},
    ],
    "a category like JSON": [
        {"name": "five", "period": "1y", "categories": ["5", "true", '["a"]', "null"]},
        {"name": "odd", "period": "30d", "categories": ["?"]},
    ],
    "a condition on one level": [
        {"name": "slow", "period": "1y", "levels": ["warn"], "conditions": [CONDITION]},
        {"name": "all", "period": "30d"},
    ],
}


def records() -> list[bytes]:
    """Return records with all that can stand where policies look."""
    chance = random.Random(7)
    levels: list[Any] = ["info", "WARNING", "error", 50, None, ["error"], "nonsense", True]
    categories = ["http", "workflow", "security", 5, "5", True, ["a"], '["a"]', None, "?", "", "null"]
    durations = [1, 100, 101, 1e9, "101", None]
    return [
        record(
            number,
            level=chance.choice(levels),
            category=chance.choice(categories),
            performance={"duration": chance.choice(durations)},
        )
        for number in range(500)
    ] + [rb'{"category":"\ud800"}', b"{}"]


@pytest.mark.parametrize("policies", POLICIES.values(), ids=POLICIES)
def test_as_it_was_written(policies: Any, tmp_path: Path) -> None:
    """For each record the decision by columns is the one that the writer has made of the record."""
    settings = configured(tmp_path, policies=policies)
    with writer(settings, tmp_path) as archive:
        rows = archive.destination.columns(archive.batch(records()))
    assert rows is not None
    decider = Decider(settings.retention, LOGWEIR)
    numbers = decider.of(rows.rows)
    assert [decider.classes[number] for number in numbers.to_pylist()] == rows.rows.column("retention").to_pylist()
    assert decider.names.take(numbers).to_pylist() == rows.rows.column("policy").to_pylist()
    assert decider.looks == (policies not in ("default", []))
    for retention in set(rows.rows.column("retention").to_pylist()):
        some = rows.rows.filter(pc.equal(rows.rows.column("retention"), retention))
        assert not decider.misplaced(some, decider.of(some), retention)
        assert decider.misplaced(some, decider.of(some), "99d")


def test_another_policy_of_the_same_class(tmp_path: Path) -> None:
    """A record whose policy is called otherwise now is misplaced too, and so is one that has none any more."""
    settings = configured(tmp_path, policies=[{"name": "old", "period": "30d", "levels": ["info"]}])
    with writer(settings, tmp_path) as archive:
        part = archive.destination.columns(archive.batch([record(1), record(2)]))
    assert part is not None
    renamed = Decider(configured(tmp_path, policies=[{"name": "new", "period": "30d"}]).retention, LOGWEIR)
    assert renamed.misplaced(part.rows, renamed.of(part.rows), "30d")
    none = Decider(configured(tmp_path, policies=[], default_period="30d").retention, LOGWEIR)
    assert none.misplaced(part.rows, none.of(part.rows), "30d")


@pytest.mark.parametrize(
    ("layout", "value"),
    [
        (ECS, b'{"log.level":"error","event":{"duration":200000000000}}'),
        (PINO, b'{"level":50,"responseTime":200}'),
        (TEXT, b'{"message":"a line","timestamp":"2026-01-01T00:00:00Z","performance":{"duration":200}}'),
    ],
)
def test_formats(layout: Format, value: bytes, tmp_path: Path) -> None:
    """Records of other programs are read as they were; lines of text are records already."""
    settings = configured(tmp_path, layout=layout, policies=POLICIES["conditions"])
    decider = Decider(settings.retention, layout)
    level = pa.array(["error"])
    rows = pa.record_batch(
        {"level": level, "category": pa.nulls(1, pa.string()), "policy": level, "raw": pa.array([value])}
    )
    assert decider.names.take(decider.of(rows)).to_pylist() == ["slow"]


def test_what_is_no_record(tmp_path: Path) -> None:
    """What another program has put there, and is no record, stays where it is."""
    decider = Decider(configured(tmp_path, policies=POLICIES["conditions"]).retention, LOGWEIR)
    raw = pa.array(
        [b"nonsense", None, b'{"performance":{"duration":200}}', b'{"performance":{"duration":2}}'], pa.binary()
    )
    none = pa.nulls(4, pa.string())
    rows = pa.record_batch({"level": none, "category": none, "policy": pa.array(["x", None, "slow", None]), "raw": raw})
    numbers = decider.of(rows)
    assert decider.names.take(numbers).to_pylist() == [None, None, "slow", None]
    assert numbers.null_count == 2
    assert not decider.misplaced(rows.slice(0, 2), numbers.slice(0, 2), "30d")


def test_fingerprint(tmp_path: Path) -> None:
    """It changes with what decides and with nothing else, and is the same in every process."""

    def of(layout: Format = LOGWEIR, **changes: Any) -> str:
        return Decider(configured(tmp_path, **changes).retention, layout).fingerprint

    assert of() == of(policies="default") == of(ECS)
    assert of() != of(default_period="8d")
    conditions = POLICIES["conditions"]
    assert of(policies=conditions) == of(policies=[*conditions, {"name": "x", "period": "1d", "enabled": False}])
    assert len({of(policies=conditions), of(ECS, policies=conditions), of(policies=conditions[:2])}) == 3
    assert of(ECS, policies=conditions) == "e415a8e097de323a"
