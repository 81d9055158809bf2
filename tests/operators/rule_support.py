"""What the tests of rules share: compile rules as a flow file has them, and ask them about records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import LOGWEIR, Format
from operators.projection import Projection
from operators.rules import Rule, RuleSet, compile_rules, fields_of

RULES: TypeAdapter[list[Rule]] = TypeAdapter(list[Rule])


class Asked:
    """Compiled rules, and records that go the way of a flow: encoded, decoded by projection, decided."""

    def __init__(self, *rules: dict[str, Any], layout: Format = LOGWEIR) -> None:
        settings = RULES.validate_python([{"name": f"rule {index}", **rule} for index, rule in enumerate(rules)])
        self.projection = Projection(fields_of(settings), layout)
        self.rules: RuleSet = compile_rules(settings, self.projection)
        self._decode = Decoder(self.projection)

    def batch(self, records: Sequence[Any]) -> Batch:
        """Return the decoded batch of these records; those that are bytes are taken as they are."""
        values = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
        batch = Batch("logs", 0, values, range(len(values)))
        self._decode(batch)
        assert not batch.account.rejected
        return batch

    def codes(self, *records: Any) -> list[int]:
        """Return what is decided of each record."""
        batch = self.batch(records)
        return [self.rules.decide(record, name) for record, name in zip(batch.records, batch.ids, strict=True)]

    def passing(self, *records: Any) -> list[bool]:
        """Return whether each record passes."""
        return [code < 0 for code in self.codes(*records)]

    def passes(self, record: Any) -> bool:
        """Return whether this record passes."""
        return self.passing(record)[0]

    def why(self, record: Any) -> str:
        """Return the verdict in words."""
        batch = self.batch([record])
        return str(self.rules.explain(batch.records[0], batch.ids[0]))


def level(*levels: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a level rule."""
    return {"type": "level", "levels": list(levels), **more}


def category(*categories: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a category rule."""
    return {"type": "category", "categories": list(categories), **more}


def field(path: str, operator: str, **more: Any) -> dict[str, Any]:
    """Return the settings of a field rule."""
    return {"type": "field", "field": path, "operator": operator, **more}


def matches(held: Any, operator: str, /, **wanted: Any) -> bool:
    """Return whether a field that holds `held` matches; a field that holds `...` is missing."""
    rule = {"type": "field", "field": "metadata.x", "operator": operator, **wanted}
    return Asked(rule).passes({"metadata": {} if held is ... else {"x": held}})
