"""`logweir search`: from options to a query, and records to standard output, for people or as they are."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from flows.archiving import FlowArchive
from flows.compaction.opened import in_words
from flows.explain import holds_text
from flows.holding import LegalHolds
from flows.matching import Matcher
from flows.search.answer import Search
from flows.search.newest import Row
from flows.search.query import Query, values_needed
from logweir.batch import Batch
from logweir.dates import EARLIEST_SECONDS
from logweir.errors import LogweirError
from logweir.record import LEVELS, LevelTable
from logweir.retention import expires
from logweir.settings import nearest
from logweir.terminal import visible
from logweir.times import epoch_seconds, rfc3339
from logweir.units import parse_duration
from operators.decode import Decoder
from operators.projection import Projection
from operators.settled import Levels
from operators.where import parse
from sinks.console import FIELDS, Pretty


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of a search, as they were given."""

    since: str | None = None
    until: str | None = None
    levels: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    where: str | None = None
    text: str = ""

    def query(self, archive: FlowArchive, now: float) -> Query:
        """Return what they ask for.

        Raises:
            ValueError: One can't be read; the message says which and why.
        """
        values = {
            "level": frozenset(map(_level, self.levels)),
            "service": frozenset(self.services),
            "category": frozenset(self.categories),
            "trace_id": frozenset(self.traces),
        }
        found = {name: wanted for name, wanted in values.items() if wanted}
        matcher = None
        if self.where is not None:
            try:
                where = parse(self.where)
            except ValueError as error:
                msg = f"--where: {error}"
                raise ValueError(msg) from error
            matcher = Matcher(where, archive.layout)
            for name, wanted in values_needed(where).items():
                found[name] = found[name] & wanted if name in found else wanted
        try:
            self.text.encode()
        except UnicodeEncodeError:
            msg = "TEXT: holds bytes that are no UTF-8"
            raise ValueError(msg) from None
        since, until = (_moment(name, getattr(self, name), now) for name in ("since", "until"))
        if since is not None and until is not None and since >= until:
            msg = f"--until: lies before --since, {self.since}; nothing can be between them"
            raise ValueError(msg)
        return Query(since, until, found, self.text, matcher)


def _level(text: str) -> str:
    found = LevelTable()[text]
    if found is None:
        msg = f"--level: {text!r} is no level, allowed: {', '.join(LEVELS)}{nearest(text, LEVELS)}"
        raise ValueError(msg)
    return found


def _moment(name: str, text: str | None, now: float) -> datetime | None:
    """Return the moment that an option means: so long ago, or a time."""
    if text is None:
        return None
    try:
        seconds: float | None = now - parse_duration(text)
    except ValueError:
        seconds = epoch_seconds(text)
    if seconds is not None and seconds >= EARLIEST_SECONDS:
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError):
            pass
    msg = f"--{name}: {text!r} is neither a duration such as 15m, 1h or 7d nor a time such as 2026-01-31T12:00:00Z"
    raise ValueError(msg)


class Lines:
    """Makes lines for people of what was found.

    Args:
        archive: The flow's archive.
        colours: Whether the reader understands ANSI colours.
        kept: Whether it is shown how long each record is kept.
    """

    def __init__(self, archive: FlowArchive, *, colours: bool, kept: bool) -> None:
        projection = Projection(FIELDS, archive.layout, identified=False)
        self._decode = Decoder(projection, final=False)
        self._levels = Levels(projection)
        self._pretty = Pretty(projection.getter, colours, dated=True)
        self._kept = kept
        self._holds = LegalHolds(archive.retention.hold, archive.layout)

    def __call__(self, rows: list[Row]) -> bytes:
        """Return the lines of some records."""
        batch = Batch("", 0, [row.raw for row in rows], range(len(rows)))
        batch.records = [None] * len(rows)
        self._decode(batch)
        lines = [visible(row.raw.decode(errors="replace")) for row in rows]
        for at, record in zip(batch.offsets, batch.records, strict=True):
            (level,) = self._levels([record])
            lines[at] = self._pretty.line(record, rfc3339(rows[at].key.moment / 1e6), level)
        if self._kept:
            held = self._held(rows)
            lines = [
                f"{line}\n    {visible(_kept(row) + holds_text(names))}"
                for line, row, names in zip(lines, rows, held, strict=True)
            ]
        return "".join(f"{line}\n" for line in lines).encode()

    def _held(self, rows: list[Row]) -> list[list[str]]:
        """Return the holds of each record."""
        import pyarrow as pa

        found: list[list[str]] = [[] for _ in rows]
        for name, places in self._holds.by_name(pa.array([row.raw for row in rows], pa.binary())).items():
            for place in places:
                found[place].append(name)
        return found


def _kept(row: Row) -> str:
    period, day = row.file.retention or "", row.file.day
    try:
        end = expires(day, period) if day is not None else None
    except ValueError:  # another program's class
        end = None
    return f"kept {period}" + (f"; expires {rfc3339(end.timestamp())}" if end else "")


def search(
    archive: FlowArchive,
    asked: Asked,
    *,
    limit: int,
    follow: bool,
    kept: bool,
    as_json: bool,
    out: BinaryIO | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Write what is found to standard output and return the exit code, 0.

    Args:
        archive: The flow's archive.
        asked: What is asked for.
        limit: The most records; with `follow`, of those that are there already.
        follow: Whether to go on with what is added, until interrupted.
        kept: Whether it is shown how long each record is kept.
        as_json: Records as they are, one on a line, instead of lines for people.
        out: Where they go; standard output when left out.
        stopped: Whether to end a `follow` that has given all that there is.

    Raises:
        ValueError: An option can't be read.
        LogweirError: The archive can't be read.
    """
    query = asked.query(archive, time.time())
    out = sys.stdout.buffer if out is None else out
    colours = out.isatty() and not os.environ.get("NO_COLOR")
    write = _raw if as_json else Lines(archive, colours=colours, kept=kept)
    store = archive.retention.archive.store()
    try:
        asks = Search(store, query)
        rows: Iterable[Row | None] = asks.follow(limit, stopped) if follow else asks.newest(limit)
        _write(rows, write, out)
    except KeyboardInterrupt:
        if not follow:
            raise
    except (BrokenPipeError, LogweirError):
        raise
    except Exception as error:
        raise LogweirError(in_words(store, error)) from error
    finally:
        store.close()
    if asks.missed:
        sys.stderr.write(f"{asks.missed} commits were removed from the archive before they were read\n")
    return 0


_TOGETHER = 100
"""Records that are written at a time."""


def _write(rows: Iterable[Row | None], write: Callable[[list[Row]], bytes], out: BinaryIO) -> None:
    waiting: list[Row] = []
    for row in rows:
        if row is not None:
            waiting.append(row)
        if waiting and (row is None or len(waiting) >= _TOGETHER):
            out.write(write(waiting))
            waiting = []
        if row is None:
            out.flush()
    if waiting:
        out.write(write(waiting))
    out.flush()


def _raw(rows: list[Row]) -> bytes:
    return b"".join(row.raw + b"\n" for row in rows)
