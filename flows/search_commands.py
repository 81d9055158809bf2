"""`logweir search`: records in the archive of a flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_FLOW = click.argument("flow", type=click.Path(path_type=Path))


@click.command()
@_FLOW
@click.argument("text", required=False, default="")
@click.option("--since", help="Not older: a duration such as 1h, or a time such as 2026-01-31T12:00:00Z.")
@click.option("--until", help="Older: likewise.")
@click.option("--level", "levels", multiple=True, help="Of this level; may be given several times, for one of them.")
@click.option("--service", "services", multiple=True, help="Of this service; likewise.")
@click.option("--category", "categories", multiple=True, help="Of this category; likewise.")
@click.option("--trace", "traces", multiple=True, help="Of the trace with this id; likewise.")
@click.option("--where", help='That meet this expression, such as "performance.duration > 1000".')
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most records.")
@click.option("--follow", is_flag=True, help="Go on with what is added, until interrupted; the newest come last.")
@click.option("--kept", is_flag=True, help="Show how long each record is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print records as they are, one on a line.")
def search(flow: Path, *, limit: int, follow: bool, kept: bool, as_json: bool, **asked: Any) -> None:
    """Search the archive of FLOW, the newest records first; TEXT stands anywhere in them."""
    if follow and asked["until"] is not None:
        msg = "--follow goes on with what is to come, so it can't be given with --until"
        raise click.UsageError(msg)
    if kept and as_json:
        msg = "--kept is for lines, and --json prints records as they are: give one of the two"
        raise click.UsageError(msg)
    from flows.retention_commands import archive_at

    archive = archive_at(flow)
    from flows.search.command import Asked
    from flows.search.command import search as run_search

    try:
        run_search(archive, Asked(**asked), limit=limit, follow=follow, kept=kept, as_json=as_json)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
