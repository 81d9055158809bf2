"""What limits and redaction add to a flow: whole flows from file to file, with one thing more each, taken in turns."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from benchmarks.deliver import SELECTIVE
from flows.sources.generate import batch
from operators.redact_patterns import BUILTINS

_BATCH = 2000
_MANY = 1_000_000_000
_BY_SERVICE = {"name": "By service", "type": "rate", "by": "context.service"}
_SAMPLE = {"name": "Near a target", "type": "sample", "by": "context.service"}
_DEDUPE = {"name": "No repetitions", "type": "dedupe", "by": ["context.host", "message"], "window": "10s"}
_REDACT = {"patterns": list(BUILTINS)}
_RULES: list[dict[str, Any]] = yaml.safe_load(SELECTIVE)["rules"]

CASES: dict[str, tuple[str | None, dict[str, Any], float | None]] = {
    "all pass": (None, {}, None),
    "rate limit by service": ("all pass", {"rules": [{**_BY_SERVICE, "max_per_second": _MANY}]}, 0.6),
    "sample near a target": ("all pass", {"rules": [{**_SAMPLE, "target_per_second": _MANY}]}, None),
    "sample near a target, nothing told": (
        "all pass",
        {"rules": [{**_SAMPLE, "target_per_second": _MANY, "annotate": False}]},
        None,
    ),
    "repetitions": ("all pass", {"rules": [_DEDUPE]}, None),
    "redaction, all patterns": ("all pass", {"redact": _REDACT}, 1.2),
    "selective": (None, {"rules": _RULES}, None),
    "selective, rate limit by service": (
        "selective",
        {"rules": [*_RULES, {**_BY_SERVICE, "max_per_second": _MANY}]},
        0.6,
    ),
    "selective, redaction": ("selective", {"rules": _RULES, "redact": _REDACT}, 1.2),
}
"""By name: the flow that it is compared with, its settings, and the most microseconds that it may add."""


def costs(records: int, repeats: int) -> None:
    """Print microseconds of CPU a record, of all processes and threads, without the start-up; medians."""
    records = min(records, 500_000)
    repeats = max(3, repeats)
    with tempfile.TemporaryDirectory() as directory:
        lines, one = Path(directory) / "in.ndjson", Path(directory) / "one.ndjson"
        _write(lines, records)
        _write(one, 1)
        micros: dict[str, list[float]] = {name: [] for name in CASES}
        for _ in range(repeats):
            for name, (_, settings, _) in CASES.items():
                spent = _run(settings, lines, directory) - _run(settings, one, directory)
                micros[name].append(spent / records * 1e6)
    print(f"flows from file to file, {records:,} records, {repeats} runs each in turns, medians")
    for name, (base, _, bar) in CASES.items():
        whole = statistics.median(micros[name])
        if base is None:
            print(f"  {name}: {whole:.2f} us of CPU a record")
            continue
        # Runs of one turn lie next to each other, so whatever else the machine does is in both.
        more = statistics.median(one - other for one, other in zip(micros[name], micros[base], strict=True))
        ratio = statistics.median(one / other for one, other in zip(micros[name], micros[base], strict=True))
        said = "" if bar is None else f" (at most {bar})" + ("" if more <= bar else "  MISSED")
        print(f"  {name}: {more:+.2f} us{said}, {ratio:.2f} times `{base}`")


def _write(path: Path, records: int) -> None:
    with path.open("wb") as out:
        for start in range(0, records, _BATCH):
            out.write(b"\n".join(batch(1, start, min(_BATCH, records - start))) + b"\n")


def _run(settings: dict[str, Any], lines: Path, directory: str) -> float:
    """Run a flow over these lines to its end; return the seconds of CPU that it took."""
    with tempfile.TemporaryDirectory(dir=directory) as own:
        flow = {
            "name": "bench",
            "source": {"type": "file", "path": str(lines)},
            **settings,
            "destinations": {"out": {"type": "file", "path": f"{own}/out.ndjson"}},
            "dead_letter": {"directory": f"{own}/dead"},
            "recovery": {"directory": f"{own}/recovery", "interval": "2s"},
        }
        path = Path(own) / "flow.yaml"
        path.write_text(json.dumps(flow))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", "from flows.cli import main; main()", "run", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
