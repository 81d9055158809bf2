from __future__ import annotations

import pytest

from logweir.batch import Batch
from operators.decode import CAUSES, Decoder, is_record
from operators.formats import FORMATS, LOGWEIR, Format
from operators.projection import Projection
from tests.json_values import REFUSED, TAKEN, between_neighbours, good
from tests.operators.redact_support import ALL, redactor

FIELDS = ["level", "timestamp", "message", "context.service", "error.message", "trace.traceId", "metadata", "user.id"]


@pytest.mark.parametrize("fields", [[], FIELDS], ids=["nothing read", "read"])
@pytest.mark.parametrize("name", [*TAKEN, *REFUSED])
def test_each_value_has_its_verdict(name: str, fields: list[str]) -> None:
    """What the grammar takes and is an object goes on, all else keeps its bytes and gets its cause."""
    value = {**TAKEN, **REFUSED}[name]
    batch = Batch("logs", 0, [good(0), value, good(1)], range(3))
    Decoder(Projection(fields, LOGWEIR))(batch)
    assert is_record(value) == (name in TAKEN) or len(value) > 100_000
    assert len(batch) == len(batch.ids) == (3 if name in TAKEN else 2)
    assert batch.values[0] == good(0)
    assert batch.values[-1] == good(1)
    assert [each.value for each in batch.account.rejected] == ([] if name in TAKEN else [value])
    assert {each.cause for each in batch.account.rejected} <= CAUSES


@pytest.mark.parametrize("layout", FORMATS.values(), ids=list(FORMATS))
@pytest.mark.parametrize("redacts", [False, True], ids=["plain", "redacted"])
def test_all_in_one_batch(layout: Format, redacts: bool) -> None:
    """In whatever format, before and behind a redaction, every neighbour goes on and every record is accounted for."""
    messages = between_neighbours()
    batch = Batch("logs", 0, list(messages), range(len(messages)))
    if redacts:
        redactor(layout, fields=["*.password", "user.id"], patterns=ALL)(batch)
    Decoder(Projection(FIELDS, layout))(batch)
    offsets = set(batch.offsets)
    assert offsets | {each.offset for each in batch.account.rejected} == set(range(len(messages)))
    assert set(range(0, len(messages), 2)) <= offsets
    columns = [batch.values, batch.records, batch.ids, batch.times, batch.levels, batch.offsets, batch.written]
    assert {len(column) for column in columns} == {len(offsets)}
