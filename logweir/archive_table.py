"""The archive as a table: what every part that writes, compacts, searches or erases has to agree on.

The archive is one Delta Lake table, in a directory or under s3://bucket/prefix. Any reader of Delta Lake opens it.

**Columns**, in this order (`columns()`):

    retention    string      the class: how long the record is kept, as `logweir.retention` spells it (7d, 1y, forever)
    date         date        the UTC date of `timestamp`
    timestamp    timestamp   microseconds, UTC: the record's own time, or of its arrival where that can't be true
    id           string      the record's own id, else topic-partition-offset
    level        string      one of trace, debug, info, warn, error, fatal; null where it has none of them
    category     string      these four as they stand in the record; what is no text, as JSON; null where it is missing
    service      string
    message      string
    trace_id     string
    policy       string      the retention policy that decided when it was written or moved; null where none took it
    topic        string      where the record was read
    partition    int         -1 for what the flow made itself, such as a limit's summary
    offset       long
    raw          binary      the whole record as it was read (after redaction): UTF-8, one JSON object on one line
    digest       string      xxh3 of the record's bytes as they were read, 16 hexadecimal digits, where `raw` has others

A record's identity, by which a replay meets what was delivered, is `id` joined with `digest`, or with the digest of
`raw` where that is null: see operators/identity.py. Tables of earlier versions have no `digest`; a writer adds it.

**Partitions.** `retention` and `date`: their values stand in the paths (`directory`) and in the log, not in the files.
All records of a partition expire at the same moment, `logweir.retention.expires(date, retention)`.

**Files.** Parquet, zstd. Those that the flow writes hold one row group, ordered by service, category and level, and
within these as the records came. The log has the least and the greatest value of `STATISTICS`, so that readers skip
files; a file has them too, and a Bloom filter of `BLOOM`. Names are unique, and no file is ever changed.

**Paths.** The log names each file by its path below the table, encoded as in a URL. The protocol also permits whole
addresses. Whoever can write to the log could name a file of another table in either way, and have it read, moved or
deleted here. So every path from the log goes through `checked_path` before it is used.

**Exactly once.** A commit of the flow has a transaction for each topic-partition with records in it: `application` is
its id, its version the offset after the last record. A writer reads the version, leaves out what lies below it, and
commits on top of the snapshot in which it has read it; delta-rs refuses the commit if another one has had the same id
since. Checkpoints and the cleanup of the log keep transactions.

**Rewrites** (compaction, a move to another class, an erasure) have none of these transactions. Those that add and
remove files without a change of data are not checked against each other by delta-rs: two that read the same files both
succeed, and each row is there twice. That holds for `optimize.compact` too, which also ignores the transactions that it
is given. So who rewrites makes the log's entry itself, after a look at all that came in between: see
flows/compaction/view.py.

**Orphans.** A writer that dies between its files and its commit leaves files that no commit names. A commit whose
answer is lost may have been carried out, so a writer never deletes files that it has tried to commit. Vacuum removes
them, and must leave alone what is younger than `GRACE_SECONDS`: its commit may still come.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from logweir.errors import LogweirError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

PARTITIONED_BY: Final = ("retention", "date")
STATISTICS: Final = ("timestamp", "id", "level", "category", "service", "topic", "partition", "offset")
"""The columns whose least and greatest values are kept for each file."""
BLOOM: Final = ("trace_id",)
"""The columns with a Bloom filter in each file: their values have no order that files could be skipped by."""
GRACE_SECONDS: Final = 3600
"""A file that is in no commit may still get into one this long after it was written."""
LOG: Final = "_delta_log"
"""The directory of the table's log, below the table."""
MADE: Final = -1
"""The partition of records that the flow made itself: they have no place in a topic, and no transaction."""

_FIELDS: Final = {
    "retention": "string",
    "date": "date",
    "timestamp": "timestamp",
    "id": "string",
    "level": "string",
    "category": "string",
    "service": "string",
    "message": "string",
    "trace_id": "string",
    "policy": "string",
    "topic": "string",
    "partition": "integer",
    "offset": "long",
    "raw": "binary",
    "digest": "string",
}
"""Each column's type, in the words of the Delta Lake protocol."""
_ADDED: Final = ("digest",)
"""Columns that tables of earlier versions don't have."""


def columns() -> pa.Schema:
    """Return the table's columns, as Arrow has them."""
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", "UTC"),
        "integer": pa.int32(),
        "long": pa.int64(),
        "binary": pa.binary(),
    }
    return pa.schema([(name, types[kind]) for name, kind in _FIELDS.items()])


def directory(retention: str, day: date) -> str:
    """Return where the files of a partition lie, below the table."""
    return f"retention={retention}/date={day.isoformat()}"


def checked_path(path: str, place: str) -> str:
    """Return the path of a file as the log names it.

    Args:
        path: The path.
        place: The table.

    Raises:
        LogweirError: It leads out of the table, or into the log, or isn't spelt as a listing of the table spells it.
    """
    if is_inside(path) and path.partition("/")[0] != LOG:
        return path
    msg = (
        f"{place}: its log names the file {path!r}, which lies outside the table or isn't spelt as files of the table "
        "are. logweir reads, moves and deletes nothing before the log is mended. Find out who wrote that entry of "
        f"{LOG}, then commit a remove action of that path"
    )
    raise LogweirError(msg)


def is_inside(path: str) -> bool:
    """Tell whether a path leads to somewhere below the table, whether or not its reader decodes it first."""
    return all(
        "\0" not in each and ":" not in each.partition("/")[0] and not {"", ".", ".."} & set(each.split("/"))
        for each in (path, unquote(path))
    )


def application(flow: str, log: str, partition: int, generation: int = 0) -> str:
    """Return the id of the transactions of a topic-partition.

    Args:
        flow: The flow's name.
        log: The name of the log whose offsets these are. Earlier versions wrote the topic's name, which another log
            may have had before.
        partition: The partition's number.
        generation: Earlier versions counted by it how often the topic was deleted and made anew.
    """
    place = f"{flow}/{log}/{partition}"
    return f"{place}#{generation}" if generation else place


def open_table(place: str, options: dict[str, str] | None = None) -> DeltaTable | None:
    """Return the table as it is now; None where there is none.

    Args:
        place: A directory, or s3://bucket/prefix.
        options: Credentials and the like, in delta-rs's names: the archive's settings give them.

    Raises:
        LogweirError: There is another table.
        Exception: Whatever deltalake raises where it can't read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import TableNotFoundError

    try:
        table = DeltaTable(place, storage_options=options)
    except TableNotFoundError:
        return None
    if problem := difference(table):
        msg = f"{place} is a table of another kind: {problem}"
        raise LogweirError(msg)
    return table


def complete_table(table: DeltaTable) -> None:
    """Give a table of an earlier version the columns that it lacks; its files have null there."""
    from deltalake import Field
    from deltalake.schema import PrimitiveType

    there = {field.name for field in table.schema().fields}
    if lacking := [Field(name, PrimitiveType(_FIELDS[name]), nullable=True) for name in _ADDED if name not in there]:
        table.alter.add_columns(lacking)


def create_table(place: str, options: dict[str, str] | None = None) -> DeltaTable:
    """Return the table, made if there is none. Two that make it at once get the same one."""
    from deltalake import DeltaTable

    return DeltaTable.create(
        place,
        columns(),
        mode="ignore",
        partition_by=list(PARTITIONED_BY),
        name="logweir archive",
        description="Log records by retention class and UTC date, written by logweir.",
        storage_options=options,
    )


def difference(table: Any) -> str:
    """Return in what a Delta Lake table is none of ours; nothing where it is one. It may have columns beside ours."""
    if tuple(table.metadata().partition_columns) != PARTITIONED_BY:
        return f"it is partitioned by {', '.join(table.metadata().partition_columns) or 'nothing'}"
    found = {field.name: getattr(field.type, "type", "a nested type") for field in table.schema().fields}
    wrong = [name for name, kind in _FIELDS.items() if found.get(name, kind if name in _ADDED else "") != kind]
    return f"its column {wrong[0]} is {found.get(wrong[0], 'missing')}" if wrong else ""
