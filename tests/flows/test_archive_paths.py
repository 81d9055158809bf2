"""A path in the archive's log that leads out of the table is refused, whatever the archive is opened for."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from flows.archiving import FlowArchive
from flows.compaction.opened import compactor_of
from flows.compaction.vacuum import vacuum
from flows.compaction.view import View, log_entry
from flows.erasure.erase import Eraser
from flows.search.table import added, snapshot
from logweir.archive_table import checked_path, open_table
from logweir.errors import LogweirError
from operators.where import parse
from sinks.archive_objects import objects_of
from sinks.archive_stores import Directory
from tests.flows.compaction.support import at, compact, moto, record
from tests.flows.search.support import find
from tests.sinks.archive_support import configured, ids, writer

DAY = "retention=30d/date=2026-01-01"
OUTSIDE = (
    "../theirs/x.parquet",
    f"{DAY}/../../../theirs/x.parquet",
    "%2e%2e/theirs/x.parquet",
    "..%2Ftheirs/x.parquet",
    "/somewhere/theirs/x.parquet",
    "file:///somewhere/theirs/x.parquet",
    "s3://theirs/x.parquet",
    "_delta_log/00000000000000000000.json",
    "./x.parquet",
    f"{DAY}//x.parquet",
    "",
)
"""The last ones lie inside, but a listing spells them otherwise, so that vacuum would take them for useless."""


def archive(place: Path, folder: Path, *spans: tuple[int, int]) -> FlowArchive:
    """Return an archive with a commit of each of these spans of numbered records."""
    settings = configured(place)
    with writer(settings, folder) as opened:
        for first, last in spans:
            opened.deliver([record(number) for number in range(first, last)], first)
    return settings


def entry(place: Path, name: str, path: str) -> None:
    """Commit an entry of the log that adds or removes a file of this path."""
    table = open_table(str(place))
    assert table is not None
    parts = dict(part.split("=") for part in next(place.glob("retention=*/date=*")).parts[-2:])
    about = {"path": path, "partitionValues": parts, "dataChange": True}
    about |= {"size": 9, "modificationTime": 0} if name == "add" else {"deletionTimestamp": 0}
    (place / log_entry(table.version() + 1)).write_text(json.dumps({name: about}) + "\n")


def erased(settings: FlowArchive) -> None:
    """Erase a record."""
    Eraser(settings, parse("id = '1'")).erase()


def vacuumed(settings: FlowArchive) -> None:
    """Delete what the table doesn't need."""
    view = View(settings.retention.archive.store())
    view.load()
    vacuum(view, 0)


def compacted(settings: FlowArchive) -> None:
    """Let all expire."""
    compact(settings, at("2036-01-01"))


def searched(settings: FlowArchive) -> None:
    """Search."""
    find(settings)


def foreseen(settings: FlowArchive) -> None:
    """Look what compaction would do, as `retention stats` does."""
    compactor_of(settings, "stats").view.load()


USES = (erased, vacuumed, compacted, searched, foreseen)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_that_leave_the_table(tmp_path: Path, path: str, use: Callable[[FlowArchive], None]) -> None:
    """Nothing is done before the log is mended, and the words name the path and the remedy."""
    settings = archive(tmp_path / "mine", tmp_path / "flow", (0, 5))
    entry(tmp_path / "mine", "add", path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LogweirError, match="outside the table") as raised:
        use(settings)
    assert repr(path) in str(raised.value)
    assert "commit a remove action" in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_another_tables_file_stays(tmp_path: Path) -> None:
    """An erasure through another table's log deletes none of its files, and works once the log is mended."""
    mine = archive(tmp_path / "mine", tmp_path / "flow", (0, 5))
    archive(tmp_path / "theirs", tmp_path / "other", (0, 5))
    file = next((tmp_path / "theirs").rglob("*.parquet"))
    path = f"../{file.relative_to(tmp_path)}"
    entry(tmp_path / "mine", "add", path)
    with pytest.raises(LogweirError, match="outside the table"):
        erased(mine)
    assert len(ids(tmp_path / "theirs")) == 5
    entry(tmp_path / "mine", "remove", path)
    erased(mine)
    assert sorted(ids(tmp_path / "mine")) == ["0", "2", "3", "4"]
    assert len(ids(tmp_path / "theirs")) == 5


def test_while_it_is_open(tmp_path: Path) -> None:
    """A view and a follower that are open refuse it too, go on refusing, and go on when it is taken away again."""
    settings = archive(tmp_path / "mine", tmp_path / "flow", (0, 5))
    view = View(settings.retention.archive.store())
    view.load()
    reader = snapshot(settings.retention.archive.store())
    entry(tmp_path / "mine", "add", "../theirs/x.parquet")
    for _ in range(2):
        # A view that had read a half of the table would let vacuum delete the other.
        with pytest.raises(LogweirError, match="outside the table"):
            vacuum(view, 0, at("2036-01-01"))
    with pytest.raises(LogweirError, match="outside the table"):
        added(reader.opener, reader.version + 1)
    entry(tmp_path / "mine", "remove", "../theirs/x.parquet")
    vacuum(view, 0, at("2036-01-01"))
    assert len(ids(tmp_path / "mine")) == 5


@pytest.mark.parametrize("use", USES[:1] + USES[2:4])
def test_links_that_leave_the_table(tmp_path: Path, use: Callable[[FlowArchive], None]) -> None:
    """A directory of the table that has been replaced by a link to another's is refused too; the table may be one."""
    archive(tmp_path / "real", tmp_path / "flow", (0, 5))
    (tmp_path / "mine").symlink_to("real")
    mine = configured(tmp_path / "mine")
    assert len(find(mine)) == 5
    partition = next((tmp_path / "real").rglob("*.parquet")).parent
    moved = tmp_path / "theirs"
    partition.rename(moved)
    partition.symlink_to(moved)
    with pytest.raises((LogweirError, OSError), match="leads out of the archive"):
        use(mine)
    assert len(list(moved.iterdir())) == 1


def test_a_writer_follows_no_link(tmp_path: Path) -> None:
    """A flow doesn't write through such a link: it holds, with the remedy in words."""
    settings = archive(tmp_path / "mine", tmp_path / "flow", (0, 5))
    partition = next((tmp_path / "mine").rglob("*.parquet")).parent
    (tmp_path / "theirs").mkdir()
    partition.rename(tmp_path / "away")
    partition.symlink_to(tmp_path / "theirs")
    store = settings.retention.archive.store()
    assert isinstance(store, Directory)
    with pytest.raises(OSError, match="leads out of the archive") as raised:
        store.put(f"{partition.relative_to(tmp_path / 'mine')}/x.parquet", b"")
    assert "remove the link" in str(store.failed(raised.value))
    assert not list((tmp_path / "theirs").iterdir())


@pytest.mark.parametrize("path", OUTSIDE[:3])
def test_steps_on_files(tmp_path: Path, path: str) -> None:
    """No step on a file of a directory or a bucket goes outside, whoever calls it."""
    outside = tmp_path / "theirs" / "x.parquet"
    outside.parent.mkdir()
    outside.write_bytes(b"theirs")
    (tmp_path / "mine").mkdir()
    with moto() as (place, more):
        for settings in (configured(tmp_path / "mine"), configured(place, archive=more)):
            objects = objects_of(settings.retention.archive.store())
            steps: list[Callable[[], object]] = [
                partial(objects.delete, [path]),
                partial(objects.read, path),
                partial(objects.open, path, 6),
                partial(objects.claim, path, b"mine"),
                partial(objects.replace, path, b"mine"),
                objects.write(path).__enter__,
            ]
            for step in steps:
                with pytest.raises(OSError, match="leads out of the archive"):
                    step()
    assert outside.read_bytes() == b"theirs"


@pytest.mark.parametrize("path", ["a.parquet", f"{DAY}/part-1.parquet", "retention=a%20b/x..parquet", "..a/b"])
def test_paths_of_the_table(path: str) -> None:
    """Paths as any writer of Delta Lake spells them are taken."""
    assert checked_path(path, "/archive") == path


def test_paths_that_are_encoded(tmp_path: Path) -> None:
    """A file under another program's class, whose path the log encodes, is found, and vacuum and erasure leave it."""
    settings = archive(tmp_path / "mine", tmp_path / "flow", (0, 5))
    theirs = pl.DataFrame(
        {"retention": ["our own/class"], "date": [date(2026, 1, 1)], "id": ["x"], "raw": [b'{"id":"x"}']}
    )
    theirs.write_delta(str(tmp_path / "mine"), mode="append", delta_write_options={"schema_mode": "merge"})
    view = View(settings.retention.archive.store())
    view.load()
    assert len(list(view.foreign)) == 1
    later = at("2036-01-01")
    assert vacuum(view, 0, later, dry_run=True).files == 0
    vacuum(view, 0, later)
    Eraser(settings, parse("id = 'x' or id = '1'"), later).erase()
    assert sorted(json.loads(each)["id"] for each in find(settings)) == ["0", "2", "3", "4", "x"]
