"""Search: what is found is what is asked for, in order, however the table came about."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable
from deltalake.transaction import RemoveAction

import flows.search.newest
from flows.archiving import FlowArchive
from flows.cli import main
from flows.search.answer import Search
from flows.search.query import Query
from logweir.archive_table import PARTITIONED_BY
from logweir.errors import LogweirError
from logweir.times import epoch_seconds
from tests.flows.search.support import DAY, NOW, archive, find, made, number, printed, record
from tests.sinks.archive_support import configured, writer

RECORDS = made(600)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> FlowArchive:
    """An archive of 600 records in six commits."""
    folder = tmp_path_factory.mktemp("search")
    return archive(folder / "archive", [RECORDS[at : at + 100] for at in range(0, 600, 100)], folder)


def expected(wanted: Callable[[dict[str, Any]], bool]) -> list[bytes]:
    """Return the records that are wanted, the newest first; of one moment, the last that was written."""
    parsed = [(json.loads(value), value) for value in RECORDS]
    found = [(epoch_seconds(each["timestamp"]), at, value) for at, (each, value) in enumerate(parsed) if wanted(each)]
    return [value for _, _, value in sorted(found, reverse=True)]


QUERIES: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
    ({}, lambda each: True),
    ({"levels": ("WARNING",)}, lambda each: each["level"] == "warn"),
    ({"levels": ("warn", "error")}, lambda each: each["level"] in {"warn", "error"}),
    ({"services": ("pay",)}, lambda each: each["context"]["service"] == "pay"),
    ({"traces": (f"{7:032x}",)}, lambda each: each["trace"]["traceId"] == f"{7:032x}"),
    ({"traces": ("unknown",)}, lambda each: False),
    ({"since": "1d"}, lambda each: epoch_seconds(each["timestamp"]) >= NOW - DAY),  # type: ignore[operator]
    (
        {"since": "2025-12-30", "until": "2025-12-31T06:00:00+01:00"},
        lambda each: "2025-12-30" <= each["timestamp"] < "2025-12-31T05:00:00",
    ),
    ({"where": "performance.duration > 1500"}, lambda each: each["performance"]["duration"] > 1500),
    (
        {"where": "context.service = 'ship' and (level = 'error' or not performance.duration < 1900)"},
        lambda each: (
            each["context"]["service"] == "ship"
            and (each["level"] == "error" or each["performance"]["duration"] >= 1900)
        ),
    ),
    ({"where": "message = 'caf\u00e9'"}, lambda each: each["message"] == "caf\u00e9"),
    ({"where": "message contains 'ime' and id != 'r5'"}, lambda each: "ime" in each["message"] and each["id"] != "r5"),
    ({"text": "TIMEOUT"}, lambda each: each["message"] == "timeout"),
    ({"text": "caf\u00e9"}, lambda each: each["message"] == "caf\u00e9"),
    (
        {"text": "out", "levels": ("error",), "where": "performance.duration > 1000", "since": "2d"},
        lambda each: (
            "out" in each["message"]
            and each["level"] == "error"
            and each["performance"]["duration"] > 1000
            and epoch_seconds(each["timestamp"]) >= NOW - 2 * DAY  # type: ignore[operator]
        ),
    ),
]


class TestWhatIsFound:
    @pytest.mark.parametrize(("asked", "wanted"), QUERIES, ids=[str(asked)[:60] for asked, _ in QUERIES])
    @pytest.mark.parametrize("page", [5000, 7], ids=["one page", "many pages"])
    def test_all(
        self,
        settings: FlowArchive,
        asked: dict[str, Any],
        wanted: Callable[[dict[str, Any]], bool],
        page: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Every record that meets what is asked is found once, the newest first, whatever fits in memory."""
        monkeypatch.setattr(flows.search.newest, "PAGE_RECORDS", page)
        assert find(settings, **asked) == expected(wanted)

    @pytest.mark.parametrize("limit", [1, 10, 599])
    @pytest.mark.parametrize("asked", [{}, {"text": "i"}, {"levels": ("info", "warn")}], ids=str)
    def test_limit(self, settings: FlowArchive, asked: dict[str, Any], limit: int) -> None:
        """With a limit, the newest are found."""
        assert find(settings, limit, **asked) == find(settings, **asked)[:limit]

    def test_a_page_is_bounded_in_bytes(self, settings: FlowArchive, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is held at a time stays below a number of bytes, and nothing is missing for it."""
        monkeypatch.setattr(flows.search.newest, "PAGE_BYTES", 3000)
        assert find(settings) == expected(lambda each: True)
        assert find(settings, text="timeout") == expected(lambda each: each["message"] == "timeout")

    def test_large_row_groups(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file is read a part at a time."""
        monkeypatch.setattr(flows.search.newest, "_BATCH", 16)
        values = [record(at, NOW + at, level="info") for at in range(500)]
        settings = archive(tmp_path / "a", [values], tmp_path)
        assert find(settings, text="r4") == [value for value in reversed(values) if b'"r4' in value]
        assert find(settings, 100) == values[:-101:-1]

    def test_text_in_any_spelling(self, tmp_path: Path) -> None:
        """Text is found however JSON spells it; where case counts, in letters beyond ASCII, it does."""
        values = [
            b'{"id":"r0","message":"Stra\\u00dfe"}',
            '{"id":"r1","message":"Stra\u00dfe"}'.encode(),
            b'{"id":"r2","message":"a \\"quoted\\" word"}',
            b'{"id":"r3","message":"back\\\\slash"}',
            b'{"id":"r4","n":1e999,"message":"\\u0041"}',
            b'{"id":"r5","message":"split over r',
            b"",
        ][:5]
        settings = archive(tmp_path / "a", [values], tmp_path)
        for text, numbers in [
            ("stra\u00dfe", {0, 1}),
            ("STRA\u00dfE", {0, 1}),
            ('A "QUOTED" word', {2}),
            ("back\\slash", {3}),
            ('"id":"r3"', {3}),
            ("}{", set()),
        ]:
            assert {number(value) for value in find(settings, text=text)} == numbers, text
        for where, numbers in [("message = 'Stra\u00dfe'", {0, 1}), ("message contains '\"'", {2})]:
            assert {number(value) for value in find(settings, where=where)} == numbers, where

    def test_other_formats(self, tmp_path: Path) -> None:
        """Fields are found where the source's format has them."""
        from operators.formats import ECS

        values = [
            b'{"@timestamp":"2026-01-01T00:00:00Z","service.name":"pay","event":{"duration":5000000},"message":"m"}',
            b'{"@timestamp":"2026-01-01T00:00:01Z","service":{"name":"shop"}}',
        ]
        settings = archive(tmp_path / "a", [values], tmp_path, layout=ECS)
        assert find(settings, where="context.service = 'pay' and performance.duration = 5") == values[:1]
        assert find(settings, services=("shop",)) == values[1:]
        assert "pay             m" in printed(settings)


class TestWhatIsRead:
    @pytest.fixture
    def opened(self, settings: FlowArchive, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The files that a search opens."""
        from flows.search.table import Opener

        opened: list[str] = []
        original = Opener.open

        def open_one(self: Opener, path: str) -> Any:
            opened.append(path)
            return original(self, path)

        monkeypatch.setattr(Opener, "open", open_one)
        return opened

    def test_dates_and_statistics(self, settings: FlowArchive, opened: list[str]) -> None:
        """Only files are opened whose dates and statistics allow for what is asked."""
        find(settings, since="2026-01-01", levels=("warn",))
        # Those of 7d have levels up to info, those of 90d error alone.
        assert {path.rpartition("/")[0] for path in opened} == {"retention=30d/date=2026-01-01"}
        opened.clear()
        find(settings, services=("zzz",))
        assert opened == []

    def test_early_end(self, settings: FlowArchive, opened: list[str]) -> None:
        """Once there is enough, older files aren't opened."""
        find(settings, 5)
        assert {path.split("/")[1] for path in opened} <= {"date=2026-01-01", "date=2025-12-31"}

    def test_bloom_filters(self, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """A trace's records are found by Bloom filters: of files without it no column is read."""
        import pyarrow.parquet as pq

        commits = [
            [record(at * 1000 + n, NOW + at, trace={"traceId": f"{at:032x}"}) for n in range(20)] for at in range(60)
        ]
        settings = archive(tmp_path / "a", commits, tmp_path)
        read: list[int] = []
        original = pq.ParquetFile.read_row_group

        def read_one(self: pq.ParquetFile, group: int, **rest: Any) -> pa.Table:
            read.append(group)
            return original(self, group, **rest)

        monkeypatch.setattr(pq.ParquetFile, "read_row_group", read_one)
        assert find(settings, traces=(f"{17:032x}",)) == commits[17][::-1]
        # The filters are made for one false answer in a hundred or better.
        assert 2 <= len(read) <= 6


class TestChanges:
    def test_follow(self, tmp_path: Path) -> None:
        """What is added is found as it comes, in its order, and what is only rewritten isn't found again."""
        values = [record(at, NOW + at, level="error" if at % 2 else "info") for at in range(40)]
        settings = configured(tmp_path / "a")
        with writer(settings, tmp_path) as opened:
            opened.deliver(values[:10], 0)
            asked = Search(settings.retention.archive.store(), Query(values={"level": frozenset(["error"])}))
            found = asked.follow(3)
            assert [number(row.raw) for row in (next(found) for _ in range(3)) if row] == [5, 7, 9]
            assert next(found) is None
            opened.deliver(values[10:20], 10)
            assert [number(row.raw) for row in (next(found) for _ in range(5)) if row] == [11, 13, 15, 17, 19]
            assert next(found) is None
            DeltaTable(tmp_path / "a").optimize.compact()
            opened.deliver(values[20:22], 20)
            row = next(found)
            assert row is not None
            assert number(row.raw) == 21
            assert next(found) is None

    def test_files_that_go(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where files are replaced and removed in the midst of a search, it goes on in those that took their place."""
        monkeypatch.setattr(flows.search.newest, "PAGE_RECORDS", 10)
        values = [record(at, NOW + at, level="info") for at in range(60)]
        settings = archive(tmp_path / "a", [values[:20], values[20:40], values[40:]], tmp_path)
        found = Search(settings.retention.archive.store(), Query()).newest(1000)
        first = [next(found).raw for _ in range(10)]
        table = DeltaTable(tmp_path / "a")
        table.optimize.compact()
        table.vacuum(0, dry_run=False, enforce_retention_duration=False)
        assert [*first, *(row.raw for row in found)] == values[::-1]

    def test_a_file_that_is_missing(self, tmp_path: Path) -> None:
        """A table that names a file that isn't there is an error that says so."""
        settings = archive(tmp_path / "a", [[record(1, NOW)]], tmp_path)
        for path in (tmp_path / "a").rglob("*.parquet"):
            path.unlink()
        with pytest.raises(LogweirError, match="the table's log names a file that isn't there"):
            find(settings)

    def test_expired_while_followed(self, tmp_path: Path) -> None:
        """A commit that takes files out adds nothing to find."""
        settings = archive(tmp_path / "a", [[record(1, NOW, level="info")]], tmp_path)
        found = Search(settings.retention.archive.store(), Query()).follow(10)
        assert next(found) is not None
        assert next(found) is None
        table = DeltaTable(tmp_path / "a")
        listed = pa.table(table.get_add_actions()).to_pylist()
        gone: list[Any] = [RemoveAction(each["path"], True, 1, each["size_bytes"], {}) for each in listed]
        table.create_write_transaction(gone, "append", table.schema(), list(PARTITIONED_BY))
        assert next(found) is None


class TestOutput:
    def test_lines(self, tmp_path: Path) -> None:
        """Each record is a line for people, with its date; escape sequences can't act."""
        values = [
            record(1, NOW, level="warn", context={"service": "pay"}, message="slow \u001b[31m", metadata={"n": 1}),
            b'{"id":"r2","level":"error","message":"no time"}',
        ]
        settings = archive(tmp_path / "a", [values], tmp_path)
        newest, oldest = printed(settings).splitlines()
        assert oldest == "2026-01-01 12:00:00.000 WARN  pay             slow \\x1b[31m n=1"
        assert newest.endswith("ERROR -               no time")
        lines = printed(settings, kept=True, levels=("warn",)).splitlines()
        assert lines[1] == "    kept 30d; expires 2026-02-01T00:00:00.000Z"

    def test_json(self, settings: FlowArchive) -> None:
        """--json gives the very bytes of each record."""
        assert printed(settings, 5, as_json=True).encode() == b"".join(
            value + b"\n" for value in expected(lambda each: True)[:5]
        )


FLOW = """
name: shop
source: {{type: stdin}}
destinations: {{out: {{type: console}}}}
retention: {{archive: {place}}}
"""


def run(folder: Path, *arguments: str, place: str = "archive") -> Any:
    """Run the command."""
    (folder / "flow.yaml").write_text(FLOW.format(place=folder / place))
    return CliRunner().invoke(main, ["search", str(folder / "flow.yaml"), *arguments])


class TestCommand:
    def test_found(self, settings: FlowArchive, tmp_path: Path) -> None:
        """The command finds what its options ask for, and ends with 0, whether there is any or none."""
        place = settings.retention.archive.path
        found = run(tmp_path, "--level", "error", "--limit", "3", "--json", place=place)
        assert found.exit_code == 0
        assert found.stdout.encode().splitlines() == expected(lambda each: each["level"] == "error")[:3]
        assert run(tmp_path, "nothing says this", place=place).stdout == ""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--where", "level = error"], "--where: position 9: put text in quotes: 'error'"),
            (["--since", "yesterday"], "--since: 'yesterday' is neither a duration such as 15m"),
            (["--since", "99999w"], "--since: '99999w' is neither"),
            (["--since", "1h", "--until", "2h"], "--until: lies before --since"),
            (["--level", "eror"], "'eror' is no level, allowed: trace, debug, info, warn, error, fatal; did you mean"),
            (["--limit", "0"], "0 is not in the range"),
            (["--follow", "--until", "1h"], "can't be given with --until"),
            (["--kept", "--json"], "give one of the two"),
            (["a\udcff"], "TEXT: holds bytes that are no UTF-8"),
        ],
    )
    def test_usage(self, settings: FlowArchive, tmp_path: Path, arguments: list[str], said: str) -> None:
        """A wrong option is named, with what it takes."""
        found = run(tmp_path, *arguments, place=settings.retention.archive.path)
        assert found.exit_code == 2
        assert said in found.stderr

    def test_no_archive(self, tmp_path: Path) -> None:
        """Without an archive it is said what is missing: in the flow file, or yet to be written."""
        found = run(tmp_path)
        assert found.exit_code == 1
        assert "there is no archive at" in found.stderr
        (tmp_path / "plain.yaml").write_text(FLOW.format(place="x").replace("retention: {archive: x}", ""))
        found = CliRunner().invoke(main, ["search", str(tmp_path / "plain.yaml")])
        assert found.exit_code == 2
        assert "retention.archive: is not set" in found.stderr

    def test_a_pipe_that_closes(self, settings: FlowArchive, tmp_path: Path) -> None:
        """When the reader of the output goes away, the command ends without a word."""
        (tmp_path / "flow.yaml").write_text(FLOW.format(place=settings.retention.archive.path))
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-m", "flows.cli", "search", str(tmp_path / "flow.yaml")]
        try:
            ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, timeout=120)
        finally:
            os.close(write)
        assert ended.stderr == b""
        assert ended.returncode == 1


def test_s3(tmp_path: Path) -> None:
    """An archive in S3 is searched and followed like one in a directory, files that go included."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        access = {
            "endpoint_url": f"http://{host}:{port}",
            "region": "us-east-1",
            "access_key_id": "id",
            "secret_access_key": "s3cret",
        }
        place = "s3://searched/an/archive"
        settings = configured(place, archive=access)
        store: Any = settings.retention.archive.store()
        store._aws.connected().create_bucket(Bucket="searched")
        values = made(60)
        archive(place, [values[:30], values[30:]], tmp_path, archive=access)
        assert sorted(find(settings)) == sorted(values)
        trace = json.loads(values[3])["trace"]["traceId"]
        assert {number(value) for value in find(settings, traces=(trace,))} == {
            number(value) for value in values if trace.encode() in value
        }
        query = Query()
        going = Search(store, query)
        followed = going.follow(5)
        assert [row is not None for row in (next(followed) for _ in range(6))] == [True] * 5 + [False]
        table = DeltaTable(place, storage_options=store.options())
        table.optimize.compact()
        table.vacuum(0, dry_run=False, enforce_retention_duration=False)
        assert sorted(row.raw for row in going.newest(1000)) == sorted(values)
        store.close()
    finally:
        server.stop()
