"""Where a partition is read, and in which log: what is recorded of a position, and how it is told to the group.

An offset means nothing without the log that it counts in. A topic that is deleted and made anew, and a topic of the
same name in another cluster, begin at offset 0 again, and a position there would skip what lies before it. So the log's
name goes with each position: `<cluster id>/<topic id>`. Brokers before Kafka 2.8 give topics no id, so the topic's name
stands for it there. A log that was cut off, by an election of a leader that lacked its last records, goes on under the
same offsets with other records; from there on its name ends in `#<leader epoch>-<offset>`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from logweir.recorded import version_of

VERSION = 2
"""Of what is recorded; the first was the offset alone."""
_COMMITTED = "log="
"""What the metadata of a committed offset begins with."""


class Position(NamedTuple):
    """The next offset to read of a partition, and what that offset belongs to."""

    offset: int | None
    """None: the first that was written at `since` or later."""
    log: str = ""
    """Empty where it was recorded without one."""
    epoch: int = -1
    """The leader's, of the record before; negative where that isn't known."""
    adopted: bool = False
    """The offset was recorded before logs had names, and is taken to be of the log that was found then."""
    since: int = 0
    """In epoch milliseconds; zero for the partition's beginning."""

    def to_dict(self) -> dict[str, Any]:
        """Return what is recorded."""
        return {"version": VERSION, **self._asdict()}

    @classmethod
    def of(cls, state: int | dict[str, Any] | None) -> Position | None:
        """Return what was recorded.

        Raises:
            LogweirError: A newer version has recorded it.
        """
        if state is None or isinstance(state, int):
            return None if state is None else cls(state)
        version_of(state, VERSION)
        return cls(*(state[name] for name in cls._fields))


def name_of(cluster: str, topic_id: str, topic: str) -> str:
    """Return the name of a topic's log.

    Args:
        cluster: The cluster's id.
        topic_id: In base64; of a broker that gives no ids, zeros.
        topic: The topic's name.
    """
    identity = topic_id.rstrip("=").replace("+", "-").replace("/", "_")
    return f"{cluster}/{identity if identity.strip('A') else topic}"


def is_same(recorded: str, present: str, topic: str) -> bool:
    """Tell whether a recorded log is the one that is there now; one that was recorded without a name may be any."""
    if not recorded:
        return True
    recorded = recorded.partition("#")[0]
    # Brokers that were brought up to date have given their topics ids since.
    return recorded == present or (in_cluster(recorded, present) and recorded.endswith(f"/{topic}"))


def in_cluster(one: str, other: str) -> bool:
    """Tell whether two logs are of one cluster."""
    return one.rpartition("/")[0] == other.rpartition("/")[0]


def branch(log: str, epoch: int, offset: int) -> str:
    """Return the name of a log behind the offset at which it was cut off and went on otherwise."""
    return f"{log.partition('#')[0]}#{epoch}-{offset}"


def to_metadata(log: str) -> str:
    """Return what is committed beside an offset of a log."""
    return f"{_COMMITTED}{log}"


def from_metadata(metadata: str | None) -> str:
    """Return the log of a committed offset; empty where somebody else has committed it."""
    return metadata.removeprefix(_COMMITTED) if metadata and metadata.startswith(_COMMITTED) else ""
