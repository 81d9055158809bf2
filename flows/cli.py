"""The command line: `logweir check`, `schema`, `explain`, `generate`, `run`, `compact`, `redrive`.

What a command needs is imported inside it, so that `logweir check` answers at once.
"""

from __future__ import annotations

import os
import stat
import sys
import traceback
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from flows.erase_commands import erase
from flows.retention_commands import retention
from flows.search_commands import search
from flows.terminal import say, say_json
from logweir import __version__
from logweir.errors import ConfigError, LogweirError
from logweir.terminal import visible, visible_lines

if TYPE_CHECKING:
    from flows.config import Flow, LoadedFlow
    from flows.connect import Answer
    from flows.document import Document, Finding
    from logweir.secrecy import Secrets

PACKAGES = ("logweir", "flows", "operators", "sinks")

_FLOW = click.argument("flow", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Commands(click.Group):
    """Prints what logweir raises on purpose as one clear message, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            assert_one_installation()
            return super().invoke(ctx)
        except ConfigError as error:
            say(error, err=True)
            sys.exit(2)
        except LogweirError as error:
            say(visible(_unsaid(ctx, f"logweir: {error}")), err=True)
            sys.exit(1)
        except BrokenPipeError:
            # The reader of our output has gone, as `head` does; Python would complain again when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except click.ClickException as error:
            vars(error)["message"] = visible_lines(_unsaid(ctx, error.message))
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except Exception:
            if ctx.obj is None:
                raise
            say(_unsaid(ctx, traceback.format_exc().rstrip()), err=True)
            sys.exit(1)


def _keep(flow: Flow) -> Secrets:
    """Let no secret of a flow be in what is told of an error from here on."""
    from logweir.secrecy import Secrets

    secrets = click.get_current_context().find_root().obj = Secrets.of_settings(flow)
    return secrets


def _unsaid(ctx: click.Context, words: str) -> str:
    secrets: Secrets | None = ctx.obj
    return words if secrets is None else secrets.hide(words)


def assert_one_installation() -> None:
    """Raise unless the four packages lie side by side: another distribution may have brought an `operators` of its own.

    Raises:
        LogweirError: They don't.
    """
    home = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = find_spec(name)
        place = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if place != home:
            msg = (
                f"the package `{name}` comes from {place or 'nowhere'}, not from {home} as logweir's own; "
                "install logweir in a virtual environment of its own"
            )
            raise LogweirError(msg)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="logweir")
def main() -> None:
    """Regulate a log stream: from Kafka, through rules, to where logs are read."""


@main.command()
@_FLOW
@click.option("--connect", is_flag=True, help="Also ask the brokers and each destination whether they would do.")
@_JSON
def check(flow: Path, *, connect: bool, as_json: bool) -> None:
    """Validate FLOW, and warn of what in it can never act."""
    from flows.check import warnings
    from flows.config import LoadedFlow, build, open_document

    document = open_document(flow)
    model, findings = build(document)
    if model is None or findings:
        _report(None, findings, as_json=as_json)
        sys.exit(2)
    loaded = LoadedFlow(model, document)
    answers = None
    if connect:
        from flows.connect import connect as ask_all

        _keep(model)
        answers = ask_all(model)
    _report(loaded, [*warnings(loaded), *_doubtful(loaded)], answers, as_json=as_json)
    if answers and any(each.status != "connected" for each in answers):
        sys.exit(1)


def _doubtful(loaded: LoadedFlow) -> list[Finding]:
    """Return what librdkafka refuses on this machine; it is asked only where it is configured."""
    parts = (loaded.flow.source, *loaded.flow.destinations.values())
    if not any(getattr(each, "type", "") == "kafka" and getattr(each, "settings", None) for each in parts):
        return []
    from flows.check_kafka import doubtful_settings

    return doubtful_settings(loaded.document, loaded.flow)


def _report(
    loaded: LoadedFlow | None, findings: list[Finding], answers: list[Answer] | None = None, *, as_json: bool
) -> None:
    from flows.show import overview, show

    if as_json:
        listed = [
            {
                "file": each.file,
                "line": each.mark[0],
                "column": each.mark[1],
                "severity": "warning" if each.warning else "error",
                "path": each.path,
                "message": each.message,
            }
            for each in findings
        ]
        whole = {
            "ok": loaded is not None,
            "findings": listed,
            "flow": show(loaded.flow, loaded.document) if loaded else None,
        }
        if answers is not None:
            whole["connections"] = [each.to_dict() for each in answers]
        say_json(whole)
        return
    for finding in findings:
        say(str(finding), err=True)
    if loaded:
        say(f"{loaded.document.file}: ok\n\n{overview(loaded.flow, loaded.document)}")
    if answers is not None:
        from flows.connect import answers_text

        say(f"\n{answers_text(answers)}")


@main.command()
@_FLOW
@_JSON
def status(flow: Path, *, as_json: bool) -> None:
    """Show how the running FLOW is; exit code 1 when it doesn't run or a destination isn't healthy."""
    from flows.ask import ask_flow, status_text
    from flows.config import open_document

    found = ask_flow(open_document(flow))
    if as_json:
        say_json(found)
    else:
        say(status_text(found))
    if not found["healthy"]:
        sys.exit(1)


@main.command("test")
@click.argument("flows", nargs=-1, required=True, type=click.Path(path_type=Path))
@_JSON
def run_flow_tests(flows: tuple[Path, ...], *, as_json: bool) -> None:
    """Run the tests that each of FLOWS holds; exit code 1 when one fails."""
    from flows.config import load
    from flows.trials import run_tests

    loaded = [(flow, load(flow).flow) for flow in flows]
    failed, listed = 0, []
    for place, flow in loaded:
        if not flow.tests and not as_json:
            say(f"{place}: holds no tests")
        for result in run_tests(flow):
            failed += bool(result.differences)
            listed.append({"file": str(place), "name": result.name, "differences": result.differences})
            if not as_json:
                say(f"{place}: {visible(result.name)}: {'FAILED' if result.differences else 'ok'}")
                for difference in result.differences:
                    say(f"  {visible(difference)}")
    if as_json:
        say_json({"ok": not failed, "tests": listed})
    else:
        say(f"{len(listed)} test{'' if len(listed) == 1 else 's'}, {failed} failed")
    if failed:
        sys.exit(1)


@main.command()
def schema() -> None:
    """Print the JSON Schema of a flow file."""
    from flows.schema import schema_text

    sys.stdout.write(schema_text())


@main.command()
@_FLOW
@_JSON
def explain(flow: Path, *, as_json: bool) -> None:
    """Tell for each record on standard input which rule of FLOW decides it, and where it goes."""
    from flows.config import load
    from flows.explain import explain_stream

    explain_stream(load(flow).flow, sys.stdin.buffer, sys.stdout, as_json)


@main.command()
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Records a second; all at once when left out."
)
@click.option("--count", type=click.IntRange(min=0), help="How many; without end when left out.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same records.")
@click.option(
    "--to", type=click.Choice(["stdout", "kafka"]), default="stdout", show_default=True, help="Where they go."
)
@click.option("--brokers", default="localhost:9092", show_default=True, help="With --to kafka.")
@click.option("--topic", default="logs", show_default=True, help="With --to kafka.")
def generate(*, rate: float | None, count: int | None, seed: int, to: str, brokers: str, topic: str) -> None:
    """Make realistic records."""
    from flows.feed import Meter, generate_to_kafka, generate_to_stdout

    if to == "stdout":
        generate_to_stdout(count, rate=rate or 0, seed=seed)
        return
    meter = Meter()
    try:
        written = generate_to_kafka(brokers.split(","), topic, count, rate=rate or 0, seed=seed, tell=meter)
    finally:
        meter.end()
    say(f"{written} records written to {topic}", err=True)


@main.command()
@click.argument("flow", type=click.Path(path_type=Path), required=False)
@click.option("--only", help="Deliver to these destinations alone: names, separated by commas.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes for each dataflow."
)
def run(flow: Path | None, only: str | None, workers: int) -> None:
    """Deliver what FLOW says, until stopped; without FLOW, show how it works with made-up or piped records."""
    from flows.config import open_document

    if flow is not None:
        sys.exit(_deliver(open_document(flow), only, workers, flow))
    with TemporaryDirectory(prefix="logweir-") as recovery:
        sys.exit(_deliver(_quickstart(Path(recovery), piped=_piped()), only, workers))


@main.command()
@_FLOW
@click.option("--once", is_flag=True, help="Look at every partition, do what is to be done, and end.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes for it.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print what was done as JSON.")
def compact(flow: Path, *, once: bool, workers: int, as_json: bool) -> None:
    """Keep the archive of FLOW in order: delete what has expired, merge small files, follow changed policies."""
    if as_json and not once:
        msg = "--json prints what was done at the end, so it goes with --once"
        raise click.UsageError(msg)
    from flows.compaction.opened import asked_of
    from flows.compaction.run import CompactionRun, report_text
    from flows.config import load

    loaded = load(flow)
    _keep(loaded.flow)
    asked_of(loaded)
    compaction = CompactionRun(loaded, workers, once=once)
    code = compaction.run()
    if once:
        report = compaction.report()
        if as_json:
            say_json(report)
        else:
            say(report_text(report))
    sys.exit(code)


@main.command()
@_FLOW
@click.option("--to", "name", required=True, help="The destination whose dead letters are sent again.")
@click.option("--cause", "causes", multiple=True, help="Only letters of this cause; may be given several times.")
@click.option("--limit", type=click.IntRange(min=1), help="Send so many at most; the next redrive goes on from there.")
@click.option("--dry-run", is_flag=True, help="Count by cause, and send nothing.")
@_JSON
def redrive(flow: Path, *, name: str, causes: tuple[str, ...], limit: int | None, dry_run: bool, as_json: bool) -> None:
    """Send the dead letters of a destination of FLOW again; those that fail go back."""
    from flows.config import load
    from flows.redrive import count, run
    from logweir.events import Events

    loaded = load(flow)
    _known(loaded, name, "--to")
    events = Events(sys.stderr, secrets=_keep(loaded.flow))
    report = count(loaded.flow, name, causes, events) if dry_run else run(loaded.flow, name, causes, limit, events)
    if as_json:
        say_json(report.to_dict())
    else:
        say(report.text())
    sys.exit(report.exit_code)


main.add_command(retention)
main.add_command(search)
main.add_command(erase)


def _deliver(document: Document, only: str | None, workers: int, file: Path | None = None) -> int:
    """Run the flow that a document describes and return the exit code.

    Args:
        document: The flow.
        only: What `--only` says.
        workers: Processes for each dataflow.
        file: Where it stands, to be read again when it changes.
    """
    from flows.config import built

    loaded = built(document)
    names = _only(loaded, only)
    from flows.supervisor import run as supervise

    return supervise(loaded, only=names, workers=workers, file=file)


def _only(loaded: LoadedFlow, only: str | None) -> list[str] | None:
    """Return the names that `--only` lists, None for all."""
    if only is None:
        return None
    names = [name.strip() for name in only.split(",") if name.strip()]
    for name in names:
        _known(loaded, name, "--only")
    if not names:
        msg = "names no destination"
        raise click.BadParameter(msg, param_hint="--only")
    return names


def _known(loaded: LoadedFlow, name: str, option: str) -> None:
    from logweir.settings import nearest

    known = loaded.flow.outlets
    if name not in known:
        msg = f"{name!r} is no enabled destination of this flow, which has {', '.join(known)}{nearest(name, known)}"
        raise click.BadParameter(msg, param_hint=option)


def _quickstart(recovery: Path, *, piped: bool) -> Document:
    """Return the packaged flow, which reads what is piped in and resumes nothing."""
    from flows.config import open_document

    document = open_document(Path(__file__).with_name("quickstart.yaml"))
    document.replace(("recovery",), {"directory": str(recovery)})
    if piped:
        document.replace(("source",), {"type": "stdin"})
    return document


def _piped() -> bool:
    """Tell whether standard input is a pipe or a file, as opposed to a terminal, /dev/null or nothing."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


if __name__ == "__main__":
    main()
