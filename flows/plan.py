"""What is decided of records, compiled: redaction, rules and limiters of one revision of a flow's settings.

A batch goes through one plan from its decode to its delivery, so settings change between batches. While the last ones
of the plan before are on their way there are two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.config import Flow
from flows.limiting import Place
from flows.seats import Seating, identity
from flows.sources.alignment import GRAIN
from logweir.batch import Batch
from logweir.guard import guarded, without_culprits
from operators.decode import Decoder
from operators.identity import digests_of
from operators.limiters import Limiters, Question
from operators.projection import Projection
from operators.redact import Redactor
from operators.rule_models import LimiterRule, SampleRule
from operators.rules import RuleSet, compile_rules, fields_of, projected_at_once
from operators.sampling import Sampled
from operators.summaries import Summary, told_records


def limiters_of(flow: Flow, name: str) -> list[LimiterRule]:
    """Return the limiters that a destination's records are asked about: the flow's first, in file order."""
    rules = [*flow.shared_rules(name), *flow.own_rules(name)]
    return [rule for rule in rules if rule.enabled and isinstance(rule, LimiterRule)]


class Plan:
    """The decisions of one dataflow, in one of its workers.

    Args:
        flow: The flow.
        projections: What each of the dataflow's destinations reads of a record.
        seatings: Where the limiters of each keep their states.
        revision: Of the flow's settings.

    Raises:
        LogweirError: Patterns are too large together.
    """

    def __init__(
        self, flow: Flow, projections: Mapping[str, Projection], seatings: Mapping[str, Seating], revision: int = 0
    ) -> None:
        self.flow = flow
        self.revision = revision
        self.waiting = 0
        """Batches of this plan that are between decode and delivery, counted for each destination."""
        shared = {name: [rule for rule in flow.shared_rules(name) if rule.enabled] for name in projections}
        # Where an archive of all is among several, the rules can't be asked once for every destination.
        rules = next(iter(shared.values())) if len(set(map(len, shared.values()))) == 1 else []
        own = {name: [rule for rule in flow.own_rules(name) if rule.enabled] for name in projections}
        layout = flow.source.layout()
        every = [*max(shared.values(), key=len), *(rule for some in own.values() for rule in some)]
        whole = projected_at_once(every, [flow.outlets[name].fields() for name in projections], layout)
        asked = whole or Projection(fields_of(every), layout, identified=False)
        self._redact = Redactor(flow.redact, layout) if flow.redact else None
        self._hide = hide = self._redact.text if self._redact else None
        identified = [name for name in projections if flow.outlets[name].identified]
        self._decoder = (
            Decoder(asked, final=whole is not None, identified=bool(identified), hide=hide) if every else None
        )
        self._rules: RuleSet = compile_rules(rules, asked)
        self._own_rules: dict[str, list[RuleSet]] = {}
        self._limiters: dict[str, Limiters] = {}
        for name, some in own.items():
            first = self._rules if rules else compile_rules(shared[name], asked)
            last = compile_rules(some, asked, len(first.limiters))
            self._own_rules[name] = [last] if rules else [first, last]
            self._limiters[name] = Limiters([*first.limiters, *last.limiters], asked, revision)
        self._final_decoders = {
            name: Decoder(each, identified=name in identified, hide=hide) for name, each in projections.items()
        }
        self.places = {name: _places(seatings[name], each.limiters) for name, each in self._limiters.items()}
        """By destination and slot."""
        self.samplers: dict[str, Mapping[int, SampleRule]] = {
            name: each.samplers for name, each in self._limiters.items()
        }
        """By destination and number."""

    def begin(self) -> Plan:
        """Note that a batch begins its way to every destination."""
        self.waiting += len(self._limiters)
        return self

    def decode(self, batch: Batch) -> Batch:
        """Return what of a raw batch the flow's rules let pass, redacted, with the fields that rules read decoded."""
        return guarded(self._decide, batch, self._hide)

    def _decide(self, batch: Batch) -> Batch:
        if self._redact is not None:
            batch.digests = digests_of(batch.values)
            self._redact(batch)
        if self._decoder is None:
            return batch
        self._decoder(batch)
        return self._rules.filter(batch)

    def route(self, name: str, batch: Batch, origin: str) -> Batch | Question:
        """Return what of a batch goes to this destination, or what its limiters have to be asked about it first.

        Args:
            name: The destination.
            batch: What the flow's rules let pass.
            origin: The sink partition that it goes to.
        """
        if len(self._limiters) > 1:
            batch = batch.twin()
        for rules in self._own_rules[name]:
            batch = guarded(rules.filter, batch, self._hide)
        limiters = self._limiters[name]
        if not limiters.rules:
            return self._finish(name, batch)
        try:
            question = limiters.ask(batch, origin)
        except Exception:  # noqa: BLE001  the guard finds the record that it is about
            batch = without_culprits(limiters.look, batch, self._hide)
            question = limiters.ask(batch, origin)
        return question or self._finish(name, batch)

    def counts_events(self, name: str | None = None) -> bool:
        """Tell whether a destination's limiters, or those of any, count by the records' own time."""
        return any(each.timed for key, each in self._limiters.items() if name in (None, key))

    def moments(self, name: str, batch: Batch) -> Sequence[float]:
        """Return when the last records of a batch happened, for the flow's rules have let it pass."""
        return self._limiters[name].moments(batch, GRAIN)

    def settle(self, name: str, answer: Question | Sampled) -> Batch | None:
        """Take the limiters' or the samplers' answer; return the batch that it is about once that is the last one."""
        batch = self._limiters[name].settle(answer)
        return None if batch is None else self._finish(name, batch)

    def told(self, name: str, summary: Summary) -> Batch:
        """Return the records that tell a limiter's summary, with what is hidden now hidden."""
        batch = told_records(summary, self.flow.source.layout(), self._redact)
        ids = batch.ids
        self._final_decoders[name](batch)
        # They have no place in a topic to be told apart by, and redaction may change them from one time to the next.
        batch.ids = ids
        batch.identities = ids if batch.identities else []
        return batch

    def _finish(self, name: str, batch: Batch) -> Batch:
        """Decode into the fields that the destination reads, unless that is done."""
        if not batch.ids:
            decode = self._final_decoders[name]
            batch = guarded(decode.step, batch, self._hide)
        self.waiting -= 1
        return batch


def _places(seating: Seating, limiters: Mapping[int, LimiterRule]) -> dict[int, Place]:
    seats = {number: seating.seats[identity(rule)] for number, rule in limiters.items()}
    return {seat.slot: Place(number, limiters[number], seat.tag) for number, seat in seats.items()}
