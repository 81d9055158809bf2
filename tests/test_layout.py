"""The layout that the design decides: dependencies run one way, and every setting says what it means."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from flows.config import Flow
from flows.sources import SOURCES, load_source
from operators import rule_models
from sinks import SINKS, load_sink

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "logweir": {"logweir"},
    "operators": {"operators", "logweir"},
    "sinks": {"sinks", "logweir"},
    "flows": {"flows", "operators", "sinks", "logweir"},
}
OURS = {*ALLOWED, "tests", "benchmarks", "logweir_logger"}
MODULES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Return the packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield (node.module or "").split(".")[0]


def models() -> Iterator[type[BaseModel]]:
    """Return every model of a flow file, those within others too."""
    rules = [each for each in vars(rule_models).values() if isinstance(each, type) and issubclass(each, BaseModel)]
    waiting: list[type[BaseModel]] = [Flow, *map(load_source, SOURCES), *map(load_sink, SINKS), *rules]
    seen: set[type[BaseModel]] = set()
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        if not model.__name__.startswith("_"):
            yield model
        annotations = (field.annotation for field in model.model_fields.values())
        waiting += [each for each in annotations if isinstance(each, type) and issubclass(each, BaseModel)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_run_one_way(path: Path) -> None:
    """Flows know operators and sinks, which don't know each other, and all know logweir, which knows none of them."""
    package = path.relative_to(ROOT).parts[0]
    assert set(imported(path)) & OURS <= ALLOWED[package]


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_every_setting_is_described(model: type[BaseModel]) -> None:
    """Each setting says what it means, and so does each group of them."""
    assert [name for name, field in model.model_fields.items() if not field.description] == []
    assert model.__doc__


@pytest.mark.parametrize(
    ("folder", "table", "shared"),
    [
        (
            "flows/sources",
            SOURCES,
            {
                "alignment",
                "base",
                "file_part",
                "file_paths",
                "file_watch",
                "kafka_align",
                "kafka_consumer",
                "kafka_first",
                "kafka_offsets",
                "kafka_part",
                "kafka_position",
                "kafka_reader",
                "kafka_source",
                "kafka_topics",
                "kafka_watch",
                "lines",
                "rotation",
                "samples",
                "zstandard_file",
            },
        ),
        ("sinks", SINKS, None),
    ],
    ids=["sources", "sinks"],
)
def test_tables_are_whole(folder: str, table: dict[str, str], shared: set[str] | None) -> None:
    """What a table names is a module of that name, and no source stands beside the table unnamed."""
    # sinks/http.py is the client that the destinations share.
    modules = {"http": "http_endpoint"} if folder == "sinks" else {}
    assert {place.partition(":")[0] for place in table.values()} == {
        f"{folder.replace('/', '.')}.{modules.get(name, name)}" for name in table
    }
    if shared is not None:
        found = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"} - shared
        assert found == set(table)
