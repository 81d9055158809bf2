"""One message of a dead letter topic: the record is its value, and its headers say the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Message

from logweir.head import Head, head_of
from sinks.deadletter import DeadLetter


def parse(message: Message) -> tuple[str, DeadLetter]:
    """Return the destination that a message names, and the letter in it.

    Raises:
        ValueError: It is no dead letter; the message says why.
    """
    every = head_of(message).headers()
    headers: Mapping[str, Any] = dict(every)
    own = _number(headers, "headers") if "logweir.headers" in headers else 0
    # The record's own may have any names, those of letters too.
    headers = dict(every[own:])
    millis = _number(headers, "timestamp") if "logweir.timestamp" in headers else 0
    letter = DeadLetter(
        _bytes(message.value()),
        _text(headers, "topic"),
        _number(headers, "partition"),
        _number(headers, "offset"),
        _text(headers, "cause"),
        _text(headers, "reason"),
        _number(headers, "attempts"),
        _text(headers, "identity") if "logweir.identity" in headers else "",
        Head(head_of(message).key(), every[:own], millis),
        _text(headers, "log") if "logweir.log" in headers else "",
        _number(headers, "size") if "logweir.size" in headers else 0,
    )
    return _text(headers, "destination"), letter


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(f"logweir.{name}")
    if not isinstance(value, bytes):
        msg = f"the header `logweir.{name}` is missing"
        raise ValueError(msg)  # noqa: TRY004  whoever calls asks only whether it is a letter
    return value.decode(errors="replace")


def _number(headers: Mapping[str, Any], name: str) -> int:
    text = _text(headers, name)
    try:
        return int(text)
    except ValueError:
        msg = f"the header `logweir.{name}` is no whole number: {text[:40]!r}"
        raise ValueError(msg) from None
