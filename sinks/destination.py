"""The contract between the delivery engine and a destination: what a module in sinks/ has to provide.

A destination knows its wire format and how to read its answers. Everything else (batching, threads, retries, splitting,
dead letters, the ledger) is the engine's, in sinks/delivery.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from logweir.batch import Batch
from logweir.head import Headed
from logweir.record import Level

Getter = Callable[[Any], Any]
"""Reads one logical field from a projected record; None where it is missing."""

UNLIMITED = 1 << 62
REDRIVE_PARTITION = 9999
"""The sink partition of a redrive, which no flow has.

It must not share what a flow takes back when it resumes, such as the end of a file.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the destination takes at most, from its protocol page."""

    request_bytes: int = UNLIMITED
    """Of one request's body before compression, framing included."""
    request_records: int = UNLIMITED
    record_bytes: int = UNLIMITED
    """Of one encoded record; a larger one is dead-lettered without being sent."""
    written: bool = False
    """Whether the format says when a record was observed, beside when it happened."""
    heads: bool = False
    """Whether the format has what a message of Kafka has beside its value."""


@dataclass(slots=True)
class Records:
    """The records of one request, as columns: the i-th of each column is one record."""

    values: list[bytes] = field(default_factory=list)
    """Raw bytes: valid UTF-8, one JSON object that begins with `{`, no raw newline."""
    ids: list[str] = field(default_factory=list)
    """The record's own id, else topic-partition-offset; never empty."""
    records: list[Any] = field(default_factory=list)
    """The projected records, to be read with getters."""
    times: list[str] = field(default_factory=list)
    """When each happened, settled: RFC 3339 text in UTC; only where `timestamp` is among the destination's fields."""
    levels: list[Level | None] = field(default_factory=list)
    """The level of each, settled; None for one that nobody knows. Only where `level` is among the fields."""
    written: list[float] = field(default_factory=list)
    """When each was written to the source, in epoch seconds; only where `Limits.written` asks for it."""
    identities: list[str] = field(default_factory=list)
    """What tells each from every other, the same at each repetition; only where the settings are `identified`."""
    heads: list[Headed] = field(default_factory=list)
    """What each has beside its value where it was a message of Kafka: key, headers, timestamp. Read lazily."""

    @classmethod
    def of(cls, batch: Batch, *, written: bool = False, heads: bool = False) -> Records:
        """Return the columns of a decoded batch.

        Args:
            batch: The batch.
            written: Whether the destination's `Limits.written` asks for when each was written.
            heads: Whether its `Limits.heads` asks for what each has beside its value.
        """
        times = [*batch.written] if written else []
        beside = [*batch.origin.heads(batch.offsets)] if heads else []
        return cls(batch.values, batch.ids, batch.records, batch.times, batch.levels, times, batch.identities, beside)

    def __len__(self) -> int:
        return len(self.values)


Blame = Literal["service", "unclear", "each", "request"]
"""Where the reason of a refusal may lie.

service   in no record: there is no connection, there are too many requests, a credential is refused
unclear   perhaps in a record: an internal error, what a firewall between refuses, an index of some of the records
each      in each of these: the answer names them one by one, and says of each what a person has to mend
request   in what was sent, by an answer that is none of the service's own: a 400 in words that nobody knows
"""
_OF_REQUEST = {400, 422}
_OF_SERVICE = {401, 404, 405, 406, 407, 408, 410, 413, 415, 429, 503, 504}


def blame_of(status: int) -> Blame:
    """Return where the reason may lie of an answer whose words say nothing, by its status (RFC 9110, section 15)."""
    if status in _OF_REQUEST:
        return "request"
    return "service" if status in _OF_SERVICE or status < 400 else "unclear"  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Delivered:
    """Every record was taken; `duplicates` of them the destination already had."""

    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Partial:
    """Some records were taken; the rest is named by index within the request."""

    rejected: dict[int, tuple[str, str]]
    """index -> (short fixed cause, the destination's reason); these are dead-lettered."""
    retry: Sequence[int] = ()
    """Sent again after a backoff."""
    reason: str = ""
    """Why the ones in `retry` weren't taken; empty when they were not looked at, which is no failed attempt."""
    after: float | None = None
    """Seconds to wait that the destination asked for."""
    issue: str = ""
    """Set when the ones in `retry` need a person, as in `Hold`."""
    duplicates: int = 0
    blame: Blame = field(default="service", compare=False)
    """Where the reason for the ones in `retry` may lie."""
    certain: bool = field(default=False, compare=False)
    """Whether each in `rejected` is known to be at fault itself, even where all are, for the same reason."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing was taken, and the same request may succeed later."""

    reason: str
    after: float | None = None
    blame: Blame = field(default="service", compare=False)


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Nothing was taken because the request is too large; halves may succeed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Invalid:
    """Nothing was taken because of something in the request; halves are tried until the culprit is alone."""

    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing was taken, for a reason that a person has to mend: a credential, a permission, a missing index.

    It is tried again slowly for as long as it takes; nothing is dropped.
    """

    issue: str
    """In words a person can act on, with the name of the setting to fix. Never a secret."""
    blame: Blame = field(default="service", compare=False)


Outcome = Delivered | Partial | Retry | TooLarge | Invalid | Hold
Probed = Delivered | Retry | Hold
"""What a health check finds: it takes records, it can't be reached or is busy, or a person has to mend something."""


def probed(outcome: Outcome) -> Probed:
    """Return what an answer to a health check says, where it is read as an answer to records is."""
    match outcome:
        case Delivered() | Retry() | Hold():
            return outcome
        case Partial(issue=issue) if issue:
            return Hold(issue)
        case Partial(reason=reason, after=after) if reason:
            return Retry(reason, after)
        case Partial(rejected=rejected) if rejected:
            return Hold(next(iter(rejected.values()))[1])
        case TooLarge(reason=reason) | Invalid(reason=reason):
            return Hold(reason)
    return Delivered()


@runtime_checkable
class Screening(Protocol):
    """A destination that looks at each batch once, before its records are encoded. Most need not."""

    def screen(self, batch: Batch) -> dict[str, int]:
        """Move records that must not be sent to the account's rejected ones; return counts to tell of, by cause.

        What is told of is delivered all the same: it is what the destination alters without a word.
        """
        ...


class Endpoint(Protocol):
    """What every destination has, however it takes records."""

    def probe(self) -> Probed:
        """Check health by the cheapest authenticated call that the service has. Sends no record and changes nothing.

        May block up to the timeout; raises only for defects. Called beside `send`, also before the first one and by
        `logweir check --connect`, which sends nothing at all: `open` must not make files, topics or tables.
        """
        ...

    def checkpoint(self) -> Any:
        """Make what was sent durable and return plain state to resume from, or None. Called at each epoch's end."""
        ...

    def close(self) -> None:
        """Release connections and files. Called once, after the last send."""
        ...


class Destination(Endpoint, Protocol):
    """One destination, as the engine drives it.

    `encode`, `frame` and `send` are called from several sender threads at once unless `serial` is true.
    """

    limits: Limits
    compression: str | None
    """gzip, zstd or None: how the engine compresses a body before `send`."""
    serial: bool
    """True when requests must be sent one after another, in order (a file, a terminal)."""

    def encode(self, records: Records) -> list[bytes]:
        """Return each record in the wire format, in order. Must not block, and must not raise for any valid record."""
        ...

    def frame(self, pieces: list[bytes]) -> bytes:
        """Return the body of one request made of these encoded records."""
        ...

    def send(self, body: bytes, count: int) -> Outcome:
        """Deliver one compressed body of `count` records. May block up to the timeout; raises only for defects."""
        ...


@runtime_checkable
class TableDestination(Endpoint, Protocol):
    """A destination that takes whole batches as columns, in order, where others take records one by one.

    sinks/table_delivery.py drives it: `columns` on the worker's thread, `commit` on one other.
    """

    def columns(self, batch: Batch) -> Any:
        """Return what is kept of a batch until it is committed, None if nothing. Must not block.

        Its `partitions` number those of the table that it is in.

        Called for every batch in the order in which it was read, also when no record of it is left.
        """
        ...

    def commit(self, parts: Sequence[Any]) -> tuple[Outcome, int]:
        """Write all of it or nothing; return the outcome, and the bytes written. May block; raises only for defects.

        It takes every record, so its outcome is none of those about single ones: Delivered, Retry or Hold. After the
        last two it is called again with the same list.
        """
        ...
