"""What the page of the archive shows of reading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from logweir.archive_table import columns
from tests.sinks.archive_support import configured, writer
from tests.test_docs import blocks

PAGE = Path(__file__).parents[2] / "docs" / "retention.md"
LEVELS = ("error", "info", "fatal")


def records() -> list[bytes]:
    """Return some records of two days."""
    made = []
    for number in range(60):
        record = {
            "id": str(number),
            "timestamp": f"2026-01-0{1 + number % 2}T00:00:{number:02}Z",
            "level": LEVELS[number % 3],
            "category": "audit" if number % 10 == 0 else "http",
            "message": f"message {number}",
            "context": {"service": "checkout" if number % 4 < 3 else "search"},
        }
        made.append(orjson.dumps(record))
    return made


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Run each block of Python where there is an archive, and return their variables."""
    monkeypatch.chdir(tmp_path)
    with writer(configured("./archive"), tmp_path) as archive:
        archive.deliver(records())
    variables: list[dict[str, Any]] = []
    for text in blocks(PAGE, "python"):
        variables.append({})
        exec(compile(text, str(PAGE), "exec"), variables[-1])
    return variables


def test_reading(found: list[dict[str, Any]]) -> None:
    """Polars, DuckDB and deltalake open the table as the page says, and find what is in it."""
    polars, duckdb, whole, *_ = found
    made = [orjson.loads(record) for record in records()]
    of_day = [each for each in made if each["timestamp"] < "2026-01-02"]
    errors = [each for each in of_day if each["level"] == "error" and each["context"]["service"] == "checkout"]
    assert polars["found"]["message"].to_list() == [each["message"] for each in reversed(errors)]
    services = [each["context"]["service"] for each in of_day if each["level"] in {"error", "fatal"}]
    assert dict(duckdb["found"]) == {name: services.count(name) for name in set(services)}
    audited = [record for record, each in zip(records(), made, strict=True) if each["category"] == "audit"]
    assert sorted(whole["records"]) == sorted(audited)


def test_columns() -> None:
    """The page names each column, in its order."""
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    named = [name.strip(" `") for line in rows for name in line.split("|")[1].split(",")]
    at = named.index("retention")
    assert named[at : at + len(columns().names)] == columns().names
