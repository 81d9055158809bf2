"""The fault matrix: what became of the records of each destination under each fault, as a table and as a page.

The page, docs/fault-matrix.md, is what the tests hold each cell against; `python -m tests.sinks.conformance` writes it
anew from what the tests see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.sinks.conformance.faults import FAULTS, Fault, Outcome

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "fault-matrix.md"
SEEN: dict[tuple[str, str], Outcome] = {}
"""By destination and fault, what this run has seen so far."""

_WIDTH = 120
_HEAD = """# The fault matrix

Each destination meets each of these faults, through the delivery engine that flows use, for a while; then it is well
again. At the end of every cell delivered and dead-lettered records add up to those that came, each of them is there,
and no secret was told. `make test` prints this table, and fails where it isn't true;
`python -m tests.sinks.conformance` writes this page anew.

| Word | What it says |
| --- | --- |
| delivered | It cost nothing but time. |
| retried | Sent again until it was taken. |
| held | Nothing was dropped: the records waited for a person, who was told what to do, and were delivered then. |
| split | Sent in parts, each of which was taken. |
| dead-lettered | The record at fault was set aside with its cause; all others were delivered. |
| ends the flow | The records are given again at the next start. |
| n.a. | It can't happen; below it says why. |

"""


def note(name: str, fault: Fault, outcome: Outcome) -> str:
    """Note a cell; return what the page has to say otherwise, or nothing."""
    SEEN[name, fault.name] = outcome
    promised = promises().get((name, fault.name), "nothing")
    return "" if promised == str(outcome) else promised


def terminal() -> Iterator[str]:
    """Return the lines of the table for a terminal, in parts that are not too wide."""
    names = list(dict.fromkeys(name for name, _ in SEEN))
    first = max(len(fault.name) for fault in FAULTS)
    columns = {name: [_word(SEEN.get((name, fault.name))) for fault in FAULTS] for name in names}
    widths = {name: max(map(len, [name, *column])) for name, column in columns.items()}
    rest = list(names)
    while rest:
        part, width = [], first
        while rest and width + 2 + widths[rest[0]] <= _WIDTH:
            width += 2 + widths[rest[0]]
            part.append(rest.pop(0))
        yield "  ".join([" " * first, *[f"{name:<{widths[name]}}" for name in part]]).rstrip()
        for row, fault in enumerate(FAULTS):
            cells = [f"{columns[name][row]:<{widths[name]}}" for name in part]
            yield "  ".join([f"{fault.name:<{first}}", *cells]).rstrip()
        yield ""


def render(names: Sequence[str], seen: Mapping[tuple[str, str], Outcome]) -> str:
    """Return the page."""
    lines = [f"| | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for fault in FAULTS:
        cells = [seen[name, fault.name].word for name in names]
        lines.append(f"| {fault.name} | {' | '.join(cells)} |")
    for name in names:
        lines += ["", f"## {name}", ""]
        details: dict[Outcome, list[str]] = {}
        for fault in FAULTS:
            outcome = seen[name, fault.name]
            if outcome.detail:
                details.setdefault(outcome, []).append(fault.name)
        lines += [f"- {'; '.join(faults)} - {outcome}" for outcome, faults in details.items()]
    return _HEAD + "\n".join(lines) + "\n"


def promises() -> dict[tuple[str, str], str]:
    """Return what the page says of each cell, in the words of `Outcome`."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    found: dict[tuple[str, str], str] = {}
    names: list[str] = []
    for first, *cells in rows:
        if not first:
            names = cells
        elif names and len(cells) == len(names):
            found.update({(name, first): word for name, word in zip(names, cells, strict=True)})
    for name, section in re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", text, re.MULTILINE):
        for faults, outcome in re.findall(r"^- (.*?) - (.*)$", section, re.MULTILINE):
            found.update({(name, fault): outcome for fault in faults.split("; ")})
    return found


def _word(outcome: Outcome | None) -> str:
    return outcome.word if outcome else "not run"
