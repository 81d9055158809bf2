"""Explain: which rule decides each record of a stream, and where the record goes.

It redacts, decodes and decides with the very functions of the deliver flow, one record at a time. One thing it
can't know: a record without an id and without a trace is sampled by its place in the topic, and here has another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, BinaryIO, TextIO

from flows.archiving import RetentionSettings
from flows.config import Flow
from logweir.batch import Batch
from logweir.guard import DEFECT
from logweir.retention import expires
from logweir.terminal import visible
from logweir.times import rfc3339
from operators.decode import Decoder
from operators.projection import Projection
from operators.redact import Redactor
from operators.retention import Retention, fields_of_policies
from operators.rules import RuleSet, Verdict, compile_rules, fields_of


@dataclass(frozen=True, slots=True)
class Kept:
    """How long the archive keeps a record."""

    period: str
    policy: str | None
    """The policy that says so; None where none takes the record."""
    expires: str | None
    """When, as RFC 3339; None for never."""
    held: tuple[str, ...] = ()
    """The holds that keep it, also beyond that."""

    def __str__(self) -> str:
        by = f"by '{self.policy}'" if self.policy is not None else "by default_period, as no policy takes it"
        return (
            f"kept {self.period} {by}" + (f"; expires {self.expires}" if self.expires else "") + holds_text(self.held)
        )


def holds_text(names: Iterable[str]) -> str:
    """Return in words, to be added to others, which holds keep a record."""
    listed = ", ".join(f"'{name}'" for name in names)
    return f"; held by {listed}, so it stays until that is lifted" if listed else ""


@dataclass(frozen=True, slots=True)
class Explained:
    """What becomes of one line."""

    line: int
    identity: str | None = None
    problem: str | None = None
    """Why the line is no record; it goes to the dead letter."""
    verdict: Verdict | None = None
    """What the flow's rules say of the record."""
    destinations: tuple[tuple[str, Verdict], ...] = ()
    """What each destination's own rules say of a record that the flow's rules let through."""
    kept: Kept | None = None
    """How long it is kept, where it comes to the archive."""


def explain_stream(flow: Flow, lines: BinaryIO, out: TextIO, as_json: bool) -> int:
    """Write, for each line, its verdict, the rule that decides and why. Return the exit code, 0.

    Args:
        flow: Its rules, its destinations' rules and its source's format are used; nothing is sent.
        lines: One record a line.
        out: Where the answers go, each as soon as it is known.
        as_json: One JSON object a line instead of words.
    """
    write = _as_json if as_json else _as_words
    for explained in Explainer(flow).explain(lines):
        out.write(write(explained))
        out.flush()
    return 0


class Explainer:
    """The rules of a flow and of its enabled destinations.

    Args:
        flow: The flow.
    """

    def __init__(self, flow: Flow) -> None:
        own = {name: flow.own_rules(name) for name in flow.enabled}
        fields = fields_of([*flow.rules, *(rule for rules in own.values() for rule in rules)])
        if flow.retention is not None:
            fields |= {"timestamp", *fields_of_policies(flow.retention.asked)}
            fields.update(*(hold.where.fields for hold in flow.retention.hold))
        self._projection = Projection(fields, flow.source.layout())
        self._keep = _Keeping(flow.retention, self._projection) if flow.retention is not None else None
        self._all = flow.archive is not None and flow.archive.takes_all
        self._redact = Redactor(flow.redact, flow.source.layout()) if flow.redact else None
        self._decode = Decoder(self._projection)
        self._rules = compile_rules(flow.rules, self._projection)
        self._own: dict[str, RuleSet] = {name: compile_rules(rules, self._projection) for name, rules in own.items()}

    def explain(self, lines: BinaryIO) -> Iterator[Explained]:
        """Explain each line, in order."""
        for number, line in enumerate(lines, 1):
            yield self._one(number, line.rstrip(b"\r\n"))

    def _one(self, number: int, value: bytes) -> Explained:
        try:
            return self._explained(number, value)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  a flow would dead-letter it alone, with this cause
            return Explained(number, problem=f"{DEFECT}: {type(error).__name__}")

    def _explained(self, number: int, value: bytes) -> Explained:
        batch = Batch("line", 0, [value], [number])
        if self._redact is not None:
            self._redact(batch)
        self._decode(batch)
        if not batch.records:
            rejected = batch.account.rejected[0]
            return Explained(number, problem=f"{rejected.cause}: {rejected.detail}")
        record, identity = batch.records[0], batch.ids[0]
        verdict = self._rules.explain(record, identity)
        # Where the flow drops a record no destination is asked.
        asked = {} if verdict.code >= 0 else self._own
        own = tuple((name, rules.explain(record, identity)) for name, rules in asked.items())
        archived = self._keep is not None and (self._all or verdict.code < 0)
        kept = self._keep(record, batch.times[0], batch.written[0]) if self._keep is not None and archived else None
        return Explained(number, identity, None, verdict, own, kept)


class _Keeping:
    """Tells how long a record is kept."""

    def __init__(self, settings: RetentionSettings, projection: Projection) -> None:
        self._retention = Retention(settings, projection.getter, projection.layout.levels)
        self._dates = settings.archive.dates
        self._holds = [(hold.name, hold.where.test(projection.getter)) for hold in settings.hold]

    def __call__(self, record: Any, time: str, written: float) -> Kept:
        (number,) = self._retention.decide([record])
        period = self._retention.classes[number]
        day = date.fromisoformat(self._dates.of([time], [written])[0][0][:10])
        end = expires(day, period)
        held = tuple(name for name, test in self._holds if test(record))
        return Kept(period, self._retention.names[number], rfc3339(end.timestamp()) if end else None, held)


def _as_words(explained: Explained) -> str:
    said = f"line {explained.line}"
    if explained.verdict is None:
        return visible(f"{said}: rejected: {explained.problem}") + "\n"
    answers = [f"{said} ({explained.identity or ''}): {explained.verdict}"]
    answers += [f"  {name}: {verdict}" for name, verdict in explained.destinations]
    answers += [f"  archive: {explained.kept}"] if explained.kept else []
    return "".join(f"{visible(answer)}\n" for answer in answers)


def _as_json(explained: Explained) -> str:
    answer: dict[str, Any] = {"line": explained.line}
    if explained.verdict is None:
        answer |= {"verdict": "rejected", "reason": explained.problem}
    else:
        answer |= {"id": explained.identity, **_plain(explained.verdict)}
        answer["destinations"] = {name: _plain(verdict) for name, verdict in explained.destinations}
        if explained.kept is not None:
            kept = explained.kept
            answer["retention"] = {"period": kept.period, "policy": kept.policy, "expires": kept.expires}
            if kept.held:
                answer["retention"]["held_by"] = list(kept.held)
    return json.dumps(answer) + "\n"


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.outcome,
        "rule": verdict.rule.name if verdict.rule else None,
        "priority": verdict.rule.priority if verdict.rule else None,
        "reason": verdict.reason,
        "limits": list(verdict.limits),
    }
