"""Records that tell what limiters have dropped: where they say it, what they hide, and that no two have one id."""

from __future__ import annotations

import json
from typing import Any

import pytest

from logweir.record import LevelTable
from logweir.times import epoch_seconds
from operators.decode import Decoder
from operators.formats import ECS, FORMATS, LOGWEIR, OTEL, Format, configured
from operators.limiter_keys import OTHER_KEYS
from operators.limiter_state import Suppressed
from operators.projection import Projection
from operators.redact import Redactor
from operators.redact_models import RedactSettings
from operators.summaries import Summary, told_records

NOW = 1_790_000_000.0


@pytest.mark.parametrize("layout", [*FORMATS.values(), configured({"id": "/my.id", "level": "a.b", "message": "text"})])
def test_summaries_in_every_format(layout: Format) -> None:
    """Whatever the source's format, a destination finds a summary's level, time and text, and no two have one id."""
    dropped = [Suppressed(key, int(NOW) + late, 1, 5) for key in ("shop", "\x00[null]") for late in (0, 60)]
    batch = told_records(Summary("0000", "Limit", ("context.service",), dropped), layout)
    ids = batch.ids
    assert len(set(ids)) == 4
    projection = Projection({"level", "message", "timestamp"}, layout)
    Decoder(projection)(batch)
    assert batch.account.rejected == []
    assert batch.ids == ids
    level, message, timestamp = map(projection.getter, ("level", "message", "timestamp"))
    assert {LevelTable(layout.levels)[level(record)] for record in batch.records} == {"warn"}
    assert [epoch_seconds(timestamp(record)) for record in batch.records] == [NOW + 1, NOW + 61] * 2
    assert message(batch.records[0]) == "'Limit' dropped 5 records of shop within 1 s"
    assert message(batch.records[2]) == "'Limit' dropped 5 records within 1 s"


def told(
    *keys: str,
    by: tuple[str, ...] = ("user.email",),
    layout: Format = LOGWEIR,
    redact: dict[str, Any] | None = None,
    **more: Any,
) -> list[dict[str, Any]]:
    """Return the records that tell of these keys."""
    dropped = [Suppressed(key, int(NOW), 60, 5) for key in keys]
    redactor = None if redact is None else Redactor(RedactSettings.model_validate(redact), layout)
    return list(map(json.loads, told_records(Summary("0000", "Limit", by, dropped, **more), layout, redactor).values))


@pytest.mark.parametrize(
    ("layout", "by", "field"),
    [
        (LOGWEIR, "user.email", "user.email"),
        (LOGWEIR, "user.email", "user"),
        (LOGWEIR, "user.email", "*.email"),
        (LOGWEIR, "message", "message"),
        (LOGWEIR, "metadata", "metadata"),
        (ECS, "context.host", "host.hostname"),
        (ECS, "metadata.email", "labels.email"),
        (OTEL, "message", "body"),
        (OTEL, "message", "body.stringValue"),
        (OTEL, "metadata.email", "attributes"),
        (FORMATS["text"], "message", "message"),
        (configured({"context.host": "/a.b"}), "context.host", "a.b"),
    ],
)
@pytest.mark.parametrize("mode", ["replace", "remove", "hash"])
def test_fields_that_are_hidden_since(layout: Format, by: str, field: str, mode: str) -> None:
    """A key that was remembered before its field was hidden is told hidden: in every place, in words, and in no id."""
    redact = {"fields": [field], "mode": mode, **({"hash_key": "k" * 32} if mode == "hash" else {})}
    (record,) = told("jo-the-secret", by=(by,), layout=layout, redact=redact)
    assert "jo-the-secret" not in json.dumps(record)
    (other,) = told("another", by=(by,), layout=layout, redact=redact)
    assert mode == "hash" or record == other
    if record.get("metadata", {}) != "[redacted]" and field != "metadata":
        assert record["metadata"]["dropped"]["records"] == 5


@pytest.mark.parametrize("layout", [LOGWEIR, ECS, OTEL])
def test_patterns_that_are_hidden_since(layout: Format) -> None:
    """Of a value in which a pattern finds something the rest is told, and the other values as they are."""
    redact = {"patterns": ["email"]}
    key = '\x00["jo@example.com failed","shop"]'
    (record,) = told(key, by=("message", "context.service"), layout=layout, redact=redact)
    assert "jo@" not in json.dumps(record)
    assert record["message"] == "'Limit' dropped 5 records of [redacted] failed, shop within 60 s"


def test_nothing_to_hide() -> None:
    """What is not hidden is told with the id that it has without redaction; what was hidden before stays as it was."""
    redact = {"fields": ["user.email"], "patterns": ["credit_card"]}
    for key in ("jo", "[redacted]", "\x00[null]", "\x00" + "0" * 32, ""):
        assert told(key, redact=redact if key != "jo" else {"fields": ["user.name"]}) == told(key)


def test_keys_that_look_alike_once_hidden() -> None:
    """They are told apart by ids, within a summary and from one summary of a bucket to the next."""
    redact = {"fields": ["user.email"]}
    first = told("a", "b", redact=redact, bucket="03", number=0)
    second = told("a", "c", redact=redact, bucket="03", number=2)
    third = told("d", "e", redact=redact, bucket="04", number=0)
    assert len({each["id"] for each in (*first, *second, *third)}) == 6
    assert first == told("x", "y", redact=redact, bucket="03", number=0)


def test_keys_beyond_max_keys_of_every_bucket() -> None:
    """The records beyond `max_keys` are told of by each bucket, and these summaries have ids of their own."""
    assert told(OTHER_KEYS, bucket="00")[0]["id"] != told(OTHER_KEYS, bucket="01")[0]["id"]
    assert told("a", bucket="00") == told("a", bucket="01")


def test_values_that_few_can_write() -> None:
    """A number beyond 64 bits is told too, and hidden."""
    (record,) = told(f"\x00[{2**80}]")
    assert record["user"]["email"] == 2**80
    assert told(f"\x00[{2**80}]", redact={"fields": ["user.email"]})[0]["user"]["email"] == "[redacted]"


def test_all_of_metadata() -> None:
    """A limiter may go by all of `metadata`, and where that is no object its text is told."""
    (record,) = told("all", by=("metadata",))
    assert record["metadata"].keys() == {"dropped"}
    assert " of all " in record["message"]
    assert told('\x00[{"a":1}]', by=("metadata",))[0]["metadata"].keys() == {"a", "dropped"}
