"""What an erasure tells: what is gone, what stays and why, and what it doesn't reach."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flows.compaction.figures import length
from flows.config import Flow
from flows.erasure.erase import Erasure
from flows.sources.kafka import Kafka
from logweir.terminal import visible
from logweir.times import rfc3339
from logweir.units import format_bytes


def to_dict(erasure: Erasure, flow: Flow) -> dict[str, Any]:
    """Return it as plain JSON."""
    return {
        "dry_run": erasure.dry_run,
        "complete": erasure.complete,
        "erased": erasure.erased.total(),
        "erased_by_class": dict(_by_class(erasure)),
        "held": erasure.kept,
        "held_by": dict(erasure.held),
        "partitions": len(erasure.partitions),
        "files": erasure.files,
        "bytes_before": erasure.bytes_before,
        "bytes_after": erasure.bytes_after,
        "files_deleted": erasure.deleted,
        "bytes_deleted": erasure.deleted_bytes,
        "log_files_cleaned": erasure.log,
        "pending": {path: rfc3339(moment) for path, moment in erasure.pending.items()},
        "unsettled": erasure.unsettled,
        "foreign_files": erasure.foreign,
        "not_reached": not_reached(flow),
    }


def text(erasure: Erasure, flow: Flow) -> str:
    """Return it in words."""
    gone = "would be erased" if erasure.dry_run else "erased"
    where = f"{erasure.files:,} files of {len(erasure.partitions):,} partitions"
    lines = [f"{erasure.erased.total():,} records {gone}, from {where}"]
    lines += [f"  {number:>14,}  kept {name}" for name, number in _by_class(erasure)]
    if erasure.kept:
        lines.append(f"{erasure.kept:,} records are held, and stay")
        lines += [f"  {number:>14,}  held by '{name}'" for name, number in sorted(erasure.held.items()) if number]
    if erasure.dry_run:
        lines.append(f"{format_bytes(erasure.bytes_before)} would be read and written anew without them")
    else:
        deleted = f"{erasure.deleted:,} files ({format_bytes(erasure.deleted_bytes)}) were deleted"
        lines.append(f"{format_bytes(erasure.bytes_before)} became {format_bytes(erasure.bytes_after)}; {deleted}")
        lines.append(f"{erasure.log:,} files of the table's log were cleaned")
    lines += _left(erasure)
    lines += ["Not reached:", *(f"  {each}" for each in not_reached(flow))]
    return "\n".join(map(visible, lines))


def _left(erasure: Erasure) -> list[str]:
    """Return what is left to be done."""
    lines = []
    if erasure.pending:
        when = datetime.fromtimestamp(max(erasure.pending.values()), UTC).isoformat(timespec="seconds")
        lines.append(
            f"NOT COMPLETE: {len(erasure.pending):,} files that no commit has named yet may hold such records; "
            f"run it again after {when.replace('+00:00', 'Z')}"
        )
        lines += [f"  {path}" for path in sorted(erasure.pending)]
    lines += [f"NOT COMPLETE: {key}: others changed it all the time; run it again" for key in erasure.unsettled]
    if erasure.foreign:
        lines.append(
            f"NOT COMPLETE: {erasure.foreign:,} files are under classes that aren't logweir's, and were not looked at"
        )
    return lines


def not_reached(flow: Flow) -> list[str]:
    """Return where such records may be that an erasure leaves alone."""
    source, dead_letter = flow.source, flow.dead_letter
    letters = f"the directory {dead_letter.directory}"
    if dead_letter.directory is None:
        letters = f"the topics {dead_letter.topic_prefix}*"
    reached = [f"the topic {topic}, until its own retention" for topic in getattr(source, "topics", [])]
    if not isinstance(source, Kafka):
        reached = [f"what the source reads ({getattr(source, 'type', 'source')})"]
    reached += [f"dead letters in {letters}"]
    reached += [f"the destination {name} ({getattr(each, 'type', '')})" for name, each in flow.destinations.items()]
    reached += ["backups and copies of the archive, and what a bucket with versioning keeps of deleted objects"]
    return reached


def _by_class(erasure: Erasure) -> list[tuple[str, int]]:
    return sorted(erasure.erased.items(), key=lambda each: length(each[0]))
