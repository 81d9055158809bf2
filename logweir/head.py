"""What a message of Kafka has beside its value: a key, headers and a timestamp."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import methodcaller
from typing import Any, Protocol

Headers = list[tuple[str, bytes | None]]
"""All of them, in order; a name may come more than once, and a value may be null or any bytes."""


class Headed(Protocol):
    """A message, such as confluent_kafka's own: what it has beside its value is read when it is asked for."""

    def key(self) -> Any:
        """Return the key as bytes, None where there is none."""
        ...

    def headers(self) -> Any:
        """Return the headers; None or nothing where there are none."""
        ...

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of timestamp, and epoch milliseconds: not above zero where there is none."""
        ...


class Head:
    """What is kept of a message beside its value.

    Args:
        key: None where there is none.
        headers: In order.
        millis: The timestamp in epoch milliseconds; 0 where there is none.
    """

    __slots__ = ("_headers", "_key", "_millis")

    def __init__(
        self, key: bytes | None = None, headers: Iterable[tuple[str, bytes | None]] = (), millis: int = 0
    ) -> None:
        self._key = key
        self._headers = list(headers)
        self._millis = millis

    def key(self) -> bytes | None:
        """Return the key."""
        return self._key

    def headers(self) -> Headers:
        """Return the headers."""
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        """Return the timestamp, as one that the producer has set."""
        return int(self._millis > 0), self._millis


NO_HEAD = Head()
"""Of a record that was no message of Kafka."""

KEY: Callable[[Headed], bytes | None] = methodcaller("key")
HEADERS: Callable[[Headed], Headers | None] = methodcaller("headers")
TIMESTAMP: Callable[[Headed], tuple[int, int]] = methodcaller("timestamp")


def head_of(message: Headed) -> Head:
    """Return what a message has beside its value, on its own."""
    key = message.key()
    return Head(
        key.encode() if isinstance(key, str) else key,
        [(name, _bytes(value)) for name, value in message.headers() or ()],
        max(0, message.timestamp()[1]),
    )


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
