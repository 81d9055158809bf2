"""The recovery store of a dataflow: Bytewax's SQLite files, and what is remembered beside them.

Bytewax records a state at the end of each epoch in which its key had something, and resumes from the last state before
the epoch that the whole cluster has finished last. It leaves in place what a crashed run has recorded of later epochs.
The next run counts the same epochs again: a key that has nothing in one of them would get the crashed run's state for
it, which is ahead of the position. So that is thrown away before a run begins.
"""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import sqlite3
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

from logweir.errors import LogweirError
from logweir.ledger import Ledger
from logweir.private import PRIVATE, private
from sinks.durable import sync

PARTITIONS = 4
"""SQLite files of a recovery store; Bytewax fixes their number when a store is made."""

ALL = "all"
"""The name of a store that all destinations of a flow share."""

BESIDE = ("partitions.json", "limiters.json")
"""What is remembered beside the databases."""

_BUSY_SECONDS = 15.0
_DELIVER = ".deliver_"
"""What stands before a destination's name in the id of the step that delivers to it."""


_of_engine: list[bool] = []
"""Has something while the engine of this process has a store open."""


@contextmanager
def left_to_engine() -> Iterator[None]:
    """Let nobody else in this process open a store inside the block.

    SQLite's locks are the process's: a second library that closes the file takes the first one's locks away, and then
    its log, so that a crash loses what was recorded ("How To Corrupt An SQLite Database File", section 2.2.1).
    """
    _of_engine.append(True)
    try:
        yield
    finally:
        _of_engine.pop()


def make(store: Path) -> None:
    """Make a store, unless there is one. One that was not made to its end, and so has recorded nothing, is made anew.

    Raises:
        OSError: It can't be made.
        LogweirError: There is one, and it is damaged, or another user can change it.
    """
    for directory in (store, store.parent):
        _refuse_others(directory)
    files = _files(store)
    sound = [path for path in files if _is_sound(path)]
    if files and len(sound) < max([PARTITIONS, *map(_count, sound[:1])]):
        if any(map(_has_recorded, sound)) or any(path.stat().st_size for path in files if path not in sound):
            _refuse(store, sorted({path.name for path in files} - {path.name for path in sound}))
        for path in store.glob("*.sqlite3*"):
            path.unlink()
        files = []
    if not files:
        from bytewax.recovery import init_db_dir

        store.parent.parent.mkdir(parents=True, exist_ok=True)
        for directory in (store.parent, store):
            directory.mkdir(0o700, exist_ok=True)
        init_db_dir(store, PARTITIONS)
        for path in _files(store):
            sync(path)
        sync(store)
    for path in _files(store):
        # Made by the engine; its journals beside them get the rights of the files.
        path.chmod(PRIVATE)
        sync(store.parent)


def _refuse_others(directory: Path) -> None:
    """Refuse a directory that another user owns or could write to: what lies there decides what a flow does.

    One of this user's is closed to the others, who could read in it what is known of the records.
    """
    try:
        found = directory.stat()
    except FileNotFoundError:
        return
    user, msg = os.geteuid(), ""
    if found.st_uid not in (user, 0):
        msg = f"{directory} belongs to user {found.st_uid}, not to user {user}: make it this user's, or set another"
    elif found.st_mode & stat.S_IWOTH:
        msg = f"every user can write to {directory}: look at who has, then take that away (chmod o-w), or set another"
    if msg:
        msg = f"recovery.directory {msg}"
        raise LogweirError(msg)
    if found.st_uid == user and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        directory.chmod(0o700)


def _is_sound(path: Path) -> bool:
    """Tell whether a file of a store has its tables."""
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as database:
            for table in ("parts", "exs", "fronts", "commits", "snaps"):
                database.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()  # noqa: S608  a name of its own
            return bool(database.execute("SELECT count(*) FROM parts").fetchone() == (1,))
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise OSError(errno.EBUSY, str(error), str(path)) from error
        return False


def _has_recorded(path: Path) -> bool:
    with _open(path) as database:
        found = database.execute("SELECT EXISTS (SELECT 1 FROM exs), EXISTS (SELECT 1 FROM snaps)").fetchone()
        return any(found)


def _count(path: Path) -> int:
    """Return of how many files a store consists, by what one of them says."""
    with _open(path) as database:
        return int(database.execute("SELECT part_count FROM parts").fetchone()[0])


def _refuse(store: Path, names: Sequence[str], reason: str = "") -> NoReturn:
    """Raise in words that a store is damaged."""
    which = f"{', '.join(names)} can't be read" if names else "a file of it is missing"
    said = f" ({reason})" if reason else ""
    msg = (
        f"recovery.directory {store}: {which}{said}, as a full disk or a power cut may leave it; positions and ledgers "
        "were recorded there. Put a copy of the whole directory in its place, or move it away to begin anew: a "
        "Kafka source then goes on from its group's committed offsets, another from its beginning"
    )
    raise LogweirError(msg)


def forget_unfinished(store: Path) -> int:
    """Throw away what was recorded of epochs that were never finished; return how many states that were.

    No run may use the store meanwhile.
    """
    files = _files(store)
    resume = _resume_epoch(files)
    if resume is None:
        return 0
    forgotten = 0
    for path in files:
        with _open(path) as database, database:
            forgotten += database.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (resume,)).rowcount
    return forgotten


def recorded_keys(store: Path, step: str) -> set[str]:
    """Return the keys of a step of which a state is recorded."""
    keys: set[str] = set()
    for path in _files(store):
        with _open(path) as database:
            keys.update(key for (key,) in database.execute("SELECT state_key FROM snaps WHERE step_id = ?", (step,)))
    return keys


def forget_gone(store: Path, steps: Sequence[str], gone: Callable[[Iterable[str]], Collection[str]], most: int) -> int:
    """Throw away what was recorded of a source's partitions that are gone, but for some; return of how many.

    No run may use the store meanwhile.

    Args:
        store: The store.
        steps: The ids of the steps whose keys are such partitions.
        gone: Tells which of some partitions are gone.
        most: So many of those stay, the ones that were read last.
    """
    files = _files(store)
    chosen = f"step_id IN ({','.join('?' * len(steps))})"
    last: dict[str, int] = {}
    for path in files:
        with _open(path) as database:
            read = database.execute(f"SELECT state_key, snap_epoch FROM snaps WHERE {chosen}", steps)  # noqa: S608
            for key, epoch in read:
                last[key] = max(epoch, last.get(key, 0))
    if len(last) <= most:
        return 0
    forgotten = sorted(gone(last), key=last.__getitem__)
    del forgotten[max(0, len(forgotten) - most) :]
    for path in files:
        with _open(path) as database, database:
            delete = f"DELETE FROM snaps WHERE {chosen} AND state_key = ?"  # noqa: S608
            database.executemany(delete, [(*steps, key) for key in forgotten])
    return len(forgotten)


def ledgers(store: Path, step: str) -> dict[int, Ledger]:
    """Return the ledger of each sink partition as the next run finds it; nothing where the store is new.

    Args:
        store: The store.
        step: The id of the step that delivers to the destination.

    Raises:
        LogweirError: It is damaged.
        OSError: It can't be read now.
    """
    files = _files(store)
    resume = _resume_epoch(files) if files else None
    if resume is None:
        return {}
    found: dict[int, tuple[int, Ledger]] = {}
    query = "SELECT state_key, snap_epoch, ser_change FROM snaps WHERE step_id = ? AND snap_epoch < ?"
    for path in files:
        with _open(path) as database:
            for key, epoch, state in database.execute(query, (step, resume)):
                if state is None or epoch < found.get(int(key), (-1,))[0]:
                    continue
                found[int(key)] = epoch, _ledger(path, state)
    return {partition: ledger for partition, (_, ledger) in found.items()}


def _ledger(path: Path, state: bytes) -> Ledger:
    try:
        return Ledger.from_dict(_Plain(io.BytesIO(state)).load()["ledger"])
    except (pickle.UnpicklingError, LookupError, TypeError, ValueError, EOFError) as error:
        _refuse(path.parent, [path.name], str(error))


class _Plain(pickle.Unpickler):
    """Reads plain data, and no class: whoever may write to a store must not have code run here."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        msg = f"{module_name}.{global_name} is no plain data"
        raise pickle.UnpicklingError(msg)


def _resume_epoch(files: list[Path]) -> int | None:
    """Return the epoch that the next run begins with, as Bytewax finds it: the first that the last has not finished."""
    executions: list[tuple[int, int, int]] = []
    fronts: list[tuple[int, int, int]] = []
    for path in files:
        with _open(path) as database:
            executions += database.execute("SELECT ex_num, worker_count, resume_epoch FROM exs")
            fronts += database.execute("SELECT ex_num, worker_index, worker_frontier FROM fronts")
    if not executions:
        return None
    last, workers, begun = max(executions)
    reached = dict.fromkeys(range(workers), begun)
    for execution, worker, front in fronts:
        if execution == last:
            reached[worker] = max(front, reached.get(worker, begun))
    return min(reached.values())


def _files(store: Path) -> list[Path]:
    return sorted(store.glob("*.sqlite3"))


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file of a store.

    Raises:
        LogweirError: It is damaged.
        OSError: It can't be used now.
    """
    assert not _of_engine, f"{path}: a look at it would take away the engine's locks"
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as database:
            yield database
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            _refuse(path.parent, [path.name], str(error))
        raise OSError(errno.EIO, str(error), str(path)) from error
    except sqlite3.DatabaseError as error:
        _refuse(path.parent, [path.name], str(error))


def remember_partitions(store: Path, wanted: Mapping[str, int]) -> dict[str, int]:
    """Return the sink partitions of each destination: as many as are wanted or as there ever were."""
    path = store / "partitions.json"
    known = read_state(path)
    if known is None:
        known = _partitions_in(store)
    known.update({name: max(count, known.get(name, 0)) for name, count in wanted.items()})
    write_anew(path, known)
    return {name: known[name] for name in wanted}


def write_anew(path: Path, data: Any) -> None:
    """Write a JSON file so that whoever reads it has the old or the new one whole, also after a power cut."""
    fresh = path.with_suffix(".new")
    with open(fresh, "w", opener=private) as out:
        out.write(json.dumps(data))
    sync(fresh)
    fresh.replace(path)
    sync(path.parent)


def read_state(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file of the store holds, nothing where there is no file; None where it is damaged.

    An older version wrote such files without waiting for the disk, so a power cut may have left them empty.
    """
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text())
    except ValueError:
        return None
    return known if isinstance(known, dict) else None


def damaged(store: Path) -> list[Path]:
    """Return the files beside the databases that can't be read, but for that of the source, which tells it itself."""
    return [path for name in BESIDE if read_state(path := store / name) is None]


def _partitions_in(store: Path) -> dict[str, int]:
    """Return how many sink partitions of each destination have recorded something."""
    found: dict[str, int] = {}
    for path in _files(store):
        with _open(path) as database:
            for step, key in database.execute("SELECT DISTINCT step_id, state_key FROM snaps"):
                name = str(step).partition(_DELIVER)[2]
                if name and str(key).isdigit():
                    found[name] = max(found.get(name, 0), int(key) + 1)
    return found
