"""`logweir retention`: what is in the archive of a flow, and what has expired goes now."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.terminal import say, say_json

if TYPE_CHECKING:
    from flows.archiving import FlowArchive
    from flows.config import Flow
    from flows.retention_report import Cleaned

_FLOW = click.argument("flow", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def retention() -> None:
    """Show what the archive of a flow holds and how long, and delete what has expired."""


@retention.command()
@_FLOW
@_JSON
def stats(flow: Path, *, as_json: bool) -> None:
    """Count the records of FLOW's archive: retained, deleted, by class, and when the next of them expire."""
    from flows.compaction.figures import figures
    from flows.compaction.opened import compactor_of, told
    from flows.retention_report import stats_text

    archive = archive_at(flow)
    view = compactor_of(archive, "stats").view
    with told(view.store):
        view.load()
        found = figures(view, classes_of(archive))
    holds = [each.name for each in archive.retention.hold]
    if as_json:
        say_json(found.to_dict())
    else:
        say(stats_text(found, holds))


@retention.command()
@_FLOW
@_JSON
def policies(flow: Path, *, as_json: bool) -> None:
    """Show what each policy of FLOW holds in the archive."""
    from flows.compaction.figures import by_policy
    from flows.compaction.opened import compactor_of, told
    from flows.retention_report import policies_text, policies_told

    archive = archive_at(flow)
    view = compactor_of(archive, "policies").view
    with told(view.store):
        view.load()
        listed = policies_told(archive.retention, by_policy(view))
    if as_json:
        say_json(listed)
    else:
        say(policies_text(listed))


@retention.command()
@_FLOW
@click.option("--dry-run", is_flag=True, help="Only tell what would be deleted.")
@_JSON
def cleanup(flow: Path, *, dry_run: bool, as_json: bool) -> None:
    """Delete now what has expired in FLOW's archive, moved by the policies of today, and tell what that was."""
    cleaned = clean(archive_at(flow), dry_run=dry_run)
    if as_json:
        say_json(cleaned.to_dict())
    else:
        say(cleaned.text())
    if cleaned.unsettled:
        raise SystemExit(1)


def clean(archive: FlowArchive, clock: Callable[[], float] = time.time, *, dry_run: bool = False) -> Cleaned:
    """Delete what has expired, and return what that was.

    Args:
        archive: The flow's archive.
        clock: The present, as it counts for expiry.
        dry_run: Change nothing.

    Raises:
        LogweirError: The archive can't be read or changed.
    """
    from flows.compaction.opened import compactor_of, told
    from flows.compaction.vacuum import vacuum
    from flows.retention_report import Cleaned

    compactor = compactor_of(archive, "cleanup", clock, merge=False)
    cleaned = Cleaned(dry_run)
    with told(compactor.view.store):
        compactor.view.load()
        for partition in sorted(compactor.view.partitions):
            cleaned.done.append(compactor.foresee(partition) if dry_run else compactor.tend(partition, {}))
        if compactor.view.exists:
            cleaned.vacuumed = vacuum(compactor.view, archive.retention.compaction.grace, dry_run=dry_run)
    return cleaned


def classes_of(archive: FlowArchive) -> list[str]:
    """Return the retention classes that the policies of a flow have."""
    return [*(each.period for each in archive.retention.asked), archive.retention.default_period]


def archive_at(path: Path) -> FlowArchive:
    """Return the archive of a flow file, and let no secret of it be in what is told of an error from here on."""
    from flows.compaction.opened import asked_of
    from flows.config import load

    loaded = load(path)
    keep(loaded.flow)
    return asked_of(loaded)


def keep(flow: Flow) -> None:
    """Let no secret of a flow be in what is told of an error from here on."""
    from logweir.secrecy import Secrets

    click.get_current_context().find_root().obj = Secrets.of_settings(flow)
