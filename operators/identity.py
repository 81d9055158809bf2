"""Who a record is: what tells it from every other, and is the same whenever it is read or sent again.

Nobody guarantees that an application's ids are unique, so an id is joined with a digest of the record's bytes as they
were read: equal bytes are the same record, and two records of one id are two. A record without an id is named by its
place: the log, the partition and the offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xxhash

from logweir.batch import Batch


def digests_of(values: Sequence[bytes]) -> list[str]:
    """Return a digest of each record's bytes: 64 bits in hexadecimal digits."""
    return list(map(xxhash.xxh3_64_hexdigest, values))


def is_own(value: Any) -> bool:
    """Tell whether what stands where an id should be is one."""
    return isinstance(value, str | int) and value != "" and not isinstance(value, bool)


def place_of(batch: Batch, offset: int) -> str:
    """Return the name of a place in a topic, which is that of its own at another topic of the same name."""
    return f"{batch.topic}-{batch.partition}-{offset}"


def ids_of(batch: Batch, own: list[Any]) -> list[str]:
    """Return each record's own id, else its place in the topic.

    Args:
        batch: The records.
        own: What stands where their ids should be.
    """
    try:
        "".join(own)  # the quickest test of every type
    except TypeError:
        pass
    else:
        if all(own):
            return own
    return [
        str(each) if is_own(each) else place_of(batch, offset) for each, offset in zip(own, batch.offsets, strict=True)
    ]


def identities_of(batch: Batch, own: list[Any], digests: Sequence[str]) -> list[str]:
    """Return what tells each record from every other.

    Args:
        batch: The records, with their `ids`.
        own: What stands where their ids should be.
        digests: Of their bytes as they were read.
    """
    if own is batch.ids:
        return list(map("-".join, zip(own, digests, strict=True)))
    log = batch.log or batch.topic
    return [
        f"{each}-{digest}" if is_own(each) else f"{log}-{batch.partition}-{offset}"
        for each, digest, offset in zip(own, digests, batch.offsets, strict=True)
    ]
