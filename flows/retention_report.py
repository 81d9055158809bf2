"""What `logweir retention` shows: what is in the archive, what each policy holds, what a cleanup deletes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.compaction.execute import Done
from flows.compaction.figures import Figures, Kept, length
from flows.compaction.vacuum import Vacuumed
from flows.show import table
from logweir.terminal import visible
from logweir.units import format_bytes
from operators.retention import ranked
from operators.retention_models import Policies

_NO_ARCHIVE = "nothing has been archived yet"


def stats_text(figures: Figures, holds: Sequence[str] = ()) -> str:
    """Return what is in the archive as a table.

    Args:
        figures: What is there.
        holds: The names of the flow's legal holds.
    """
    if figures.version < 0:
        return _NO_ARCHIVE
    told = figures.to_dict()
    head = (
        f"{told['total']:,} records archived: {told['retained']:,} retained ({format_bytes(told['bytes'])} in "
        f"{told['files']:,} files), {told['deleted']:,} deleted when they expired"
        + (f", {told['erased']:,} erased" if told["erased"] else "")
    )
    lines = [head, "", table(("CLASS", *_HEAD, "DELETED"), _stats_rows(figures))]
    if holds:
        lines += ["", f"What is held stays when it has expired: {visible(', '.join(holds))}"]
    if figures.foreign:
        lines += ["", f"{figures.foreign:,} files are under classes that aren't logweir's; they are left alone"]
    return "\n".join(lines)


def _stats_rows(figures: Figures) -> list[tuple[str, ...]]:
    return [(name, *_cells(kept), f"{figures.deleted_by_class.get(name, 0):,}") for name, kept in figures.kept.items()]


def policies_told(settings: Policies, held: Mapping[tuple[str | None, str], Kept]) -> list[dict[str, Any]]:
    """Return what each policy holds as plain JSON: those of the flow as they are asked, then what others have left.

    Args:
        settings: The flow's policies.
        held: What the archive holds by policy and class.
    """
    asked = [(each.name, each.period) for each in ranked(settings.asked)]
    listed: list[tuple[str | None, str]] = [*asked, (None, settings.default_period)]
    others = sorted(held.keys() - set(listed), key=lambda each: (str(each[0] or ""), length(each[1])))
    return [
        {
            "policy": name,
            "period": period,
            "in_flow": (name, period) in listed,
            **held.get((name, period), Kept()).to_dict(),
        }
        for name, period in [*listed, *others]
    ]


def policies_text(told: list[dict[str, Any]]) -> str:
    """Return the same as a table."""
    rows = [
        (
            each["policy"] or "(no policy)",
            each["period"],
            f"{each['records']:,}",
            format_bytes(each["bytes"]),
            each["oldest"] or "",
            _expiry(each["next_expiry"], each["expiring"])
            + ("" if each["in_flow"] else "  not in the flow: its records move with the next compaction"),
        )
        for each in told
    ]
    return table(("POLICY", "KEPT", "RECORDS", "BYTES", "OLDEST", "NEXT EXPIRY"), rows)


@dataclass(slots=True)
class Cleaned:
    """What a cleanup has deleted, or would."""

    dry_run: bool
    done: list[Done] = field(default_factory=list)
    vacuumed: Vacuumed = field(default_factory=Vacuumed)

    @property
    def unsettled(self) -> list[Done]:
        """Those partitions that others have changed all the time, so that not all could be done."""
        return [each for each in self.done if not each.settled]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "dry_run": self.dry_run,
            "expired": self._sum("expired").total(),
            "expired_by_class": dict(self._sum("expired")),
            "moved_to_class": dict(self._sum("moved")),
            "partitions": [
                {
                    "retention": each.partition.retention,
                    "date": each.partition.day.isoformat(),
                    "expired": dict(each.expired),
                    "moved": dict(each.moved),
                    "bytes": each.bytes_removed,
                }
                for each in self._changed
            ],
            "files_deleted": self.vacuumed.files,
            "bytes_deleted": self.vacuumed.bytes,
            "unsettled": [each.partition.key for each in self.unsettled],
        }

    def text(self) -> str:
        """Return it as a table."""
        would = "would " if self.dry_run else ""
        rows = [
            (
                each.partition.day.isoformat(),
                each.partition.retention,
                f"{each.expired.total():,}",
                ", ".join(f"{number:,} to {name}" for name, number in sorted(each.moved.items())),
            )
            for each in self._changed
        ]
        lines = [table(("DATE", "CLASS", "EXPIRED", "MOVED"), rows), ""] if rows else []
        gone = self._sum("expired")
        verb = "expire" if self.dry_run else "expired"
        lines.append(f"{gone.total():,} records {would}{verb}")
        lines += [
            f"  {number:>14,}  kept {visible(name)}"
            for name, number in sorted(gone.items(), key=lambda e: length(e[0]))
        ]
        verb = "be deleted" if self.dry_run else "were deleted"
        size = format_bytes(self.vacuumed.bytes)
        lines.append(f"{self.vacuumed.files:,} files ({size}) that the table needs no longer {would}{verb}")
        lines += [f"{each.partition.key}: others changed it all the time; try again" for each in self.unsettled]
        return "\n".join(lines)

    @property
    def _changed(self) -> list[Done]:
        return sorted((each for each in self.done if each.expired or each.moved), key=lambda each: each.partition[::-1])

    def _sum(self, name: str) -> Counter[str]:
        added: Counter[str] = Counter()
        for each in self.done:
            added.update(getattr(each, name))
        return added


_HEAD = ("RECORDS", "BYTES", "FILES", "OLDEST", "NEXT EXPIRY")


def _cells(kept: Kept) -> tuple[str, ...]:
    told = kept.to_dict()
    return (
        f"{kept.records:,}",
        format_bytes(kept.bytes),
        f"{kept.files:,}",
        kept.oldest or "",
        _expiry(told["next_expiry"], kept.expiring) if kept.records else "",
    )


def _expiry(moment: str | None, records: int) -> str:
    return "" if moment is None else f"{moment[:10]} ({records:,} record{'' if records == 1 else 's'})"
