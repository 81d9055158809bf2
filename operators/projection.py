"""Projection: decode of a JSON record into only the fields that something asks for.

From the dotted paths that rules and sinks need, and the format that says where they live on the wire, a tree of msgspec
Structs is built once. A leaf takes any JSON value, so rules see what is there; a parent that is no object (a string
where `context` should be) makes msgspec refuse the message, and the general path builds the same Structs from a full
decode.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from itertools import repeat
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import UNSET

from logweir.paths import listed
from operators.formats import Alternative, Format

Getter = Callable[[Any], Any]

Leaf = Any
"""The type that msgspec decodes a leaf into."""

_Tree = dict[str, "_Tree | Leaf"]


class Projection:
    """The Structs, their decoder, and a getter for each logical field.

    Args:
        fields: Logical paths, such as `level` or `context.service`. What `members` returned lists members of the record
            by their own names on the wire, whatever the format.
        layout: Where those fields live in the records of this source.
        identified: Whether `id` is among the fields in any case.
    """

    def __init__(self, fields: Iterable[str], layout: Format, *, identified: bool = True) -> None:
        self.layout = layout
        self._tree: _Tree = {}
        asked = {*fields, "id"} if identified else set(fields)
        lists = {path: names for path in asked if (names := listed(path)) is not None}
        for path in sorted(asked - lists.keys()):
            for alternative in layout.wire(path):
                # A level or an id that is a list or an object is none, and could not be looked up in a table.
                kind = _SCALARS.get(path, Any) if alternative.convert is None else Any
                _plant(self._tree, alternative.path, kind)
        members = {name for names in lists.values() for name in names} - self._tree.keys()
        self._tree.update(dict.fromkeys(members, Any))
        self._members = members
        self.fields = frozenset(asked)
        """What it was made for."""
        self._type, self.build = _compile(self._tree, "record", members)
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(self._type).decode

    def getter(self, path: str) -> Getter:
        """Return the function that reads this logical field from a projected record; None where it is missing.

        Of a list of members it gives a tuple; UNSET stands for one that is missing, unless a logical field lives there.

        Raises:
            KeyError: The path was not among the projection's fields.
        """
        if (names := listed(path)) is not None:
            return attrgetter(*map(_attribute, names))
        getters = [self.reader(alternative) for alternative in self.layout.wire(path)]
        if len(getters) == 1:
            return getters[0]

        def first(record: Any) -> Any:
            for get in getters:
                value = get(record)
                if value is not None:
                    return value
            return None

        return first

    def covers(self, other: Projection) -> bool:
        """Whether the getters of another projection read this one's records as they read its own."""
        return _within(other._tree, self._tree) and not other._members - self._members

    def reader(self, alternative: Alternative) -> Getter:
        """Return the function that reads one place where a field may live, as far as the projection has it."""
        node: _Tree | Leaf = self._tree
        names = []
        rest = list(alternative.path)
        while rest and isinstance(node, dict):
            key = rest.pop(0)
            names.append(_attribute(key))
            node = node[key]
        read = attrgetter(".".join(names))
        if not rest and alternative.convert is None:
            return read
        convert = alternative.convert

        def get(record: Any) -> Any:
            value = read(record)
            for key in rest:
                if not isinstance(value, dict):
                    return None
                value = value.get(key)
            return value if convert is None or value is None else convert(value)

        return get


_ID = str | int | None
_LEVEL = str | int | float | None
_SCALARS: dict[str, Leaf] = {"id": _ID, "level": _LEVEL}


def _plant(tree: _Tree, path: tuple[str, ...], kind: Leaf) -> None:
    """Add a wire path to the tree. A leaf swallows what lies below it: the getter walks the decoded value instead."""
    *parents, leaf = path
    for key in parents:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            return
        tree = branch
    tree[leaf] = kind


def _within(tree: _Tree, other: _Tree) -> bool:
    """Whether all that is in a tree is in the other as well, in the same place and of the same type."""
    for key, node in tree.items():
        there = other.get(key)
        if isinstance(node, dict) and isinstance(there, dict):
            if not _within(node, there):
                return False
        elif there is not node:
            return False
    return True


def _leaf(value: Any, kind: Leaf) -> Any:
    if kind is Any:
        return value
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _attribute(key: str) -> str:
    """Return a Python attribute name for a wire key; the encoded name stays the key itself."""
    return "f_" + "".join(char if char.isascii() and char.isalnum() else f"_{ord(char)}_" for char in key)


def _compile(tree: _Tree, name: str, members: Container[str] = ()) -> tuple[type[msgspec.Struct], Callable[[Any], Any]]:
    """Return the Struct type of a tree and the function that builds it from a decoded JSON value of any type.

    Args:
        tree: The tree.
        name: Of the type.
        members: The leaves that are UNSET where they are missing; others are None.
    """
    missing = {key: UNSET if key in members else None for key in tree}
    leaves = {key: kind for key, kind in tree.items() if not isinstance(kind, dict)}
    branches = {key: _compile(branch, key) for key, branch in tree.items() if isinstance(branch, dict)}
    fields: list[Any] = [(_attribute(key), kind, missing[key]) for key, kind in leaves.items()]
    for key, (kind, _) in branches.items():
        # Struct() with every field missing stands in for a parent that isn't there, so getters need no test for it.
        # `repeat` gives the one instance without a Python call.
        fields.append((_attribute(key), kind, msgspec.field(default_factory=repeat(kind()).__next__)))
    rename = {_attribute(key): key for key in tree}
    struct = msgspec.defstruct(f"Projected_{_attribute(name)}", fields, rename=rename, gc=False)

    def build(value: Any) -> Any:
        source: Mapping[str, Any] = value if isinstance(value, dict) else {}
        values = {_attribute(key): _leaf(source.get(key, missing[key]), kind) for key, kind in leaves.items()}
        values.update({_attribute(key): make(source.get(key)) for key, (_, make) in branches.items()})
        return struct(**values)

    return struct, build
