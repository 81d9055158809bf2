"""A flow file's YAML, read strictly, with the position of every key and value.

Only true and false are booleans, only plain decimals are numbers: `no`, `012`, `1_000`, `12:30:00` and `2026-01-01`
stay the text that they look like. Duplicate keys, anchors, aliases and tags are findings. Variables are replaced here,
so that what comes out is plain data whose every value still has its place in the file.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from flows.variables import substitute
from logweir.settings import Substituted
from logweir.terminal import visible

Path = tuple[str | int, ...]
Mark = tuple[int, int]
"""Line and column, from 1."""

_MAX_DEPTH = 50
_VERSION_DIGITS = 12
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,29})")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Finding(NamedTuple):
    """One thing that is wrong with a flow file, or a warning."""

    file: str
    mark: Mark
    path: str
    """Where in the data, such as `destinations.search.batch.max_bytes`; empty for the whole file."""
    message: str
    warning: bool = False

    def __str__(self) -> str:
        kind = "warning: " if self.warning else ""
        path = f"{self.path}: " if self.path else ""
        return visible(f"{self.file}:{self.mark[0]}:{self.mark[1]}: {kind}{path}{self.message}")


def spell(path: Sequence[str | int]) -> str:
    """Return a path as a person writes it: `rules[0].levels`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def scalar(text: str) -> Any:
    """Return the null, boolean or number that plain text stands for, else the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


@dataclass(slots=True)
class Document:
    """What a flow file holds, and where."""

    file: str
    data: Any = None
    keys: dict[Path, Mark] = field(default_factory=dict)
    """Where the key of a value stands; for an entry of a list, the entry."""
    values: dict[Path, Mark] = field(default_factory=dict)
    unresolved: set[Path] = field(default_factory=set)
    """Values whose variables could not be replaced: what else may be wrong with them is unknown."""
    findings: list[Finding] = field(default_factory=list)
    version: str = ""
    """Tells the content from any other: the first digits of its SHA-256."""

    def find(self, path: Path, message: str, *, warning: bool = False, key: bool = False) -> Finding:
        """Return a finding about the value at this path, or about its key."""
        table = self.keys if key else self.values
        mark = table.get(path) or self.values.get(path) or (1, 1)
        return Finding(self.file, mark, spell(path), message, warning)

    def get(self, path: Path) -> Any:
        """Return the value at this path, None where there is none."""
        value = self.data
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def replace(self, path: Path, value: Any) -> None:
        """Put a value in the place of another."""
        self.get(path[:-1])[path[-1]] = value


def version_of(content: bytes) -> str:
    """Return the first digits of a file's SHA-256, as `sha256sum` shows them."""
    return hashlib.sha256(content).hexdigest()[:_VERSION_DIGITS]


def read(text: str | bytes, file: str, environment: Mapping[str, str] | None = None) -> Document:
    """Return what YAML text holds. Whatever is wrong with it is in the document's findings; nothing is raised.

    Args:
        text: The file's content.
        file: Its name, for findings.
        environment: The variables; the process's own when left out.
    """
    document = Document(file, version=version_of(text.encode(errors="replace") if isinstance(text, str) else text))
    try:
        plain = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        plain.encode()
    except UnicodeError as error:
        before = text[: error.start] if isinstance(error, UnicodeDecodeError | UnicodeEncodeError) else text[:0]
        document.findings.append(Finding(file, _place(before), "", "must be UTF-8 text"))
        return document
    builder = _Builder(document, os.environ if environment is None else environment)
    try:
        builder.build(yaml.parse(plain, Loader=_Loader))
    except _TooDeepError as error:
        document.findings.append(Finding(file, error.mark, "", f"nested deeper than {_MAX_DEPTH} levels"))
    except yaml.MarkedYAMLError as error:
        document.findings.append(_syntax(error, plain, file))
    except yaml.reader.ReaderError as error:
        # libyaml counts bytes, PyYAML's own reader counts characters; they differ only behind non-ASCII text.
        before = plain.encode()[: error.position]
        document.findings.append(Finding(file, _place(before), "", f"not YAML: {error.reason}"))
    except yaml.YAMLError as error:
        document.findings.append(Finding(file, (1, 1), "", f"not YAML: {' '.join(str(error).split())}"))
    return document


def _place(before: str | bytes) -> Mark:
    """Return the mark of what follows this text."""
    text = before.decode(errors="replace") if isinstance(before, bytes) else before
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Finding:
    mark = error.problem_mark or error.context_mark
    place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    said = " ".join(part for part in (error.context, error.problem) if part)
    lines = text.splitlines()
    line = lines[place[0] - 1] if place[0] <= len(lines) else ""
    if line[place[1] - 1 : place[1]] == "\t":
        return Finding(file, place, "", "not YAML: a tab can't indent; use spaces")
    if "${" in "".join(lines[max(0, place[0] - 2) : place[0]]):
        said += "; inside { } and [ ] put quotes around a ${...}"
    return Finding(file, place, "", f"not YAML: {said}")


class _TooDeepError(Exception):
    def __init__(self, mark: Mark) -> None:
        self.mark = mark


class _Builder:
    """Builds data from YAML events: libyaml's own composer would follow aliases, and it has no limit of depth."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._events: Iterator[Any] = iter(())

    def build(self, events: Iterator[Any]) -> None:
        """Fill the document."""
        self._events = events
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._find((), _mark(event), "one document a file; remove the `---`")
                    return
            elif isinstance(event, yaml.NodeEvent):
                self._document.data = self._value(event, ())

    def _find(self, path: Path, mark: Mark, message: str) -> None:
        self._document.findings.append(Finding(self._document.file, mark, spell(path), message))

    def _value(self, event: Any, path: Path) -> Any:
        mark = _mark(event)
        self._document.values[path] = mark
        if len(path) > _MAX_DEPTH:
            raise _TooDeepError(mark)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(path, mark, "aliases are not supported; write the value out")
            return None
        if event.anchor:
            self._refuse(path, mark, "anchors are not supported; remove the `&...`")
        if event.tag not in (None, "!"):
            self._refuse(path, mark, "tags are not supported; remove the `!...`, and quote text")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(event, path)

    def _refuse(self, path: Path, mark: Mark, message: str) -> None:
        self._find(path, mark, message)
        self._document.unresolved.add(path)

    def _mapping(self, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            mark = _mark(event)
            if not isinstance(event, yaml.ScalarEvent):
                self._find(path, mark, "a name must be plain text")
                self._skip(event)
                self._skip(next(self._events))
                continue
            inner = (*path, event.value)
            if event.value in data:
                line = self._document.keys[inner][0]
                self._find(inner, mark, f"given twice; the first is on line {line}")
                self._skip(next(self._events))
                continue
            self._document.keys[inner] = mark
            data[event.value] = self._value(next(self._events), inner)
        return data

    def _sequence(self, path: Path) -> list[Any]:
        data: list[Any] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            inner = (*path, len(data))
            self._document.keys[inner] = _mark(event)
            data.append(self._value(event, inner))
        return data

    def _skip(self, event: Any) -> None:
        """Pass over a value whose beginning has been read."""
        depth = 0
        while True:
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if not depth:
                return
            event = next(self._events)

    def _scalar(self, event: Any, path: Path) -> Any:
        text, problems = substitute(event.value, self._environment)
        for problem in problems:
            self._refuse(path, self._document.values[path], problem)
        plain = not event.style and not isinstance(text, Substituted)
        return scalar(text) if plain else text


def _mark(event: Any) -> Mark:
    return event.start_mark.line + 1, event.start_mark.column + 1
