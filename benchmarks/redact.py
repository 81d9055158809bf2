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
    patterns = {"patterns": list(BUILTINS)}
    fields = {"fields": ["metadata.password", "*.token", "**.secret"], **patterns}
    print(f"redaction of {records:,} records, on top of the stages above")
    for name, settings in (("all patterns", patterns), ("and three fields", fields)):
        redactor = Redactor(RedactSettings.model_validate(settings), LOGWEIR)
        for said, spoil in (("generated", False), (f"1 in {_SHARE} has something", True)):
            runs = [_run(redactor, records, spoil) for _ in range(max(3, repeats))]
            micros = statistics.median(spent for spent, _ in runs) / records * 1e6
            print(f"  {name:>16}, {said}: {micros:.2f} us a record; {runs[0][1] / records:.1%} are changed")


def _spoilt(value: bytes, number: int) -> bytes:
    if number % _SHARE:
        return value
    return value.replace(b'"message":"', b'"message":"' + _SECRETS[number // _SHARE % len(_SECRETS)] + b" ", 1)


def _run(redactor: Redactor, records: int, spoil: bool) -> tuple[float, int]:
    """Return seconds of CPU and how many records were changed; batches are made as a source makes them, each anew."""
    spent, changed = 0.0, 0
    for start in range(0, records, _BATCH):
        values = batch(1, start, _BATCH)
        if spoil:
            values = [_spoilt(value, number) for number, value in enumerate(values)]
        made = Batch("bench", 0, values, range(len(values)))
        started = time.process_time()
        redactor(made)
        spent += time.process_time() - started
        changed += sum(old is not new for old, new in zip(values, made.values, strict=True))
    return spent, changed
