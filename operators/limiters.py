"""Asking the limiters: records wait where they are, and only what a limiter has to know of them travels.

Records of a batch that have the same keys and happened in the same second are alike to every limiter, so they are asked
about as one group, and the answer is how many of it pass. Groups go to the limiters one after another, each to the
bucket of its key there; when all of a batch's groups are back, the first records of each group pass.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import compress, repeat
from typing import Any, NamedTuple

import msgspec
import orjson
import xxhash

from logweir.batch import Account, Batch
from logweir.record import rfc3339
from operators.limiter_state import Suppressed
from operators.projection import Getter, Projection
from operators.rate_limit import OTHER_KEYS, whole_seconds
from operators.rule_models import LimiterRule
from operators.rules import select

BUCKETS = 16
"""The keys of each limiter are spread over so many states. A recovery store depends on their number."""
LONGEST_KEY = 64
"""Characters; of a longer key its hash is kept."""

_encode = msgspec.json.Encoder(order="deterministic").encode
_BUCKET_NAMES = [f"{number:02d}" for number in range(BUCKETS)]
_BUCKETS_CACHED = 10_000


class Group(NamedTuple):
    """Records that are alike to the limiters."""

    number: int
    """Within its batch."""
    limiters: int
    """Which ones are to be asked, as bits."""
    keys: tuple[str, ...]
    """For each limiter."""
    second: int
    """When they happened, in epoch seconds."""
    records: int
    """How many have passed so far."""
    dropped: tuple[tuple[int, int], ...] = ()
    """(limiter, records), of those that have dropped some."""


class Question(NamedTuple):
    """Some groups of one batch, on their way from limiter to limiter and back."""

    origin: str
    """The sink partition that holds the records."""
    batch: int
    partition: str
    """Where the records were read."""
    until: float
    """The event time up to which that partition has been read, in epoch seconds."""
    groups: list[Group]
    notices: tuple[tuple[str, int], ...] = ()
    """(what a limiter's bounds have changed, records)."""
    revision: int = 0
    """Of the flow's settings, by which the groups were made."""


class Summary(NamedTuple):
    """What windows of one limiter have dropped, to be told in records of their own."""

    origin: str
    """The sink partition that delivers them."""
    rule: str
    """The limiter's name."""
    by: tuple[str, ...]
    """The fields that its keys are made of."""
    suppressed: list[Suppressed]


class Limiters:
    """The limiters of one destination, and the batches that wait for their answers.

    Args:
        rules: In the order in which they are asked.
        projection: Reads the fields that they look at.
        revision: Of the flow's settings.
    """

    def __init__(self, rules: Sequence[LimiterRule], projection: Projection, revision: int = 0) -> None:
        self.rules = list(rules)
        self._revision = revision
        self._lateness = max((rule.lateness for rule in rules), default=0.0)
        timed = any(rule.clock == "event" for rule in rules)
        self._timestamp: Getter | None = projection.getter("timestamp") if timed else None
        self._by = [[projection.getter(path) for path in rule.by_fields] for rule in rules]
        self._held: dict[int, _Held] = {}
        self._asked = 0

    def ask(self, batch: Batch, origin: str, now: float) -> Question | None:
        """Hold a batch, and return what to ask about it; None when no limiter concerns it."""
        if not any(batch.limiters):
            return None
        rows = batch.records
        if self._timestamp is None:
            seconds: list[int] = [0] * len(rows)
        else:
            seconds = whole_seconds(list(map(self._timestamp, rows)), batch.written, self._lateness, now)
        columns = [_keys(rows, getters) for getters in self._by]
        alike = list(zip(batch.limiters, seconds, *columns, strict=True))
        counts = Counter(alike)
        bits, moments, *keys = zip(*counts, strict=True)
        every = zip(range(len(counts)), bits, zip(*keys, strict=True), moments, counts.values(), repeat(()))
        # What no limiter concerns has no bits.
        groups = list(map(Group._make, compress(every, bits)))
        self._asked += 1
        self._held[self._asked] = _Held(batch, alike, list(counts), len(groups))
        until = batch.written[1] if batch.written else float(max(seconds))
        partition = f"{batch.topic}-{batch.partition}"
        return Question(origin, self._asked, partition, until, groups, revision=self._revision)

    def settle(self, question: Question) -> Batch | None:
        """Take an answer; return what of the batch passes once it is the last one."""
        held = self._held[question.batch]
        batch = held.batch
        for group in question.groups:
            for limiter, count in group.dropped:
                batch.account.drop(self.rules[limiter].name, count)
            if group.dropped:
                held.left[held.kinds[group.number]] = group.records
        held.waiting -= len(question.groups)
        if held.waiting:
            return None
        del self._held[question.batch]
        return select(batch, held.passed()) if held.left else batch


def told_records(summary: Summary) -> Batch:
    """Return a batch of records that say what was dropped, one for each key and window."""
    values = [orjson.dumps(_told(summary.rule, summary.by, each)) for each in summary.suppressed]
    account = Account()
    account.made = len(values)
    return Batch("logweir", 0, values, range(len(values)), account)


def _told(rule: str, names: Sequence[str], suppressed: Suppressed) -> dict[str, Any]:
    """Return the record that tells of one key's dropped records, in logweir's own format."""
    values = values_of(suppressed.key, len(names))
    start, length = suppressed.start, suppressed.length
    identity = f"{rule}\0{suppressed.key}\0{start}\0{length}\0{suppressed.part}"
    of = f" of {', '.join(map(str, values))}" if values else ""
    record: dict[str, Any] = {
        "id": f"dropped-{xxhash.xxh3_128_hexdigest(identity.encode(errors='surrogatepass'))}",
        "timestamp": rfc3339(start + length),
        "level": "warn",
        "category": "logweir",
        "message": f"'{rule}' dropped {suppressed.records} records{of} within {length} s",
    }
    for name, value in zip(names, values, strict=False):
        _plant(record, name.split("."), value)
    record.setdefault("metadata", {})["dropped"] = {
        "rule": rule,
        "records": suppressed.records,
        "from": rfc3339(start),
        "seconds": length,
    }
    return record


def _plant(record: dict[str, Any], path: list[str], value: Any) -> None:
    """Put the value of a limiter's field where it stood in the dropped records, unless the summary says that itself."""
    *parents, leaf = path
    for parent in parents:
        record = record.setdefault(parent, {})
        if not isinstance(record, dict):
            return
    record.setdefault(leaf, value)


class _Held:
    """A batch that waits."""

    def __init__(self, batch: Batch, alike: list[Any], kinds: list[Any], waiting: int) -> None:
        self.batch = batch
        self.alike = alike
        """Of each record, what tells its group."""
        self.kinds = kinds
        """Of each group, what tells it."""
        self.waiting = waiting
        """Groups that are not back."""
        self.left: dict[Any, int] = {}
        """Of the groups that lost some: how many of their records pass."""

    def passed(self) -> list[bool]:
        """Return which records pass: of each group the first ones."""
        left, passed = self.left, []
        for each in self.alike:
            some = left.get(each)
            passed.append(some is None or some > 0)
            if some:
                left[each] = some - 1
        return passed


def _keys(rows: Sequence[Any], getters: Sequence[Getter]) -> Sequence[str]:
    """Return each record's key: the values of the limiter's fields, in a form that is equal for equal values."""
    if not getters:
        return [""] * len(rows)
    values = [list(map(get, rows)) for get in getters]
    if len(values) > 1:
        return _joint_keys(list(zip(*values, strict=True)))
    (column,) = values
    if set(map(type, column)) == {str} and max(map(len, column)) <= LONGEST_KEY and "\x00" not in "".join(column):
        return column
    return [
        value if isinstance(value, str) and len(value) <= LONGEST_KEY and "\x00" not in value else key
        for value, key in zip(column, _joint_keys([(value,) for value in column]), strict=True)
    ]


def values_of(key: str, fields: int) -> list[Any]:
    """Return the values that a key stands for; nothing where it stands for many, or is a long one's hash."""
    if key == OTHER_KEYS or not fields:
        return []
    if not key.startswith("\x00"):
        return [key]
    try:
        values = json.loads(key[1:])
    except ValueError:
        return []
    return values if isinstance(values, list) else []


def _joint_keys(rows: list[tuple[Any, ...]]) -> list[str]:
    """Return a key for each of some rows of values: their JSON, or its hash."""
    try:
        encoded = list(map(_encode, rows))
    except (ValueError, RecursionError):
        encoded = list(map(_encoded, rows))
    digest = xxhash.xxh3_128_hexdigest
    return ["\x00" + (data.decode() if len(data) <= LONGEST_KEY else digest(data)) for data in encoded]


def _encoded(row: tuple[Any, ...]) -> bytes:
    try:
        return _encode(row)
    except ValueError:  # half of a surrogate pair
        return json.dumps(row, sort_keys=True).encode()
    except RecursionError:
        return b"nested too deeply"


class Buckets(dict[str, str]):
    """key -> the name of its bucket, remembered for as many as are met often."""

    def __missing__(self, key: str) -> str:
        data = key.encode() if key.isascii() else key.encode(errors="surrogatepass")
        bucket = _BUCKET_NAMES[xxhash.xxh3_64_intdigest(data) % BUCKETS]
        if len(self) >= _BUCKETS_CACHED:
            self.clear()
        self[key] = bucket
        return bucket


def spread(question: Question, limiter: int, buckets: Buckets) -> list[tuple[str, Question]]:
    """Return the parts of a question that each bucket of this limiter has to answer."""
    parts: defaultdict[str, list[Group]] = defaultdict(list)
    for group in question.groups:
        parts[buckets[group.keys[limiter]]].append(group)
    return [(bucket, question._replace(groups=groups)) for bucket, groups in parts.items()]
