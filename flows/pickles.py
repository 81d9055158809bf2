"""What the engine may unpickle: plain values and the classes that logweir's dataflows exchange, and nothing else.

Bytewax exchanges pickles between workers over TCP, and keeps states as pickles in its store. Whoever can write to
either could have any code run by a pickle of their own ("pickle: Restricting Globals" in Python's documentation). The
engine looks `pickle.loads` up whenever it calls it, so that is what is replaced.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Final

KNOWN: Final[dict[str, frozenset[str]]] = {
    "array": frozenset({"array", "_array_reconstructor"}),
    "builtins": frozenset({"range", "set", "frozenset", "bytearray"}),
    "collections": frozenset({"Counter"}),
    "datetime": frozenset({"date"}),
    "flows.compaction.execute": frozenset({"Done"}),
    "flows.compaction.files": frozenset({"Partition"}),
    "flows.compaction.work": frozenset({"Listed", "Looked"}),
    "operators.limiter_state": frozenset({"Group", "Suppressed"}),
    "operators.limiters": frozenset({"Progress", "Question"}),
    "operators.sampling": frozenset({"Asked", "Sampled", "Samples"}),
    "operators.summaries": frozenset({"Summary"}),
    "operators.watermark": frozenset({"Standing"}),
}
"""By module. Each is made of values alone: to make one runs no code but its own."""


class _Known(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if global_name not in KNOWN.get(module_name, ()):
            msg = f"{module_name}.{global_name} is nothing that logweir sends or records: it was put there by another"
            raise pickle.UnpicklingError(msg)
        return super().find_class(module_name, global_name)


def loads(data: bytes, /, **options: Any) -> Any:
    """Return what a pickle holds.

    Raises:
        pickle.UnpicklingError: It names something else than `KNOWN`.
    """
    return _Known(io.BytesIO(data), **options).load()


def only_known() -> None:
    """Let the engine of this process unpickle by `loads`."""
    pickle.loads = loads  # type: ignore[assignment]  # the engine gives it bytes
