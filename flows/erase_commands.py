"""`logweir erase`: records leave the archive of a flow for good."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from flows.terminal import say, say_json


@click.command()
@click.argument("flow", type=click.Path(path_type=Path))
@click.option("--where", required=True, help="Which records: an expression such as \"user.id = 'u1'\".")
@click.option("--dry-run", is_flag=True, help="Only tell what would be erased.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def erase(flow: Path, *, where: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Erase records from the archive of FLOW for good, bytes and all; what a legal hold keeps stays."""
    from operators.where import WhereError, parse

    try:
        expression = parse(where)
    except WhereError as error:
        msg = f"--where: {error}"
        raise click.UsageError(msg) from error
    from flows.compaction.opened import asked_of, told
    from flows.config import load
    from flows.erasure.erase import Eraser
    from flows.erasure.report import text, to_dict
    from flows.retention_commands import keep

    loaded = load(flow)
    keep(loaded.flow)
    eraser = Eraser(asked_of(loaded), expression)
    if dry_run or not yes:
        with told(eraser.view.store):
            report = eraser.foresee()
    if not dry_run:
        if not yes:
            _ask(report.erased.total(), report.files)
        with told(eraser.view.store):
            report = eraser.erase()
    if as_json:
        say_json(to_dict(report, loaded.flow))
    else:
        say(text(report, loaded.flow))
    if not dry_run and not report.complete:
        raise SystemExit(1)


def _ask(records: int, files: int) -> None:
    """Ask whether so many records are to be erased.

    Raises:
        UsageError: There is nobody to ask.
        Abort: The answer is no.
    """
    if not sys.stdin.isatty():
        msg = f"{records:,} records of {files:,} files would be erased for good: say --yes, or --dry-run to see more"
        raise click.UsageError(msg)
    click.confirm(f"Erase {records:,} records of {files:,} files for good?", abort=True, err=True)
