"""Topics that a flow would both write and read, so that its records or its dead letters would go round for ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flows.document import Document, Finding, Path

_ARCHIVE = "archive"
_PREFIX = "dead."
"""What the topics of dead letters begin with, where a flow says nothing else."""


def topic_circles(document: Document) -> Iterator[Finding]:
    """Give a finding for each topic that the flow both writes and reads, as far as the brokers' addresses show it.

    A pattern of the source's topics passes over what the flow writes, so only names are looked at.
    """
    destinations = document.get(("destinations",))
    if document.get(("source", "type")) != "kafka" or not isinstance(destinations, dict):
        return
    given, brokers = document.get(("source", "topics")), _texts(document.get(("source", "brokers")))
    topics: list[Any] = given if isinstance(given, list) else []
    letters = {f"{prefix}{name}": name for prefix in _prefixes(document) for name in _names(document, destinations)}
    for topic, name in letters.items():
        if topic in topics:
            yield document.find(("source", "topics", topics.index(topic)), _own_letters(name))
    for name, each in destinations.items():
        if not isinstance(each, dict) or each.get("type") != "kafka" or each.get("enabled") is False:
            continue
        written, path = each.get("topic"), ("destinations", name, "topic")
        if not isinstance(written, str) or not brokers & _texts(each.get("brokers")):
            continue
        if written in topics:
            said = "is a topic that the source reads, so its records would go round for ever; write to another"
            yield document.find(path, said)
        elif written in letters:
            said = f"is the topic of the dead letters of {letters[written]}, which a redrive reads: write to another"
            yield document.find(path, said)


def _own_letters(name: str) -> str:
    return (
        f"is the topic of this flow's own dead letters for {name}, so each of them would make another, for ever; read "
        "another, or set another dead_letter.topic_prefix. To send dead letters again: "
        f"logweir redrive FLOW --to {name}"
    )


def _prefixes(document: Document) -> list[str]:
    given: Path = ("dead_letter",)
    if document.get(given) is None:
        return [_PREFIX]
    prefix = document.get((*given, "topic_prefix"))
    return [prefix] if isinstance(prefix, str) else []


def _names(document: Document, destinations: dict[Any, Any]) -> list[str]:
    names = [
        str(name)
        for name, each in destinations.items()
        if not (isinstance(each, dict) and each.get("enabled") is False)
    ]
    return [*names, _ARCHIVE] if document.get(("retention",)) is not None else names


def _texts(value: Any) -> set[str]:
    return {each for each in value if isinstance(each, str)} if isinstance(value, list) else set()
