from __future__ import annotations

import time
from collections import Counter
from itertools import islice
from statistics import mean
from typing import Any

import bytewax.operators as op
import orjson
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.sources.generate import Generate, Generator, Pace, batch, records
from flows.sources.samples import ENVIRONMENT_SHARES, LEVEL_SHARES
from logweir.batch import Batch
from logweir.times import epoch_seconds
from operators.decode import Decoder
from operators.formats import LOGWEIR
from operators.projection import Projection
from tests.flows.sources.context import Flow, drain, values

START = "2026-11-24T10:00:00Z"


def settings(**given: Any) -> Generate:
    """Return settings of a generator."""
    return Generate.model_validate({"type": "generate", **given})


def test_records_are_what_the_design_says() -> None:
    """Every record decodes, has the design's fields, and levels and environments have their usual shares."""
    made = batch(7, 0, 20_000)
    taken = Batch("generate", 0, made, range(len(made)))
    Decoder(Projection(["level"], LOGWEIR))(taken)
    assert len(taken) == len(made)
    assert not taken.account.rejected
    parsed = [orjson.loads(value) for value in made]
    for share, counts in (
        (LEVEL_SHARES, Counter(record["level"] for record in parsed)),
        (ENVIRONMENT_SHARES, Counter(record["context"]["environment"] for record in parsed)),
    ):
        for name, expected in share.items():
            assert counts[name] / len(made) == pytest.approx(expected, abs=0.012)
    assert 450 < sum(map(len, made)) / len(made) < 600
    assert len({record["context"]["service"] for record in parsed}) >= 5
    for record in parsed:
        assert ("error" in record) == (record["level"] in {"error", "fatal"})
        assert record["performance"]["duration"] > 0
        if "trace" in record:
            assert (len(record["trace"]["traceId"]), len(record["trace"]["spanId"])) == (32, 16)
    traces = Counter(record["trace"]["traceId"] for record in parsed if "trace" in record)
    assert 2 < sum(traces.values()) / len(traces) < 6


def test_records_have_half_a_kilobyte() -> None:
    """A record has 500 bytes on average, which is what figures per record are about."""
    assert round(mean(map(len, batch(1, 0, 20_000))), -1) == 500


def test_ids_are_unique_and_in_order() -> None:
    """Ids are UUIDv7: unique, ascending, and they hold the record's own timestamp."""
    parsed = [orjson.loads(value) for value in islice(records(3, now=1.8e9), 10_000)]
    ids = [record["id"] for record in parsed]
    assert len(set(ids)) == len(ids)
    assert sorted(ids) == ids
    for record in parsed[::500]:
        digits = record["id"].replace("-", "")
        assert digits[12] == "7"
        assert digits[16] in "89ab"
        assert int(digits[:12], 16) / 1000 == epoch_seconds(record["timestamp"])


@given(st.integers(0, 20_000), st.integers(0, 5000))
def test_a_record_depends_on_its_index_alone(start: int, count: int) -> None:
    """Records asked for one way are the records asked for another."""
    assert _GENERATOR.batch(start, count) == _WHOLE[start : start + count]


_GENERATOR = Generator(5, 1.8e9)
_WHOLE = Generator(5, 1.8e9).batch(0, 25_000)


def test_other_seeds_give_other_records() -> None:
    """Two seeds share no id."""
    one, two = ({orjson.loads(value)["id"] for value in batch(seed, 0, 1000)} for seed in (1, 2))
    assert not one & two


def test_resumes_where_it_was() -> None:
    """After a restart the stream goes on as if nothing had happened, ids and timestamps included."""
    source = settings(rate=0, count=10_000).open(Flow(room=200_000).context)
    first = source.build_part("s", "generate", None)
    before = values(first.next_batch() + first.next_batch())
    second = source.build_part("s", "generate", first.snapshot())
    after, ended = drain(second)
    assert ended
    start = first.snapshot()["start"]
    assert before + values(after) == Generator(0, start).batch(0, 10_000)
    assert [offset for each in after for offset in each.offsets] == list(range(len(before), 10_000))


def test_timestamps_follow_the_rate() -> None:
    """Record i is dated i / rate seconds after the start time."""
    part = settings(rate=0, count=3, start_time=START).open(Flow().context).build_part("s", "generate", None)
    assert orjson.loads(values(part.next_batch())[0])["timestamp"] == "2026-11-24T10:00:00.000Z"
    slow = Generator(0, epoch_seconds(START) or 0, 1 / 4).batch(0, 3)
    assert [orjson.loads(each)["timestamp"][-6:] for each in slow] == ["0.000Z", "0.250Z", "0.500Z"]


def test_rate_is_kept_without_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stall of seconds held up is not caught up on in one burst."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    pace = Pace(1000)
    assert pace.due(10_000) == 1
    now += 0.05
    assert pace.due(10_000) == pytest.approx(50, abs=1)
    now += 30
    assert pace.due(10_000) == 100
    now += 0.02
    assert pace.due(5) == 5
    assert pace.due(10_000) == 15


def test_stays_within_the_room() -> None:
    """No more is handed out than the flow has room for, and nothing when it has none."""
    flow = Flow(room=100_000)
    part = settings(rate=0).open(flow.context).build_part("s", "generate", None)
    part.next_batch()
    assert 50_000 < flow.taken < 150_000
    flow.room = 0
    assert part.next_batch() == []


def test_runs_in_a_flow() -> None:
    """A flow over a bounded generator ends after its count."""
    taken: list[Any] = []
    flow = Dataflow("generate")
    source = settings(rate=20_000, count=1500).open(Flow().context)
    op.output("out", op.input("in", flow, source), TestingSink(taken))
    run_main(flow)
    assert len(values(taken)) == 1500


def test_start_time_must_be_a_time() -> None:
    """A start time that is none is a finding."""
    with pytest.raises(ValidationError, match="must be a time"):
        settings(start_time="tomorrow")
