"""An archive in a flow: beside its destinations, through kills, and after limits."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from xxhash import xxh3_64_hexdigest

from tests import archiving
from tests.flowing import Running
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka


@pytest.mark.kafka
def test_kills_lose_nothing_and_add_nothing_twice(kafka: Kafka, tmp_path: Path) -> None:
    """A flow whose worker and supervisor are killed leaves each record in the table once, readable at any moment."""
    found = archiving.crash(kafka, tmp_path, kills=2, rate=2000, longest=0.5)
    assert found.reads


@pytest.mark.kafka
def test_what_a_limit_lets_pass(kafka: Kafka, tmp_path: Path) -> None:
    """An archive of what is kept has exactly what the rules let pass, whatever the order of a limit's answers."""
    archiving.limited(kafka, tmp_path, 5000, "--workers", "2")


@pytest.mark.parametrize("takes", ["source", "kept"])
def test_beside_a_destination(tmp_path: Path, takes: str) -> None:
    """In one dataflow with others an archive of all gets what the rules drop, one of what is kept doesn't."""
    flow = {
        "name": "beside",
        "source": {"type": "generate", "count": 20_000, "rate": 0},
        "rules": [{"name": "Errors alone", "type": "level", "levels": ["error", "fatal"]}],
        "destinations": {"out": {"type": "file", "path": str(tmp_path / "out.ndjson")}},
        "retention": {"archive": {"path": str(tmp_path / "archive"), "from": takes}},
        "dead_letter": {"directory": str(tmp_path / "dead")},
        "recovery": {"directory": str(tmp_path / "recovery")},
        "status": {"listen": "127.0.0.1:0"},
    }
    path = tmp_path / "flow.yaml"
    path.write_text(json.dumps(flow))
    with Running(path) as running:
        assert running.process.wait(60) == 0
        running._reader.join(10)
    ledgers = running.ledgers()
    lines = (tmp_path / "out.ndjson").read_bytes().splitlines()
    stored = pl.scan_delta(str(tmp_path / "archive")).sort("offset").collect()
    kept = [raw for raw, level in zip(stored["raw"], stored["level"], strict=True) if level in {"error", "fatal"}]
    assert lines == kept
    assert ledgers["out"].dropped["Errors alone"] == 20_000 - len(lines)
    assert ledgers["archive"].dropped["Errors alone"] == (0 if takes == "source" else 20_000 - len(lines))
    assert ledgers["archive"].delivered == len(stored) == (20_000 if takes == "source" else len(lines))


@pytest.mark.parametrize("hidden", [[], ["user.email"]], ids=["as it was read", "redacted"])
def test_it_keeps_who_a_record_is(tmp_path: Path, elastic: FakeElastic, hidden: list[str]) -> None:
    """A row tells the identity by which a destination knows the record, also where redaction has changed its bytes."""
    lines = [
        '{"id":"o1","user":{"email":"a@example.org"}}',
        '{"id":"o1","user":{"email":"b@example.org"}}',
        '{"id":"o2"}',
        '  {"id":"o3","user":{"email":"c@example.org"}}',
    ]
    (tmp_path / "in.ndjson").write_text("".join(f"{line}\n" for line in lines))
    flow = {
        "name": "same",
        "source": {"type": "file", "path": str(tmp_path / "in.ndjson"), "follow": False},
        "destinations": {"search": {"type": "elasticsearch", "url": elastic.url, "index": "logs"}},
        "retention": {"archive": {"path": str(tmp_path / "archive")}},
        "dead_letter": {"directory": str(tmp_path / "dead")},
        "recovery": {"directory": str(tmp_path / "recovery")},
        "status": {"listen": "127.0.0.1:0"},
        **({"redact": {"fields": hidden}} if hidden else {}),
    }
    path = tmp_path / "flow.yaml"
    path.write_text(json.dumps(flow))
    with Running(path) as running:
        assert running.process.wait(60) == 0
    stored = pl.scan_delta(str(tmp_path / "archive")).collect()
    known = {
        f"{own}-{digest or xxh3_64_hexdigest(raw)}"
        for own, digest, raw in zip(stored["id"], stored["digest"], stored["raw"], strict=True)
    }
    assert known == {identity for _, identity in elastic.taken}
    assert len(known) == len(lines)
    assert (b"example.org" in b"".join(stored["raw"])) == (not hidden)
