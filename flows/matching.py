"""Expressions asked about records of the archive: what a search looks for, what an erasure takes, what a hold keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.search.texts import rows_saying
from logweir.batch import Batch
from operators.decode import Decoder
from operators.formats import Format
from operators.projection import Projection
from operators.rule_models import Condition
from operators.where import Where

if TYPE_CHECKING:
    import pyarrow as pa


class Matcher:
    """Tells which records meet an expression, as a rule with the same conditions would.

    Args:
        where: The expression.
        layout: Where the fields of the source's records live.
    """

    def __init__(self, where: Where, layout: Format) -> None:
        projection = Projection(where.fields, layout, identified=False)
        self._decode = Decoder(projection, final=False)
        self._test = where.test(projection.getter)
        self._texts = [texts for each in where.needed if (texts := _texts(each))]
        """Each has texts of which one stands in every record that meets the expression."""

    def rows(self, values: pa.Array) -> list[int]:
        """Return which of these raw records meet it, in their order; what is no record never does.

        Args:
            values: Of the column `raw`.
        """
        places: list[int] | None = None
        for texts in self._texts:
            found = rows_saying(values, texts)
            places = sorted(found if places is None else found.intersection(places))
            if not places:
                return []
        listed = values.to_pylist() if places is None else [values[place].as_py() for place in places]
        numbers = range(len(values)) if places is None else places
        kept = [(place, value) for place, value in zip(numbers, listed, strict=True) if value is not None]
        batch = Batch("", 0, [value for _, value in kept], [place for place, _ in kept])
        # What stands here tells a format of plain text that its lines were made records before.
        batch.records = [None] * len(batch)
        self._decode(batch)
        return [place for place, record in zip(batch.offsets, batch.records, strict=True) if self._test(record)]


def _texts(condition: Condition) -> list[str]:
    """Return texts of which one stands in every record that meets a condition; none where that can't be said."""
    if condition.operator not in {"eq", "in", "contains"}:
        return []
    values = condition.value if isinstance(condition.value, list) else [condition.value]
    texts = [value for value in values if isinstance(value, str) and value]
    return texts if len(texts) == len(values) else []
