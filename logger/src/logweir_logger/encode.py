r"""Values as JSON: orjson where it can, and where it can't a walk that always ends and never raises.

What JSON lacks becomes:

    datetime, date, time, UUID, Enum    what orjson makes of them: RFC 3339, text, the value
    NaN, infinity                       null
    an int below -2^63 or above 2^64-1  its digits as text
    Decimal, Path, complex              text
    timedelta                           seconds
    bytes                               text where they are UTF-8, else base64 behind "base64:"
    set, frozenset, deque, range        a list; a set's is sorted where it can be
    dataclass, namedtuple, attrs, pydantic model, mapping    an object
    exception                           an object: name, message
    numpy                               numbers and lists
    a lone surrogate in text            its escape, such as \ud800
    a key that is no text               text
    anything else                       its repr

A marker that begins with "…" stands for what was left out: too long, too deep, or itself again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Callable

import orjson

from logweir_logger.exceptions import text_of
from logweir_logger.redact import ITSELF, REDACTED, TOO_DEEP, Redactor

OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
_MAX_REPR = 2_000
_INTEGERS = range(-(2**63), 2**64)
"""What orjson writes as a number; the same number must not be text where something beside it needs the walk."""
_FIELDS = ("__dataclass_fields__", "__attrs_attrs__", "model_dump")


def convert(value: Any) -> Any:
    """Return something nearer to JSON for a value that orjson doesn't know. It may hold such values again."""
    try:
        return _convert(value)
    except Exception as error:  # noqa: BLE001  # whatever a broken object does, its record is written
        return f"<{type(value).__name__} that fails with {type(error).__name__}>"


def _convert(value: Any) -> Any:  # noqa: C901, PLR0911  # one question after another
    kind = type(value)
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is not None and not isinstance(value, type):
        return {name: getattr(value, name, None) for name in fields if not name.startswith("_")}
    for known, converter in _CONVERTERS:
        if isinstance(value, known):
            return converter(value)
    if kind.__module__ in _NAMED:
        return _NAMED[kind.__module__](value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    if callable(getattr(kind, "model_dump", None)):
        return value.model_dump()
    if getattr(kind, "__attrs_attrs__", None) is not None:
        return {each.name: getattr(value, each.name, None) for each in kind.__attrs_attrs__}
    if kind.__module__.partition(".")[0] == "numpy" and callable(getattr(value, "tolist", None)):
        found = value.tolist()
        # Some of its scalars give themselves.
        return found if type(found) is not kind else text_of(value)
    if isinstance(value, Mapping):
        return dict(value.items())
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    return _shown(value)


def has_parts(value: Any) -> bool:
    """Whether a value is made of others, so that keys which name a secret may be among them."""
    if isinstance(value, (dict, list, tuple, set, frozenset, Mapping)):
        return True
    kind = type(value)
    return any(getattr(kind, name, None) is not None for name in _FIELDS)


def _shown(value: Any) -> str:
    found = repr(value)
    return found if len(found) <= _MAX_REPR else f"{found[:_MAX_REPR]}…[+{len(found) - _MAX_REPR} characters]"


def _bytes(value: Any) -> str:
    data = bytes(value)
    try:
        return data.decode()
    except UnicodeDecodeError:
        import binascii

        return "base64:" + binascii.b2a_base64(data, newline=False).decode()


def _set(value: Any) -> list[Any]:
    try:
        return sorted(value)
    except Exception:  # noqa: BLE001  # what can't be compared has no order
        return list(value)


def _tuple(value: Any) -> Any:
    return dict(value._asdict()) if hasattr(value, "_asdict") else list(value)


def _error(value: BaseException) -> dict[str, Any]:
    return {"name": type(value).__name__, "message": text_of(value)}


_CONVERTERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (tuple, _tuple),
    ((set, frozenset), _set),
    ((bytes, bytearray, memoryview), _bytes),
    (BaseException, _error),
    (float, float),
    (complex, str),
    ((range, type({}.keys()), type({}.values()), type({}.items())), list),
)

_NAMED: dict[str, Callable[[Any], Any]] = {
    # By module, since importing these for a class to compare with would cost every application.
    "decimal": str,
    "fractions": str,
    "datetime": lambda value: value.total_seconds() if hasattr(value, "total_seconds") else value.isoformat(),
    "pathlib": str,
    "pathlib._local": str,
    "collections": lambda value: dict(value) if isinstance(value, Mapping) else list(value),
    "ipaddress": str,
    "re": lambda value: value.pattern if hasattr(value, "pattern") else _shown(value),
}


class Limits:
    """How much of a value the walk takes.

    Args:
        text: Characters of each text.
        items: Members of each list or object.
        depth: Levels.
        nodes: Values in all.
    """

    __slots__ = ("depth", "items", "nodes", "text")

    def __init__(self, text: int, items: int, depth: int, nodes: int) -> None:
        self.text = text
        self.items = items
        self.depth = depth
        self.nodes = nodes


LIMITS = (
    Limits(8_192, 1_000, 20, 20_000),
    Limits(1_024, 100, 8, 1_000),
    Limits(256, 20, 4, 100),
)
"""Tried in turn until a record is small enough."""


class Walk:
    """Makes plain JSON of anything, within limits.

    Args:
        limits: How much is taken.
        redactor: Knows the secret keys.
    """

    def __init__(self, limits: Limits, redactor: Redactor) -> None:
        self._limits = limits
        self._redactor = redactor
        self._nodes = limits.nodes
        self._above: set[int] = set()

    def plain(self, value: Any, depth: int = 0) -> Any:  # noqa: C901, PLR0911  # one question after another
        """Return plain JSON for this value."""
        self._nodes -= 1
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is int:
            return value if value in _INTEGERS else self._digits(value)
        if kind is float:
            return value
        if isinstance(value, (dict, list)):
            return self._container(value, depth)
        if kind is tuple:
            return self._container(list(value), depth)
        if isinstance(value, Enum):
            return self.plain(value.value, depth + 1)
        if isinstance(value, str):
            return self.text(str.__str__(value))
        if isinstance(value, int):
            return self.plain(int(value), depth)
        try:
            # It takes what orjson knows by itself: datetime, UUID, Enum, numpy.
            return orjson.loads(orjson.dumps(value, option=OPTIONS))
        except Exception:  # noqa: BLE001  # then it is converted
            return self._within(value, depth)

    def text(self, value: str) -> str:
        """Return this text within the limit, and such that UTF-8 can hold it."""
        limit = self._limits.text
        if len(value) > limit:
            value = f"{value[:limit]}…[+{len(value) - limit} characters]"
        try:
            value.encode()
        except UnicodeEncodeError:
            # Surrogates that make a pair are a character after all; those alone are shown as their escapes.
            paired = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            value = paired.encode("utf-8", "backslashreplace").decode()
        return value

    def _digits(self, value: int) -> str:
        try:
            return self.text(str(value))
        except ValueError:
            # Python refuses to print so many digits, since that takes long.
            return f"…[an integer of {value.bit_length()} bits]"

    def _within(self, value: Any, depth: int) -> Any:
        if id(value) in self._above or depth >= self._limits.depth:
            return ITSELF if id(value) in self._above else TOO_DEEP
        self._above.add(id(value))
        try:
            found = self._redactor.element(convert(value))
            return self.plain(found if found is not value else _shown(value), depth + 1)
        finally:
            self._above.discard(id(value))

    def _container(self, value: Any, depth: int) -> Any:
        if id(value) in self._above:
            return ITSELF
        if depth >= self._limits.depth:
            return TOO_DEEP
        self._above.add(id(value))
        try:
            return self._object(value, depth) if isinstance(value, dict) else self._list(value, depth)
        finally:
            self._above.discard(id(value))

    def _object(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        # A copy first, since another thread may change it meanwhile.
        items = list(value.items())
        shown = self._shown(len(items))
        left = self._nodes
        for number, (key, each) in enumerate(items[:shown]):
            self._nodes = share = left // (shown - number)
            name = self._key(key)
            # A key that is no text is judged by what it becomes; one that is too long also by what it was.
            hidden = self._redactor.hides(name, each) or self._redactor.hides(key, each)
            if name in found:
                name = f"{name} ({type(key).__name__})"
            found[name] = REDACTED if hidden else self.plain(each, depth + 1)
            left -= share - self._nodes
        self._nodes = left
        if shown < len(items):
            found["…"] = f"+{len(items) - shown} keys"
        return found

    def _list(self, value: list[Any], depth: int) -> list[Any]:
        found: list[Any] = []
        shown = self._shown(len(value))
        left = self._nodes
        for number, each in enumerate(value[:shown]):
            # What one doesn't use of its share is the others'; so a large one takes nothing from those after it.
            self._nodes = share = left // (shown - number)
            found.append(self.plain(self._redactor.element(each), depth + 1))
            left -= share - self._nodes
        self._nodes = left
        if shown < len(value):
            found.append(f"…[+{len(value) - shown} items]")
        return found

    def _shown(self, members: int) -> int:
        return min(members, self._limits.items, max(0, self._nodes))

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            return self.text(str.__str__(key))
        found = self.plain(key, self._limits.depth - 1)
        if isinstance(found, str):
            return found
        return orjson.dumps(found).decode()
