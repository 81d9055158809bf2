"""A destination that was renamed takes over what its old name has recorded: positions, ledger, states of limits."""

from __future__ import annotations

import fcntl
import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

from flows.config import Flow
from flows.recovery_store import ALL, BESIDE, read_state, write_anew
from logweir.errors import LogweirError
from sinks.durable import sync

Tell = Callable[..., None]
"""Tells an event: its name, its severity and its fields."""


def take_over(flow: Flow, names: Sequence[str], store: Path, tell: Tell) -> None:
    """Let renamed destinations of one dataflow find what they had recorded, and tell of those that begin anew.

    Args:
        flow: The flow.
        names: Its destinations in this dataflow.
        store: The dataflow's recovery store.
        tell: Tells an event.

    Raises:
        LogweirError: The old store is in use.
        OSError: It can't be moved.
    """
    isolated = flow.isolation == "destination"
    if not store.parent.exists() and (flows := _left_flows(store)):
        reason = (
            f"the flow begins anew; {store.parent.parent} holds what the flow {', '.join(flows)} has recorded: if it "
            "was renamed, give it its old `name` again, under which its positions and ledgers are found"
        )
        tell("stream.new", "warn", stream=",".join(names), reason=reason)
    for name in names:
        was = getattr(flow.outlets[name], "was", None)
        if was is not None and isolated and not store.exists() and (old := store.with_name(was)).exists():
            _move(old, store, flow, was, name)
            tell("stream.renamed", "info", stream=name, was=was)
        elif was is not None and not isolated and store.exists() and _knows(store, was) and not _knows(store, name):
            with ExitStack() as locks:
                _lock(store, locks)
                _rename(store, flow, was, name)
            tell("stream.renamed", "info", stream=name, was=was)
        elif isolated and not store.exists() and (others := _left(flow, store.parent)):
            missing = "" if was is None else f", since nothing is recorded under its old name {was}"
            reason = (
                f"{name} begins anew{missing}; {', '.join(others)} has a recorded position and is no destination any "
                f"more: if it was renamed, stop the flow, remove {store}, and set `was: {others[0]}`"
            )
            tell("stream.new", "warn", stream=name, reason=reason)


def _left(flow: Flow, directory: Path) -> list[str]:
    """Return the names that have a recovery store and are no destination of the flow."""
    if not directory.is_dir():
        return []
    # One that may not be looked at is told of when the store is made.
    known = {ALL, *flow.destinations, *flow.outlets, *(getattr(each, "was", None) for each in flow.outlets.values())}
    return [each.name for each in sorted(directory.iterdir()) if each.name not in known and any(each.glob("*.sqlite3"))]


def _left_flows(store: Path) -> list[str]:
    """Return other flows that have recorded something of the same destinations and don't run now."""
    others = []
    for other in sorted(store.parent.parent.glob(f"*/{store.name}")):
        with ExitStack() as locks, suppress(LogweirError):
            _lock(other, locks)
            if any(other.glob("*.sqlite3")):
                others.append(other.parent.name)
    return others


def _knows(store: Path, name: str) -> bool:
    return name in (read_state(store / "partitions.json") or {})


def _move(old: Path, store: Path, flow: Flow, was: str, name: str) -> None:
    with ExitStack() as locks:
        _lock(old, locks)
        # First under the old name, so that an interruption leaves one of both.
        _rename(old, flow, was, name)
        old.rename(store)
        sync(store.parent)


def _lock(store: Path, locks: ExitStack) -> None:
    for path in store.glob("worker-*.lock"):
        handle = locks.enter_context(path.open("rb"))
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            msg = f"{store} is still in use by the destination's old name; it is taken over once that has ended"
            raise LogweirError(msg) from None


def _rename(store: Path, flow: Flow, was: str, name: str) -> None:
    """Give the steps of a store, and what is remembered beside it, the new name. May be done again."""
    dataflow = flow.name.replace("-", "_")
    for path in sorted(store.glob("*.sqlite3")):
        with closing(sqlite3.connect(path)) as database, database:
            found = [step for (step,) in database.execute("SELECT DISTINCT step_id FROM snaps")]
            for step in found:
                renamed = _renamed(str(step), dataflow, was, name)
                if renamed is not None:
                    database.execute("UPDATE snaps SET step_id = ? WHERE step_id = ?", (renamed, step))
    for file in BESIDE:
        known: dict[str, Any] = read_state(store / file) or {}
        if was in known:
            known[name] = known.pop(was)
            write_anew(store / file, known)


def _renamed(step: str, dataflow: str, was: str, name: str) -> str | None:
    """Return a step's new id; None where it is not the destination's."""
    found = re.fullmatch(
        rf"{re.escape(dataflow)}\.(?:(deliver|sample)_{re.escape(was)}|(limit)_{re.escape(was)}(_[0-9]+))(\..*)?", step
    )
    if found is None:
        return None
    return f"{dataflow}.{found[1] or found[2]}_{name}{found[3] or ''}{found[4] or ''}"


def damage_of(paths: Sequence[Path]) -> str:
    """Return in words what it means that these files of a store can't be read."""
    names = json.dumps([str(path) for path in paths])
    return (
        f"{names} can't be read, as a power cut may leave a file: positions and ledgers are in the databases beside it "
        "and stay; limits whose order has changed since begin anew"
    )
