"""The policies of today, asked about records that are in the archive already.

Level and category stand in columns, so most records are decided without a look at them: one decision for each
combination. Only where a policy with conditions may take a record is the record itself decoded, as when it was written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import Format
from operators.projection import Projection
from operators.retention import Retention, fields_of_policies
from operators.retention_models import Policies

if TYPE_CHECKING:
    import pyarrow as pa

ASKED = ("level", "category", "policy", "raw")
"""The columns that are looked at; `raw` only where `Decider.looks` says so."""
_VERSION = 1
"""Of what policies mean: where that changes, records have to be asked about again."""


class Decider:
    """Tells for rows of the archive which class they belong to, and which policy says so.

    Args:
        policies: Those of today.
        layout: Where the fields of the source's records live.
    """

    def __init__(self, policies: Policies, layout: Format) -> None:
        import pyarrow as pa

        projection = Projection(fields_of_policies(policies.asked), layout, identified=False)
        retention = Retention(policies, projection.getter, layout.levels)
        self._decode = Decoder(projection, final=False)
        self._decide = retention.decide
        self._of_kind = retention.of_kind
        self.classes: Sequence[str] = retention.classes
        """The class of each number."""
        self.names = pa.array(retention.names, pa.string())
        """The policy's name of each number."""
        conditional = any(policy.conditions for policy in policies.asked)
        named = [each for policy in policies.asked for each in policy.categories or ()]
        self._by_column = all(map(_is_itself, named))
        self.looks = conditional or not self._by_column
        """Whether records themselves are looked at."""
        self.fingerprint = _fingerprint(policies, layout if self.looks else None)
        """Another one means that records may belong elsewhere."""

    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """Return for each row the number of what decides; null for what is no record and stays where it is.

        Args:
            rows: With the columns `ASKED`.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._by_column:
            return pa.array(self._look(rows.column("raw"), None), pa.int32())
        level, category = (
            rows.column(name).dictionary_encode(null_encoding="encode") for name in ("level", "category")
        )
        width = len(category.dictionary)
        kinds = pc.add(pc.multiply(level.indices.cast(pa.int64()), width), category.indices.cast(pa.int64()))
        encoded = kinds.dictionary_encode()
        levels, categories = level.dictionary.to_pylist(), category.dictionary.to_pylist()
        found = [
            self._of_kind(levels[kind // width], categories[kind % width]) for kind in encoded.dictionary.to_pylist()
        ]
        plain = pa.array([each if isinstance(each, int) else None for each in found], pa.int32())
        numbers = plain.take(encoded.indices)
        if plain.null_count:
            asked = pc.indices_nonzero(numbers.is_null())
            ask = [found[kind] for kind in encoded.indices.take(asked).to_pylist()]
            looked = pa.array(self._look(rows.column("raw").take(asked), ask), pa.int32())
            numbers = pc.replace_with_mask(numbers, numbers.is_null(), looked)
        return numbers

    def misplaced(self, rows: pa.RecordBatch, numbers: pa.Array, retention: str) -> bool:
        """Tell whether any row belongs to another class than this, or to another policy than its column says."""
        import pyarrow.compute as pc

        used = [number for number in pc.unique(numbers).to_pylist() if number is not None]
        if any(self.classes[number] != retention for number in used):
            return True
        decided = numbers.is_valid()
        wanted, said = self.names.take(numbers).filter(decided), rows.column("policy").filter(decided)
        # An empty text is no policy's name.
        return bool(pc.any(pc.not_equal(wanted.fill_null(""), said.fill_null("")), min_count=0).as_py())

    def _look(self, values: pa.Array, ask: Sequence[Any] | None) -> list[int | None]:
        """Return the numbers of records; None of what is none.

        Args:
            values: The records as they were read.
            ask: What decides each; all policies where that is None.
        """
        listed = values.to_pylist()
        places = [index for index, value in enumerate(listed) if value is not None]
        batch = Batch("", 0, [listed[index] for index in places], places)
        # What stands here tells a format of plain text that its lines were made records before.
        batch.records = [None] * len(batch)
        self._decode(batch)
        if ask is None:
            decided = self._decide(batch.records)
        else:
            decided = [ask[place](record) for place, record in zip(batch.offsets, batch.records, strict=True)]
        numbers: list[int | None] = [None] * len(values)
        for place, number in zip(batch.offsets, decided, strict=True):
            numbers[place] = number
        return numbers


def _is_itself(category: str) -> bool:
    """Tell whether a category's column holds it exactly where the record does: other values stand there as JSON."""
    if "?" in category:
        return False
    try:
        return isinstance(json.loads(category), str)
    except ValueError:
        return True


def _fingerprint(policies: Policies, layout: Format | None) -> str:
    said = {
        "version": _VERSION,
        "default": policies.default_period,
        "policies": [policy.model_dump(mode="json") for policy in policies.asked],
        "layout": None if layout is None else _places(layout),
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _places(layout: Format) -> list[Any]:
    places = {field: [list(each.path) for each in some] for field, some in layout.places.items()}
    return [layout.name, places, sorted(layout.levels.items())]
