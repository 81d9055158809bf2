"""From dead letters to batches that a destination can be given again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from flows.config import Flow
from flows.dead_letters import Read
from logweir.batch import Batch
from logweir.guard import guarded
from logweir.head import Head
from operators.decode import CAUSES, Decoder
from operators.identity import digests_of
from operators.projection import Projection
from operators.redact import Redactor
from operators.rules import compile_rules, fields_of


class _Letters:
    """The origin of letters: when their records were written, and what their messages had beside the values."""

    noted = False

    def __init__(self, reads: Sequence[Read]) -> None:
        self._heads = {read.letter.offset: read.letter.head for read in reads}
        # A letter of an older version doesn't say when its record was written; when it became one is the next best.
        self._written = {
            read.letter.offset: max(0, read.letter.head.timestamp()[1]) / 1000 or read.written for read in reads
        }

    def written(self, offsets: Sequence[int]) -> Sequence[float]:
        """Return when each was written."""
        return [self._written[offset] for offset in offsets]

    def heads(self, offsets: Sequence[int]) -> Sequence[Head]:
        """Return what each has beside its value."""
        return [self._heads[offset] for offset in offsets]


class Steps:
    """Makes batches of letters, each record under the topic, partition and offset that it had in the beginning.

    A letter that a destination refused has passed the flow's rules. One that was no record has never come to them: it
    is decoded once more, since the source's `format` may have been mended, and then the rules are asked. All pass
    through `redact`, since that may have been mended too.

    Args:
        flow: The flow.
        name: The destination.
    """

    def __init__(self, flow: Flow, name: str) -> None:
        layout = flow.source.layout()
        rules = [rule for rule in flow.shared_rules(name) if rule.enabled]
        own = [rule for rule in flow.own_rules(name) if rule.enabled]
        asked = Projection(fields_of([*rules, *own]), layout, identified=False)
        self._redact = Redactor(flow.redact, layout) if flow.redact else None
        self._hide = hide = self._redact.text if self._redact else None
        self._decode_for_rules = Decoder(asked, final=False, hide=hide) if rules or own else None
        self._rules = (compile_rules(rules, asked), compile_rules(own, asked))
        projection = Projection(flow.outlets[name].fields(), layout)
        self.getter = projection.getter
        self._identified = flow.outlets[name].identified
        self._decode = Decoder(projection, identified=self._identified, hide=hide)

    def __call__(self, reads: Sequence[Read]) -> list[Batch]:
        """Return the letters as batches; what still is no record is rejected as it was the last time."""
        groups: dict[tuple[str, int, str, bool], list[Read]] = {}
        for read in reads:
            letter = read.letter
            groups.setdefault((letter.topic, letter.partition, letter.log, letter.cause in CAUSES), []).append(read)
        return [self._batch(group, raw=key[3]) for key, group in groups.items()]

    def _batch(self, reads: Sequence[Read], *, raw: bool) -> Batch:
        first = reads[0].letter
        batch = Batch(
            first.topic,
            first.partition,
            [read.letter.value for read in reads],
            [read.letter.offset for read in reads],
            origin=_Letters(reads),
        )
        batch.log = first.log
        if not raw:
            # What stands here tells a format of plain text that its lines were made records before.
            batch.records = [None] * len(batch)
        batch = guarded(partial(self._decide, raw=raw), batch, self._hide)
        batch = guarded(self._decode.step, batch, self._hide)
        known = {read.letter.offset: read.letter for read in reads}
        if self._identified:
            # A letter of an older version has none; its bytes are the next best.
            batch.identities = [
                known[offset].identity or made for offset, made in zip(batch.offsets, batch.identities, strict=True)
            ]
        batch.account.rejected = [
            each._replace(cause=known[each.offset].cause, detail=known[each.offset].reason)
            for each in batch.account.rejected
        ]
        return batch

    def _decide(self, batch: Batch, *, raw: bool) -> Batch:
        if self._identified:
            batch.digests = digests_of(batch.values)
        if self._redact is not None:
            self._redact(batch)
        if raw and self._decode_for_rules is not None:
            self._decode_for_rules(batch)
            for rules in self._rules:
                batch = rules.filter(batch)
        return batch
