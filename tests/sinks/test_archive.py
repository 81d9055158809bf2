"""The archive: every record as a row, exactly once, whatever dies when."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pydantic import ValidationError
from xxhash import xxh3_64_hexdigest

from flows.sources.generate import batch as generated
from logweir import archive_table
from logweir.archive_table import MADE, application, columns
from logweir.dates import OUTSIDE
from logweir.errors import DestinationError
from sinks.archive import ArchiveDestination
from sinks.archive_columns import texts
from sinks.archive_files import files
from sinks.destination import REDRIVE_PARTITION, Delivered, Hold, Retry
from tests.servers.s3 import FakeS3, error
from tests.sinks.archive_support import configured, ids, numbered, rows, writer
from tests.sinks.cloud_support import ODD

WHOLE = (
    b'{"id":"a","timestamp":"2026-01-01T10:00:00.123456Z","level":"WARNING","category":"http","message":"m",'
    b'"context":{"service":"shop"},"trace":{"traceId":"0af7651916cd43dd8448eb211c80319c"}}'
)
SECRET = "pl4nted/s3cret+key"


class TestRows:
    def test_columns(self, tmp_path: Path) -> None:
        """A row has what is searched by, the record's place in its topic, and the record as it was."""
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver([WHOLE], 7, "orders", 3)
        assert rows(tmp_path / "a").to_dicts() == [
            {
                "retention": "30d",
                "date": date(2026, 1, 1),
                "timestamp": datetime(2026, 1, 1, 10, 0, 0, 123456, tzinfo=UTC),
                "id": "a",
                "level": "warn",
                "category": "http",
                "service": "shop",
                "message": "m",
                "trace_id": "0af7651916cd43dd8448eb211c80319c",
                "policy": "Warnings",
                "topic": "orders",
                "partition": 3,
                "offset": 7,
                "raw": WHOLE,
                "digest": None,
            }
        ]

    def test_the_digest_of_what_was_changed(self, tmp_path: Path) -> None:
        """Where `raw` isn't what was read, the digest of what was stands beside it: a replay has the same identity."""
        read = [b'{"id":"a"}', b' {"id":"b"}', b'{\n"id":"c"}', b'{"id":"d"}']
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            batch = archive.batch(read)
            archive.delivery.write([batch])
            archive.settle()
        found = rows(tmp_path / "a")
        assert found["digest"].is_null().to_list() == [True, False, False, True]
        assert [each or xxh3_64_hexdigest(raw) for each, raw in zip(found["digest"], found["raw"], strict=True)] == [
            xxh3_64_hexdigest(value) for value in read
        ]

    def test_a_table_of_an_earlier_version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It gets the column that it lacks; its rows stay, and what is written then has it."""
        place = tmp_path / "a"
        with monkeypatch.context() as earlier:
            fields = {name: kind for name, kind in archive_table._FIELDS.items() if name != "digest"}
            earlier.setattr(archive_table, "_FIELDS", fields)
            archive_table.create_table(str(place))
        assert "digest" not in rows(place).columns
        with writer(configured(place), tmp_path) as archive:
            archive.deliver([b' {"id":"b"}'])
        with writer(configured(place), tmp_path) as archive:
            archive.deliver([b' {"id":"c"}'], 1)
        assert rows(place)["digest"].is_null().to_list() == [False, False]

    def test_odd_records(self, tmp_path: Path) -> None:
        """Whatever a record holds, it is there as it was; what is no text becomes JSON, and missing fields are null."""
        odd = [
            *ODD,
            b'{"category":5,"message":["a",1],"context":{"service":{"x":true}},"trace":{"traceId":false}}',
            b'{"level":["error"],"category":null,"id":12}',
        ]
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver(odd)
        found = rows(tmp_path / "a")
        assert [value.strip() for value in found["raw"].to_list()] == [value.strip() for value in odd]
        at = len(ODD)
        assert found["message"].to_list()[at] == '["a", 1]'
        assert found["category"].to_list()[at:] == ["5", None]
        assert found["service"].to_list()[at] == '{"x": true}'
        assert found["id"].to_list()[at + 1] == "12"
        assert found["id"].to_list()[0] == "logs-0-0"
        assert found["level"].to_list()[at + 1] is None

    def test_a_commit_has_a_bound_on_partitions(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Records of very many dates are several commits, each full at a number of partitions."""
        monkeypatch.setattr("sinks.table_delivery.PARTITIONS", 20)
        place = tmp_path / "a"
        with writer(configured(place), tmp_path) as archive:
            day = datetime.now(UTC)
            values = [b'{"timestamp":"%s"}' % (day - timedelta(days=back)).isoformat().encode() for back in range(100)]
            for start in range(0, 100, 5):
                archive.write(values[start : start + 5], start)
            archive.settle()
        entries = sorted((place / "_delta_log").glob("*.json"))
        adds = [entry.read_bytes().count(b'{"add":') for entry in entries]
        assert [count for count in adds if count] == [20] * 5
        assert len(rows(place)) == 100

    def test_no_record_is_dead_lettered(self, tmp_path: Path) -> None:
        """What is no record goes to the dead letter, and its neighbours to the table."""
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver([b"{}", b"nonsense", b"{}"])
            assert dict(archive.delivery.ledger.dead_lettered) == {"not JSON": 1}
        assert rows(tmp_path / "a")["offset"].to_list() == [0, 2]

    def test_a_date_out_of_bounds_makes_no_file(self, tmp_path: Path) -> None:
        """A record of a clock that is wrong is kept and found by when it was read, and counted."""
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver([b'{"timestamp":"%d-01-01T00:00:00Z"}' % year for year in (1970, 2001, 2020, 9999)])
            assert archive.delivery.status()["notices"] == {OUTSIDE: 4}
        assert len(set(rows(tmp_path / "a")["date"].to_list())) == 1

    def test_texts(self) -> None:
        """Text stays as it is, but for halves of characters; what is none becomes JSON."""
        assert texts(["é", None, ""]).to_pylist() == ["é", None, ""]
        assert texts(["é", "\ud800 half", 1.5, True, None, [None]]).to_pylist() == [
            "é",
            "? half",
            "1.5",
            "true",
            None,
            "[null]",
        ]


class TestFiles:
    def test_partitions(self, tmp_path: Path) -> None:
        """Each retention class and date has files of its own, whose paths say so."""
        values = [
            b'{"level":"error","timestamp":"2026-01-01T00:00:00Z"}',
            b'{"level":"error","timestamp":"2026-01-02T00:00:00Z"}',
            b'{"level":"error","category":"security","timestamp":"2026-01-01T23:59:59.999Z"}',
        ]
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver(values * 100)
        found = {str(path.parent.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*.parquet")}
        assert found == {
            "retention=90d/date=2026-01-01",
            "retention=90d/date=2026-01-02",
            "retention=forever/date=2026-01-01",
        }
        assert DeltaTable(tmp_path / "a").version() == 1

    def test_order_and_statistics(self, tmp_path: Path) -> None:
        """Files are ordered by what is searched by, and say which values they hold, so that a search skips most."""
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver(generated(1, 0, 3000))
        table = DeltaTable(tmp_path / "a")
        listed = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        assert len(listed) == 5
        for each in listed:
            path = tmp_path / "a" / each["path"]
            stored = pq.read_table(path, partitioning=None)
            assert each["num_records"] == stored.num_rows
            for name in ("timestamp", "id", "service", "level", "offset"):
                values = [value for value in stored[name].to_pylist() if value is not None]
                assert (each[f"min.{name}"], each[f"max.{name}"]) == (min(values), max(values))
            keys = list(zip(*(stored[name].to_pylist() for name in ("service", "category", "level")), strict=True))
            # Equal ones stand together, and within each group the order is that of the topic.
            assert len({key for at, key in enumerate(keys) if at and keys[at - 1] == key} | {*keys}) == len({*keys})
            assert sum(1 for at, key in enumerate(keys) if not at or keys[at - 1] != key) == len({*keys})
            offsets = stored["offset"].to_pylist()
            assert all(offsets[at - 1] < offsets[at] for at in range(1, len(keys)) if keys[at - 1] == keys[at])
            column = pq.ParquetFile(path).metadata.row_group(0).column(stored.schema.get_field_index("raw"))
            assert column.compression == "ZSTD"

    @pytest.mark.parametrize(("records_of_a_trace", "repeated"), [(4, True), (1, False)])
    def test_trace_ids(self, tmp_path: Path, records_of_a_trace: int, repeated: bool) -> None:
        """A trace's id stands in a file once where traces have several records, and every reader gets it for each."""
        dice = random.Random(1)
        traces = [dice.randbytes(16).hex() for _ in range(2000)]
        expected = [(dice.randbytes(16).hex(), traces[number // records_of_a_trace]) for number in range(2000)]
        values = [
            b'{"id":"%b","timestamp":"2026-01-01T00:00:00Z","trace":{"traceId":"%b"}}' % (own.encode(), trace.encode())
            for own, trace in expected
        ]
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver(values)
        (path,) = (tmp_path / "a").rglob("*.parquet")
        group = pq.ParquetFile(path).metadata.row_group(0)
        found = {each.path_in_schema: each for each in map(group.column, range(group.num_columns))}
        assert found["trace_id"].has_dictionary_page == repeated
        assert "DELTA_BYTE_ARRAY" in found["id"].encodings
        assert rows(tmp_path / "a").select("id", "trace_id").rows() == expected
        query = f"SELECT id, trace_id FROM read_parquet('{path}') ORDER BY \"offset\""
        assert duckdb.connect().execute(query).fetchall() == expected

    def test_a_long_text_is_no_statistic(self) -> None:
        """Values that are too long for the log are left out of it."""
        values = {name: [None] for name in columns().names} | {
            "retention": ["7d"],
            "date": [date(2026, 1, 1)],
            "timestamp": [datetime(2026, 1, 1, tzinfo=UTC)],
            "id": ["x" * 1000],
        }
        (file,) = files(pa.table(values, schema=columns()))
        assert "xxx" not in file.statistics
        assert '"2026-01-01T00:00:00.000000Z"' in file.statistics
        assert list(files(columns().empty_table())) == []

    def test_memory(self, tmp_path: Path) -> None:
        """Of a batch that waits for its commit only columns are kept, and it takes little more than its bytes."""
        before = pa.total_allocated_bytes()
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            values = generated(1, 0, 2000)
            for start in range(0, 20_000, 2000):
                archive.write(values, start)
            held = pa.total_allocated_bytes() - before
            assert held < 2 * archive.delivery.ledger.read_bytes
            archive.settle()
            request: Any = archive.delivery._backlog.open
            assert request is None
        assert len(rows(tmp_path / "a")) == 20_000


class TestExactlyOnce:
    def test_what_is_there_is_left_out(self, tmp_path: Path) -> None:
        """Records that come again after a crash are not added again, also where only some of a batch were there."""
        settings = configured(tmp_path / "a")
        with writer(settings, tmp_path) as archive:
            archive.deliver(numbered(0, 100))
        with writer(settings, tmp_path) as archive:
            archive.write(numbered(0, 40), 0)
            archive.write(numbered(40, 130), 40)
            archive.write(numbered(130, 140), 130)
            archive.settle()
            assert archive.delivery.ledger.delivered == 140
            assert archive.delivery.ledger.duplicates == 100
            archive.deliver(numbered(50, 60), 50)
            assert archive.delivery.ledger.duplicates == 110
        assert ids(tmp_path / "a") == [str(number) for number in range(140)]
        assert DeltaTable(tmp_path / "a").version() == 2
        assert DeltaTable(tmp_path / "a").transaction_version(application("flow", "logs", 0)) == 140

    def test_partitions_are_apart(self, tmp_path: Path) -> None:
        """Each topic-partition has a position of its own, also within one commit."""
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.write(numbered(0, 10), 0, "logs", 0)
            archive.write(numbered(10, 20), 500, "logs", 1)
            archive.write(numbered(20, 30), 0, "other", 0)
            archive.write(numbered(30, 40), 10, "logs", 0)
            archive.settle()
        table = DeltaTable(tmp_path / "a")
        found = [
            table.transaction_version(application("flow", *each)) for each in (("logs", 0), ("logs", 1), ("other", 0))
        ]
        assert found == [20, 510, 10]
        assert sorted(map(int, ids(tmp_path / "a"))) == list(range(40))

    def test_positions_survive_checkpoints(self, tmp_path: Path) -> None:
        """A checkpoint of the log, and its cleanup, keep the positions."""
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver(numbered(0, 10))
            table = DeltaTable(tmp_path / "a")
            table.create_checkpoint()
            table.cleanup_metadata()
            archive.deliver(numbered(0, 20))
        assert len(ids(tmp_path / "a")) == 20

    def test_a_lost_answer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A commit that was carried out without an answer is found, and nothing is added twice."""
        commit = DeltaTable.create_write_transaction
        failures = iter([True, True, False, True])

        def lost(self: DeltaTable, *given: Any, **named: Any) -> None:
            if next(failures, False):
                commit(self, *given, **named)
                msg = "the connection was closed"
                raise deltalake.exceptions.DeltaError(msg)
            commit(self, *given, **named)

        monkeypatch.setattr(DeltaTable, "create_write_transaction", lost)
        with writer(configured(tmp_path / "a"), tmp_path) as archive:
            archive.deliver(numbered(0, 10))
            # What has no position is told by its files, which are named again.
            archive.deliver(numbered(10, 20), 0, "logweir", MADE)
        assert sorted(map(int, ids(tmp_path / "a"))) == list(range(20))

    @pytest.mark.parametrize("partition", [0, MADE])
    def test_what_has_no_position(self, tmp_path: Path, partition: int) -> None:
        """What a source doesn't give again, and what the flow made itself, has no position that hides other records."""
        settings = configured(tmp_path / "a", exact=partition == MADE)
        for _ in range(2):
            with writer(settings, tmp_path) as archive:
                archive.deliver(numbered(0, 10), 0, "stdin", partition)
        assert len(ids(tmp_path / "a")) == 20

    def test_redriven_records(self, tmp_path: Path) -> None:
        """What is redriven comes behind the position of its partition, and is added all the same."""
        settings = configured(tmp_path / "a")
        with writer(settings, tmp_path) as archive:
            archive.deliver([b"nonsense", *numbered(1, 10)])
        with writer(settings, tmp_path, REDRIVE_PARTITION) as redrive:
            redrive.deliver(numbered(0, 1))
        assert sorted(map(int, ids(tmp_path / "a"))) == list(range(10))

    def test_a_topic_made_anew(self, tmp_path: Path) -> None:
        """A topic that is deleted and made anew begins again at offset 0, and its records are no repetitions."""
        settings = configured(tmp_path / "a")

        def deliver(log: str, values: list[bytes]) -> int:
            with writer(settings, tmp_path) as archive:
                batch = archive.batch(values)
                batch.log = log
                archive.delivery.write([batch])
                archive.settle()
                return archive.delivery.ledger.duplicates

        assert deliver("c/old", numbered(0, 10)) == 0
        assert deliver("c/new", numbered(10, 15)) == 0
        assert deliver("c/new", numbered(10, 20)) == 5
        assert sorted(map(int, ids(tmp_path / "a"))) == list(range(20))

    def test_what_an_earlier_version_has_written(self, tmp_path: Path) -> None:
        """It did not know the log's name: its records are no others where the position was recorded by it too."""
        settings = configured(tmp_path / "a")
        with writer(settings, tmp_path) as archive:
            archive.deliver(numbered(0, 10))
        for log, adopted, duplicates in (("c/t", True, 10), ("c/t", True, 12), ("c/other", False, 0)):
            with writer(settings, tmp_path) as archive:
                batch = archive.batch(numbered(0, 12))
                batch.log, batch.adopted = log, adopted
                archive.delivery.write([batch])
                archive.settle()
                assert archive.delivery.ledger.duplicates == duplicates

    def test_two_writers_of_one_partition(self, tmp_path: Path) -> None:
        """Two that write the same partition at once, as when one was thought to be dead, add each record once."""
        settings = configured(tmp_path / "a")

        def run() -> None:
            with writer(settings, tmp_path) as archive:
                for start in range(0, 400, 20):
                    archive.deliver(numbered(start, start + 20), start)

        threads = [threading.Thread(target=run) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert ids(tmp_path / "a") == [str(number) for number in range(400)]


def together(place: str, tmp_path: Path, commits: int, **archive: Any) -> None:
    """Have two writers, of a partition each, make so many commits at once."""

    def run(partition: int) -> None:
        with writer(configured(place, archive=archive), tmp_path / str(partition)) as made:
            for start in range(0, commits * 10, 10):
                made.deliver(numbered(start, start + 10), start, "logs", partition)

    threads = [threading.Thread(target=run, args=(partition,)) for partition in (0, 1)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


class TestTwoWriters:
    def test_local(self, tmp_path: Path) -> None:
        """Two writers at once, which also make the table at once, lose no commit on a local disk."""
        together(str(tmp_path / "a"), tmp_path, 20)
        assert ids(tmp_path / "a") == [str(number) for number in range(200)] * 2

    def test_s3(self, tmp_path: Path) -> None:
        """Two writers at once lose no commit in S3."""
        from moto.server import ThreadedMotoServer

        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            access = {
                "endpoint_url": f"http://{host}:{port}",
                "region": "us-east-1",
                "access_key_id": "id",
                "secret_access_key": SECRET,
            }
            settings = configured("s3://logs/an/archive", archive=access)
            with writer(settings, tmp_path, flush_interval=0.05) as archive:
                archive.write(numbered(0, 1), 0, "before")
                issue = archive.issue()
                assert "NoSuchBucket" in issue
                assert SECRET not in repr(archive.told) + issue
            store: Any = settings.retention.archive.store()
            store._aws.connected().create_bucket(Bucket="logs")
            together("s3://logs/an/archive", tmp_path, 8, **access)
            assert ids("s3://logs/an/archive", store.options()) == [str(number) for number in range(80)] * 2
            assert store.probe() == Delivered()
            store.close()
        finally:
            server.stop()


class TestFaults:
    @pytest.mark.parametrize(
        "archive",
        [
            {"path": "ftp://x"},
            {"path": "s3:///prefix"},
            {"path": ""},
            {"region": "eu-west-1"},
            {"path": "s3://b", "access_key_id": "id"},
            {"from": "all"},
        ],
    )
    def test_settings(self, archive: dict[str, Any]) -> None:
        """What can't work is refused before anything is written."""
        with pytest.raises(ValidationError):
            configured("./archive", archive=archive)

    def test_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A directory needs no region and no credentials, whatever variables are set; S3 takes the usual ones."""
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
        assert configured("./archive").retention.archive.region is None
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        archive = configured("s3://bucket").retention.archive
        assert archive.region == "eu-west-1"
        assert SECRET not in repr(archive)

    def test_all_of_it_lasts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before a commit all files are on the disk and all names that lead to them, each written to it once."""
        fsync, commit = os.fsync, ArchiveDestination._commit
        synced: list[Path] = []
        committed: list[int] = []

        def noted(descriptor: int) -> None:
            synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
            fsync(descriptor)

        def counted(*arguments: Any) -> None:
            committed.append(len(synced))
            commit(*arguments)

        monkeypatch.setattr(os, "fsync", noted)
        monkeypatch.setattr(ArchiveDestination, "_commit", counted)
        records = [b'{"level":"info","timestamp":"2026-01-%02dT00:00:00Z"}' % day for day in range(1, 31)]
        with writer(configured(tmp_path / "deep/a"), tmp_path) as archive:
            archive.deliver(records)
        before = [each for each in synced[: committed[0]] if "_delta_log" not in each.parts]
        files = set((tmp_path / "deep/a").rglob("*.parquet"))
        assert len(files) == 30
        names = {parent for file in files for parent in file.parents if parent.is_relative_to(tmp_path / "deep/a")}
        assert files | names <= set(before)
        assert len(before) == len(set(before))

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """When the disk is full the stream holds, with the fix in words, and leaves no half of a file."""
        fsync, full = os.fsync, True

        def failing(descriptor: int) -> None:
            if full and Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".parquet":
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", failing)
        with writer(configured(tmp_path / "a"), tmp_path, flush_interval=0.05) as archive:
            archive.write(numbered(0, 10))
            archive.write([WHOLE], 10)
            issue = archive.issue()
            assert "No space left on device: free some space, or set retention.archive elsewhere" in issue
            assert list((tmp_path / "a").rglob("*.parquet")) == []
            full = False
            archive.settle()
        assert len(ids(tmp_path / "a")) == 11

    @pytest.mark.parametrize(("below", "said"), [("file/a", "a file where a directory should be"), ("file", "")])
    def test_a_file_in_the_way(self, tmp_path: Path, below: str, said: str) -> None:
        """A place that can't be a directory holds the stream, and the check finds it too."""
        (tmp_path / "file").write_text("")
        with writer(configured(tmp_path / below), tmp_path, flush_interval=0.05) as archive:
            found = archive.destination.probe()
            assert isinstance(found, Hold)
            archive.write(numbered(0, 1))
            assert said in archive.issue()
            assert "retention.archive" in archive.issue()

    def test_a_place_that_nothing_can_be_made_in(self, tmp_path: Path) -> None:
        """A file system that takes nothing holds the stream."""
        with writer(configured("/proc/archive"), tmp_path, flush_interval=0.05) as archive:
            archive.write(numbered(0, 1))
            assert archive.issue() or archive.told

    def test_another_table(self, tmp_path: Path) -> None:
        """A table of another kind is left alone, with the setting to change."""
        write_deltalake(tmp_path / "a", pa.table({"x": [1]}))
        with writer(configured(tmp_path / "a"), tmp_path, flush_interval=0.05) as archive:
            said = "is a table of another kind: it is partitioned by nothing: set retention.archive elsewhere"
            found = archive.destination.probe()
            assert isinstance(found, Hold)
            assert said in found.issue
            archive.write(numbered(0, 1))
            assert said in archive.issue()
        write_deltalake(
            tmp_path / "b",
            pa.table({"retention": ["7d"], "date": ["x"], "raw": [b""]}),
            partition_by=["retention", "date"],
        )
        with writer(configured(tmp_path / "b"), tmp_path, flush_interval=0.05) as archive:
            found = archive.destination.probe()
            assert isinstance(found, Hold)
            assert "its column date is string" in found.issue

    def test_without_the_libraries(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without deltalake the archive says how to get it."""
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "deltalake" else name)
        with pytest.raises(DestinationError, match=r"pip install 'logweir\[archive\]'"):
            configured(tmp_path / "a").open(lambda _: lambda _: None, None)

    def test_a_check_makes_nothing(self, tmp_path: Path) -> None:
        """A check before the first record makes no directory; one beside the flow finds all well."""
        with writer(configured(tmp_path / "x" / "a"), tmp_path, flush_interval=0.05) as archive:
            assert archive.destination.probe() == Delivered()
            assert not (tmp_path / "x").exists()
            archive.deliver(numbered(0, 1))
            assert archive.destination.probe() == Delivered()

    def test_a_table_that_is_deleted_is_made_again(self, tmp_path: Path) -> None:
        """Deleting the archive of a running flow costs what was in it, and no record that comes after."""
        import shutil

        with writer(configured(tmp_path / "a"), tmp_path, flush_interval=0.05) as archive:
            archive.deliver(numbered(0, 10))
            shutil.rmtree(tmp_path / "a")
            archive.deliver(numbered(10, 20), 10)
        assert ids(tmp_path / "a") == [str(number) for number in range(10, 20)]


class TestS3Faults:
    @pytest.fixture
    def server(self) -> Iterator[FakeS3]:
        """A new strict stand-in for S3, which here only refuses."""
        with FakeS3(SECRET) as fake:
            yield fake

    def configured(self, server: FakeS3, **changes: Any) -> Any:
        """Return an archive in the stand-in."""
        access = {
            "endpoint_url": server.url,
            "region": server.region,
            "access_key_id": server.access_key,
            "secret_access_key": SECRET,
            **changes,
        }
        return configured("s3://bucket/archive", archive=access)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"access_key_id": "wrong"}, "InvalidAccessKeyId"),
            ({"secret_access_key": "wr0ng-s3cret"}, "check secret_access_key"),
            ({"session_token": "wr0ng-t0ken"}, "check session_token"),
        ],
    )
    def test_credentials(self, server: FakeS3, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
        """Wrong credentials hold the stream with the name of the setting, and are told to nobody."""
        with writer(self.configured(server, **changes), tmp_path, flush_interval=0.05) as archive:
            found = archive.destination.probe()
            assert isinstance(found, Hold)
            assert said in found.issue
            archive.write(numbered(0, 1))
            assert said in archive.issue()
            shown = repr(archive.told) + archive.issue()
            assert "wr0ng" not in shown
            assert SECRET not in shown

    def test_region(self, server: FakeS3) -> None:
        """The bucket is asked for its region."""
        store = self.configured(server, region="us-east-1").retention.archive.store()
        assert store.options()["aws_region"] == server.region
        store.close()

    def test_permissions(self, server: FakeS3, tmp_path: Path) -> None:
        """Credentials that may not are told what they have to be allowed."""
        server.fault = error(403, "AccessDenied", "Access Denied")
        with writer(self.configured(server), tmp_path, flush_interval=0.05) as archive:
            found = archive.destination.try_out()
            assert isinstance(found, Hold)
            assert "s3:PutObject" in found.issue
            archive.write(numbered(0, 1))
            assert (
                "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on retention.archive" in archive.issue()
            )

    def test_a_store_that_is_away(self, tmp_path: Path) -> None:
        """A store that can't be reached is tried again."""
        access = {
            "endpoint_url": "http://127.0.0.1:9",
            "region": "x",
            "access_key_id": "i",
            "secret_access_key": SECRET,
        }
        with writer(configured("s3://bucket/archive", archive=access), tmp_path, flush_interval=0.05) as archive:
            found = archive.destination.probe()
            assert isinstance(found, Retry)
            assert SECRET not in found.reason
