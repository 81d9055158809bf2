"""Screening and encoding under the guard."""

from __future__ import annotations

from logweir.batch import Batch
from logweir.guard import DEFECT
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.projection import Projection
from sinks.prepare import prepared
from sinks.window import set_aside


def batch_of(*values: bytes) -> Batch:
    """Return decoded records."""
    batch = Batch("t", 0, list(values), range(len(values)))
    Decoder(Projection([], LOGWEIR))(batch)
    return batch


def encode(batch: Batch) -> list[bytes]:
    """Encode records, with a defect."""
    return [b"%d" % (1 // (b"evil" not in value)) + value for value in batch.values]


def test_an_encoder_that_raises() -> None:
    """A record on which the encoder raises is rejected as a defect; its neighbours, and other batches, are encoded."""
    batches = [batch_of(b'{"id":"a"}', b'{"id":"evil"}', b'{"id":"b"}'), batch_of(b'{"id":"c"}'), batch_of()]
    left, encoded = prepared(batches, None, encode)
    assert encoded == [[b'1{"id":"a"}', b'1{"id":"b"}'], [b'1{"id":"c"}'], []]
    assert [[each.cause for each in batch.account.rejected] for batch in left] == [[DEFECT], [], []]
    assert [batch.ids for batch in left] == [["a", "b"], ["c"], []]


def test_a_screen_that_raises() -> None:
    """What a screen sets aside and tells counts once, though a record beside it makes the screen raise."""

    def screen(batch: Batch) -> dict[str, int]:
        old = {at: ("too old", "") for at, value in enumerate(batch.values) if b"old" in value}
        set_aside(batch, old)
        encode(batch)
        return {"odd": len(batch)} if len(batch) else {}

    batch = batch_of(b'{"id":"old"}', b'{"id":"evil"}', b'{"id":"b"}', b'{"id":"c"}')
    (left,), encoded = prepared([batch], screen, encode)
    assert encoded == [[b'1{"id":"b"}', b'1{"id":"c"}']]
    assert sorted(each.cause for each in left.account.rejected) == [DEFECT, "too old"]
    assert left.account.notices == {"odd": 2}
