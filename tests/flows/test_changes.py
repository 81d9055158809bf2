"""What each setting's change takes: none is left out, and the page says the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flows.changes import EFFECTS, Effect, compare
from flows.config import Flow, RecoverySettings, StatusSettings, load
from flows.sources.base import SourceSettings
from sinks.settings import CommonDestination

PAGE = Path(__file__).parents[2] / "docs" / "reload.md"
FLOW: dict[str, Any] = {
    "name": "shop",
    "source": {"type": "kafka", "brokers": ["localhost:9092"], "topics": ["logs"]},
    "rules": [{"name": "No debug", "type": "level", "levels": ["debug"], "action": "exclude"}],
    "destinations": {
        "search": {"type": "elasticsearch", "url": "http://localhost:9200", "index": "logs"},
        "files": {"type": "file", "path": "./out.ndjson"},
        "off": {"type": "console", "enabled": False},
    },
}


def flow(**settings: Any) -> Flow:
    """Return the flow with some settings changed, by dotted name with __ for the dots."""
    data: dict[str, Any] = {**FLOW, "destinations": {name: dict(each) for name, each in FLOW["destinations"].items()}}
    for name, value in settings.items():
        *parents, leaf = name.split("__")
        place = data
        for parent in parents:
            place[parent] = dict(place.get(parent, {}))
            place = place[parent]
        place[leaf] = value
    return load(json.dumps(data)).flow


def changed(**settings: Any) -> dict[str, Effect]:
    """Return what is found changed."""
    return {str(each): each.effect for each in compare(flow(), flow(**settings))}


@pytest.mark.parametrize(
    ("model", "prefix"),
    [
        (Flow, ""),
        (CommonDestination, "destinations.*."),
        (RecoverySettings, "recovery."),
        (StatusSettings, "status."),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_no_setting_is_left_out(model: type[BaseModel], prefix: str) -> None:
    """Who adds a setting has to say what its change takes; else it would be a restart without anyone's thought."""
    said = {name for name in EFFECTS if name.startswith(prefix)}
    for field in model.model_fields:
        name = f"{prefix}{field}"
        whole = prefix.removesuffix(".") in EFFECTS and prefix != "destinations.*."
        assert whole or name in said or any(each.startswith(f"{name}.") for each in said), name


def test_nothing_is_said_of_what_there_is_not() -> None:
    """Each name in the table is a setting."""
    models: dict[str, type[BaseModel]] = {
        "": Flow,
        "source.": SourceSettings,
        "destinations.*.": CommonDestination,
        "recovery.": RecoverySettings,
        "status.": StatusSettings,
    }
    for name in EFFECTS:
        prefix = name.rpartition(".")[0] + "." if "." in name else ""
        leaf = name.rpartition(".")[2]
        assert leaf in models[prefix].model_fields or name == "source.type", name


def test_the_page_has_the_table() -> None:
    """Each row of the page is a line of the table, and the other way round."""
    rows = re.findall(r"^\| (`.*?`) \| (swapped|restart|refused) \|", PAGE.read_text(), re.MULTILINE)
    told = {name: effect for names, effect in rows for name in re.findall(r"`(.*?)`", names)}
    assert told == {name.replace("*", "<name>"): effect.value for name, effect in EFFECTS.items()}


def test_equal_files_differ_in_nothing() -> None:
    """Neither does a setting that is written out with its default."""
    assert changed() == {}
    assert changed(max_in_flight="16MB", status__listen="127.0.0.1:8080") == {}


def test_what_is_swapped() -> None:
    """Rules, redaction, limits, batches and retries need no restart."""
    assert changed(
        rules=[],
        redact={"fields": ["user.ip"]},
        max_in_flight="1MB",
        destinations__search__batch={"max_records": 10},
        destinations__search__retry={"max_retries": 1},
        destinations__files__on_failure="dead_letter",
        destinations__files__sampling={"rate": 0.5},
    ) == dict.fromkeys(
        [
            "rules",
            "redact",
            "max_in_flight",
            "destinations.search.batch.max_records",
            "destinations.search.retry.max_retries",
            "destinations.files.on_failure",
            "destinations.files.sampling",
        ],
        Effect.SWAPPED,
    )


def test_what_takes_a_restart() -> None:
    """Where records come from and go to does, and how many send at once."""
    assert changed(
        source__topics=["logs", "more"],
        destinations__search__url="http://other:9200",
        destinations__search__concurrency=8,
        recovery__interval="5s",
        dead_letter={"topic_prefix": "gone."},
    ) == dict.fromkeys(
        [
            "source.topics",
            "destinations.search.url",
            "destinations.search.concurrency",
            "recovery.interval",
            "dead_letter.topic_prefix",
        ],
        Effect.RESTART,
    )


def test_destinations_come_and_go() -> None:
    """One that is disabled is none: enabling it is adding it, and what else changes of it meanwhile is nothing."""
    assert changed(destinations__more={"type": "console"}) == {"destinations.more": Effect.RESTART}
    assert changed(destinations__off={"type": "console"}) == {"destinations.off": Effect.RESTART}
    assert changed(destinations__files__enabled=False) == {"destinations.files": Effect.RESTART}
    assert changed(destinations__off__style="json") == {}
    (change,) = compare(flow(), flow(destinations__search__url="http://other:9200"))
    assert (change.concerns(["search"]), change.concerns(["files"])) == (True, False)


def test_an_archive_comes_and_goes() -> None:
    """It has a dataflow of its own, and no other is stopped for it."""
    with_archive = {"retention": {"archive": "./archive"}}
    assert changed(**with_archive) == {"retention": Effect.RESTART}
    (change,) = compare(flow(**with_archive), flow(retention={"archive": "./archive", "default_period": "1d"}))
    assert str(change) == "retention.default_period"
    assert (change.concerns(["archive"]), change.concerns(["files"])) == (True, False)


def test_what_is_refused() -> None:
    """A position that belongs to a name or a directory can't follow to another."""
    refused = changed(name="other", recovery__directory="./elsewhere", isolation="none")
    assert refused == dict.fromkeys(["name", "isolation", "recovery.directory"], Effect.REFUSED)
    assert changed(source={"type": "file", "path": "./in.ndjson"})["source.type"] is Effect.REFUSED


def test_standard_input_is_never_read_again() -> None:
    """What takes a restart is refused there, since what was read ahead would be gone."""
    stdin = {"source": {"type": "stdin"}, "isolation": "none"}
    changes = compare(flow(**stdin), flow(**stdin, rules=[], destinations__search__index="other"))
    assert {str(each): each.effect for each in changes} == {
        "rules": Effect.SWAPPED,
        "destinations.search.index": Effect.REFUSED,
    }
