"""What redaction costs a record: all built-in patterns over generated records, and over some with something to hide."""

from __future__ import annotations

import statistics
import time

from flows.sources.generate import batch
from logweir.batch import Batch
from operators.formats import LOGWEIR
from operators.redact import Redactor
from operators.redact_models import RedactSettings
from operators.redact_patterns import BUILTINS

_BATCH = 2000
_SHARE = 20
"""One record in so many has something to hide, in the second measurement."""
_SECRETS = (
    b"mail to jane.doe@example.com",
    b"card 4111 1111 1111 1111 refused",
    b"from 203.0.113.7 and 2001:db8::7",
    b"Authorization: Bearer 8f14e45fceea167a5a36dedd4bea2543",
    b"AKIAIOSFODNN7EXAMPLE is the key",
)


def cost(records: int, repeats: int) -> None:
    """Print microseconds of CPU a record, medians."""
    records = min(records, 200_000)
    clean = [batch(1, start, _BATCH) for start in range(0, records, _BATCH)]
    spoilt = [[_spoilt(value, number) for number, value in enumerate(values)] for values in clean]
    everything = Redactor(RedactSettings.model_validate({"patterns": list(BUILTINS)}), LOGWEIR)
    fields = {"fields": ["metadata.password", "*.token", "**.secret"], "patterns": list(BUILTINS)}
    settings = {
        "all patterns": everything,
        "and three fields": Redactor(RedactSettings.model_validate(fields), LOGWEIR),
    }
    print(f"redaction of {records:,} records, on top of the stages above")
    for name, redactor in settings.items():
        for said, batches in (("generated", clean), (f"1 in {_SHARE} has something", spoilt)):
            runs = [_run(redactor, batches) for _ in range(max(3, repeats))]
            micros = statistics.median(run[0] for run in runs) / records * 1e6
            print(f"  {name:>16}, {said}: {micros:.2f} us a record; {runs[0][1] / records:.1%} are changed")


def _spoilt(value: bytes, number: int) -> bytes:
    if number % _SHARE:
        return value
    return value.replace(b'"message":"', b'"message":"' + _SECRETS[number // _SHARE % len(_SECRETS)] + b" ", 1)


def _run(redactor: Redactor, batches: list[list[bytes]]) -> tuple[float, int]:
    made = [Batch("bench", 0, list(values), range(len(values))) for values in batches]
    started = time.process_time()
    for each in made:
        redactor(each)
    spent = time.process_time() - started
    changed = sum(
        old is not new
        for each, values in zip(made, batches, strict=True)
        for old, new in zip(values, each.values, strict=True)
    )
    return spent, changed
