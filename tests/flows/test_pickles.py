"""What a planted pickle can do: nothing, in the store, between workers, and to the process that reads it."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.pickles import KNOWN, loads
from flows.recovery_store import make
from logweir.errors import LogweirError
from tests.flowing import COMMAND, ROOT, Running


class Planted:
    """Has a command run by whoever unpickles it."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> Any:
        return os.system, (self._command,)


ATTACKS = {
    "a function": b"cos\nsystem\n(S'touch %b'\ntR.",
    "through a module of ours": b"\x80\x04\x8c\x13operators.watermark\x8c\x09os.system\x93.",
    "eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "a class of ours that opens": b"cflows.orders\nloads\n(S'1'\ntR.",
    "an attribute": b"cbuiltins\ngetattr\n(S'1'\nS'2'\ntR.",
    "a name with dots": b"\x80\x04\x8c\x08builtins\x8c\x0dset.__class__\x93.",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_else_is_known(attack: str) -> None:
    """Neither functions nor classes beyond the table, nor what they lead to."""
    with pytest.raises(pickle.UnpicklingError):
        loads(ATTACKS[attack])


def test_each_that_is_known_is_there() -> None:
    """The table names classes that are there, and that are made of values alone."""
    for module, names in KNOWN.items():
        for name in names:
            found = getattr(importlib.import_module(module), name)
            if not module.startswith(("flows.", "operators.")):
                continue
            fields = getattr(found, "_fields", None) or list(found.__dataclass_fields__)
            assert fields
            assert not {"__reduce__", "__setstate__", "__del__"} & vars(found).keys()


def test_values_come_as_they_were() -> None:
    """What is plain needs no table."""
    value = {"a": [1, 2.5, None, True, "x", b"y", (1, 2)], "b": {1, 2}, "c": Counter("aab")}
    assert loads(pickle.dumps(value)) == value


def test_a_planted_store(tmp_path: Path) -> None:
    """A state that another has put into the store ends the flow in words, and runs nothing."""
    (tmp_path / "in.ndjson").write_text('{"id":"a"}\n')
    flow = {
        "name": "planted",
        "source": {"type": "file", "path": str(tmp_path / "in.ndjson"), "follow": False},
        "destinations": {"out": {"type": "file", "path": str(tmp_path / "out.ndjson")}},
        "dead_letter": {"directory": str(tmp_path / "dead")},
        "recovery": {"directory": str(tmp_path / "recovery")},
        "status": {"listen": "127.0.0.1:0"},
    }
    path = tmp_path / "flow.yaml"
    path.write_text(json.dumps(flow))
    assert subprocess.run([*COMMAND, "run", str(path)], cwd=ROOT, check=False, timeout=60).returncode == 0
    evidence = tmp_path / "evidence"
    for file in (tmp_path / "recovery").rglob("part-*.sqlite3"):
        with closing(sqlite3.connect(file)) as database, database:
            planted = pickle.dumps(Planted(f"touch {evidence}"))
            database.execute("UPDATE snaps SET ser_change = ? WHERE ser_change IS NOT NULL", (planted,))
    told = "system is nothing that logweir sends or records"
    with Running(path) as running:
        running.until(lambda: told in str(running.events) + str(running.text), "it is told")
        running.stop()
    assert not evidence.exists()


class TestWhoseItIs:
    def test_it_is_closed_to_others(self, tmp_path: Path) -> None:
        """Whatever the umask says, and also one that an earlier version has left open."""
        store = tmp_path / "flow" / "out"
        before = os.umask(0o022)
        try:
            make(store)
        finally:
            os.umask(before)
        assert {store.stat().st_mode & 0o777, store.parent.stat().st_mode & 0o777} == {0o700}
        store.chmod(0o775)
        make(store)
        assert store.stat().st_mode & 0o777 == 0o700

    def test_one_that_all_can_write(self, tmp_path: Path) -> None:
        """What stands there may be anybody's."""
        store = tmp_path / "flow" / "out"
        make(store)
        store.parent.chmod(0o777)
        with pytest.raises(LogweirError, match="every user can write to"):
            make(store)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
    def test_one_of_another_user(self, tmp_path: Path) -> None:
        """It was made by who would have this user read what is in it."""
        store = tmp_path / "flow" / "out"
        make(store)
        os.chown(store, 12345, -1)
        with pytest.raises(LogweirError, match="belongs to user 12345"):
            make(store)
