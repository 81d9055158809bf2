"""Destinations that were renamed, and files of the recovery store that a power cut has emptied."""

from __future__ import annotations

import fcntl
import json
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from flows import recovery_store
from flows.assigning import assign, planned
from flows.config import Flow, load
from flows.dead_letter_files import LetterFiles
from flows.dead_letters import Wanted
from flows.recovery_store import forget_unfinished
from flows.sources.kafka_first import FILE, FirstPositions
from flows.sources.kafka_offsets import Offsets
from flows.sources.kafka_topics import Found
from flows.takeover import take_over
from logweir.errors import ConfigError, LogweirError
from logweir.events import Events
from sinks.deadletter import DeadLetter, DirectoryDeadLetters
from tests.flowing import Running, until

RATE = "rules: [{name: few, type: rate, max_per_second: 5}]"


def flow(tmp_path: Path, name: str = "search", more: str = "", isolation: str = "destination") -> Flow:
    """Return a flow with one destination."""
    return load(
        f"name: my-flow\nsource: {{type: file, path: in.log}}\nisolation: {isolation}\n{RATE}\n"
        f"destinations: {{{name}: {{type: file, path: out.ndjson{more}}}}}\nrecovery: {{directory: {tmp_path}/r}}\n",
        environment={},
    ).flow


class Told:
    """The events that were told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, _severity: str, **fields: Any) -> None:
        """Take one."""
        self.events.append((event, fields))


def record(store: Path, *steps: str) -> None:
    """Put states of these steps into a store, as a run does."""
    with sqlite3.connect(min(store.glob("*.sqlite3"))) as database:
        for step in steps:
            columns = "step_id, state_key, snap_epoch, ser_change"
            database.execute(f"INSERT INTO snaps ({columns}) VALUES (?, ?, ?, ?)", (step, "0001", 1, b""))


def steps(store: Path) -> set[str]:
    """Return the steps that a store knows."""
    found: set[str] = set()
    for path in store.glob("*.sqlite3"):
        with sqlite3.connect(path) as database:
            found |= {step for (step,) in database.execute("SELECT DISTINCT step_id FROM snaps")}
    return found


def test_a_new_name_takes_over(tmp_path: Path) -> None:
    """`was` gives a destination the store of its old name: its steps, sink partitions and limits, and nobody else's."""
    old = assign(flow(tmp_path), ["search"], 2)
    own = ("my_flow.source", "my_flow.deliver_search", "my_flow.limit_search_1.stateful_batch", "my_flow.sample_search")
    record(old.recovery, *own, "my_flow.deliver_search_2")
    told = Told()
    new = assign(flow(tmp_path, "opensearch", ", was: search"), ["opensearch"], 1, told)
    assert told.events == [("stream.renamed", {"stream": "opensearch", "was": "search"})]
    assert not old.recovery.exists()
    assert steps(new.recovery) == {each.replace("search", "opensearch") for each in own} | {"my_flow.deliver_search_2"}
    assert new.sink_partitions == {"opensearch": 2}
    assert new.seatings["opensearch"].seats == old.seatings["search"].seats
    # At the next start there is nothing left to do.
    again = Told()
    assign(flow(tmp_path, "opensearch", ", was: search"), ["opensearch"], 1, again)
    assert again.events == []


def test_in_a_store_of_all(tmp_path: Path) -> None:
    """Where all destinations share a dataflow the steps are renamed within its store."""
    old = assign(flow(tmp_path, isolation="none"), ["search"], 1)
    record(old.recovery, "my_flow.deliver_search")
    new = assign(flow(tmp_path, "opensearch", ", was: search", isolation="none"), ["opensearch"], 1)
    assert new.recovery == old.recovery
    assert steps(new.recovery) == {"my_flow.deliver_opensearch"}


def test_a_name_that_begins_anew_is_told(tmp_path: Path) -> None:
    """Without `was` a new name begins anew, and what was left behind is named; a first start has nothing to tell."""
    told = Told()
    assign(flow(tmp_path), ["search"], 1, told)
    assert told.events == []
    assign(flow(tmp_path, "opensearch"), ["opensearch"], 1, told)
    ((event, fields),) = told.events
    assert event == "stream.new"
    assert "set `was: search`" in fields["reason"]


def test_an_old_name_that_is_misspelt_is_told(tmp_path: Path) -> None:
    """`was` that names nothing recorded doesn't pass in silence where something else was left behind."""
    assign(flow(tmp_path), ["search"], 1)
    told = Told()
    assign(flow(tmp_path, "opensearch", ", was: serach"), ["opensearch"], 1, told)
    ((event, fields),) = told.events
    assert event == "stream.new"
    assert "nothing is recorded under its old name serach" in fields["reason"]
    assert "set `was: search`" in fields["reason"]


@pytest.mark.parametrize("isolation", ["destination", "none"])
def test_a_renamed_flow_is_told(tmp_path: Path, isolation: str) -> None:
    """A flow of another name begins anew too, and says so once; one that runs beside it is not meant."""
    before = assign(flow(tmp_path, isolation=isolation), ["search"], 1)
    other = flow(tmp_path, isolation=isolation).model_copy(update={"name": "other"})
    with (before.recovery / "worker-0.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = Told()
        store = planned(other, ["search"], 1).recovery
        take_over(other, ["search"], store, told)
        assert told.events == []
    assign(other, ["search"], 1, told)
    ((event, fields),) = told.events
    assert event == "stream.new"
    assert "what the flow my-flow has recorded" in fields["reason"]
    assign(other, ["search"], 1, told)
    assert len(told.events) == 1


def test_letters_of_the_old_name_are_redriven(tmp_path: Path) -> None:
    """Dead letters that were written under the old name are the new one's to send again."""
    for name in ("search", "other", "opensearch"):
        letters = DirectoryDeadLetters(tmp_path, name, 0)
        letters.write([DeadLetter(name.encode(), "t", 0, 0, "c", "r", 1)])
        letters.close()
    found = LetterFiles(tmp_path, Wanted("opensearch", was="search"), Events())
    read = found.read(10)
    assert read is not None
    assert [each.letter.value for each in read] == [b"opensearch", b"search"]
    found.record(None)
    found.finish()
    found.close()
    again = LetterFiles(tmp_path, Wanted("opensearch", was="search"), Events())
    assert again.is_empty()
    again.close()
    assert (tmp_path / "other.ndjson").read_bytes()


def test_a_store_in_use_is_left(tmp_path: Path) -> None:
    """While the old name still runs, its store stays where it is, and the new one waits."""
    old = assign(flow(tmp_path), ["search"], 1)
    with (old.recovery / "worker-0.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LogweirError, match="still in use by the destination's old name"):
            assign(flow(tmp_path, "opensearch", ", was: search"), ["opensearch"], 1)
    assert old.recovery.exists()


@pytest.mark.parametrize(
    ("destinations", "said"),
    [
        ("a: {type: console, was: b}, b: {type: console}", "is a destination of this flow"),
        ("a: {type: console, was: c}, b: {type: console, was: c}", "takes over what was 'c'"),
    ],
)
def test_what_can_not_be_taken_over(destinations: str, said: str) -> None:
    """A name that is still a destination's, or that two would take over, is refused."""
    with pytest.raises(ConfigError) as refused:
        load(f"name: f\nsource: {{type: stdin}}\ndestinations: {{{destinations}}}\n", environment={})
    assert [said in each for each in refused.value.findings] == [True]


@pytest.mark.parametrize("torn", [b"", b'{"search": 2', b"[]", b"\x00\x00"])
def test_files_that_a_power_cut_has_emptied(tmp_path: Path, torn: bytes) -> None:
    """A damaged file beside the databases stops nothing: it is told, and what was recorded is found all the same."""
    before = assign(flow(tmp_path), ["search"], 2)
    record(before.recovery, "my_flow.deliver_search")
    for name in ("partitions.json", "limiters.json"):
        (before.recovery / name).write_bytes(torn)
    told = Told()
    after = assign(flow(tmp_path), ["search"], 1, told)
    assert [event for event, _ in told.events] == ["flow.damaged"]
    assert after.sink_partitions == {"search": 2}
    assert after.seatings == before.seatings
    assert recovery_store.damaged(after.recovery) == []
    assert json.loads((after.recovery / "partitions.json").read_text()) == {"search": 2}


@pytest.mark.parametrize("how", ["empty", "cut", "garbage", "missing", "cut behind the first page"])
def test_databases_that_are_damaged(tmp_path: Path, how: str) -> None:
    """A damaged database stops the flow in words that say what is lost and how to go on; nothing is made anew."""
    store = assign(flow(tmp_path), ["search"], 1).recovery
    record(store, "my_flow.source", *(f"my_flow.step_{number}" for number in range(300)))
    with sqlite3.connect(store / "part-2.sqlite3") as database:
        database.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (1, 1, 1)")
    for each in store.glob("*.sqlite3"):
        with closing(sqlite3.connect(each)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = store / "part-0.sqlite3" if how == "cut behind the first page" else store / "part-1.sqlite3"
    match how:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            os.truncate(path, 5000)
        case "garbage":
            path.write_bytes(random.Random(1).randbytes(20_000))
        case "missing":
            path.unlink()
        case _:
            os.truncate(path, path.stat().st_size - 12_288)
    before = {each.name: each.read_bytes() for each in store.glob("*.sqlite3")}
    with pytest.raises(LogweirError, match="move it away to begin anew"):
        # What a worker does first is part of a start.
        forget_unfinished(assign(flow(tmp_path), ["search"], 1).recovery)
    assert {each.name: each.read_bytes() for each in store.glob("*.sqlite3")} == before


def test_a_store_that_was_not_made_to_its_end(tmp_path: Path) -> None:
    """What a power cut has left of a store that has recorded nothing is made anew."""
    store = assign(flow(tmp_path), ["search"], 1).recovery
    (store / "part-1.sqlite3").write_bytes(b"")
    (store / "part-3.sqlite3").unlink()
    assert assign(flow(tmp_path), ["search"], 1).recovery == store
    assert len(list(store.glob("*.sqlite3"))) == recovery_store.PARTITIONS
    assert forget_unfinished(store) == 0


def test_a_damaged_store_stops_no_other_destination(tmp_path: Path) -> None:
    """The other destinations are delivered to, and the issue says in words what is wrong with the one."""
    (tmp_path / "in.log").write_text('{"id":"1"}\n')
    path = tmp_path / "flow.yaml"
    path.write_text(
        f"name: f\nsource: {{type: file, path: {tmp_path}/in.log, follow: true}}\nisolation: destination\n"
        "destinations:\n"
        f"  a: {{type: file, path: {tmp_path}/a.ndjson}}\n  b: {{type: file, path: {tmp_path}/b.ndjson}}\n"
        f"recovery: {{directory: {tmp_path}/r, interval: 500ms}}\nstatus: {{listen: '127.0.0.1:0'}}\n"
    )
    store = assign(load(path).flow, ["a"], 1).recovery
    record(store, "f.source")
    (store / "part-1.sqlite3").unlink()
    with Running(path) as run:
        until(lambda: (tmp_path / "b.ndjson").exists() and (tmp_path / "b.ndjson").stat().st_size, "b is delivered to")
        until(lambda: run.told("flow.failed"), "the damaged store is told")
        assert "move it away to begin anew" in run.told("flow.failed")[0]["reason"]
    assert not (tmp_path / "a.ndjson").exists()


@pytest.mark.parametrize("torn", ["", "[]", "{}", '{"version": 1, "logs": {"a/b": {}}, "awaited": {}, "patterns": []}'])
def test_first_positions_that_are_damaged(tmp_path: Path, torn: str) -> None:
    """A file of first positions that can't be read is told in words, whatever is in it."""
    (tmp_path / FILE).write_text(torn)
    first = FirstPositions(tmp_path, "earliest", ["t"], set, lambda *_: None)
    with pytest.raises(LogweirError, match=r"positions\.json"):
        first.settle(Found(), cast("Offsets", None))
