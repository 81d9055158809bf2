"""Which files a path names, and what is said where it names none."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.sources.base import SourcePartition
from flows.sources.file import File, FileSource
from flows.sources.file_paths import alternatives, find_files, followed_files, unlistable, why_none
from flows.sources.file_watch import WATCH
from logweir.errors import NothingToReadError
from tests.flowing import COMMAND
from tests.flows.sources.context import Flow, drain, values


def put(path: Path, *ids: str) -> Path:
    """Write a file with these records, and what is above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'{{"id":"{each}"}}\n' for each in ids))
    return path


def opened(path: str, flow: Flow, **more: object) -> FileSource:
    """Return the source of a path."""
    return File.model_validate({"type": "file", "path": path, **more}).open(flow.context)


_OPEN: list[SourcePartition] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close what a test has opened."""
    yield
    while _OPEN:
        _OPEN.pop().close()


def parts(source: FileSource) -> dict[str, SourcePartition]:
    """Return the partitions of a source."""
    found = {name: source.build_part("s", name, None) for name in source.list_parts()}
    _OPEN.extend(found.values())
    return found


def everything(path: str) -> list[bytes]:
    """Return what a source reads once."""
    return [value for part in parts(opened(path, Flow())).values() for value in values(drain(part)[0])]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.log", ["a.log"]),
        ("a.{log,json}", ["a.log", "a.json"]),
        ("{a,b}/{c,d}", ["a/c", "a/d", "b/c", "b/d"]),
        ("{a,{b,c}}x", ["ax", "bx", "cx"]),
        ("a.{log}", ["a.{log}"]),
        ("{{a,b}}", ["{a}", "{b}"]),
        ("a{,.gz}", ["a", "a.gz"]),
        ("[{]a,b}", ["[{]a,b}"]),
        ("{a", ["{a"]),
        ("a}b,c{", ["a}b,c{"]),
        ("[]{]{a,b}", ["[]{]a", "[]{]b"]),
    ],
)
def test_braces(pattern: str, expected: list[str]) -> None:
    """Braces with commas are alternatives as in a shell; others, and those in brackets, are themselves."""
    assert sorted(alternatives(pattern)) == sorted(expected)


def test_braces_have_a_bound() -> None:
    """A path whose braces multiply is a finding, not a flow that never begins."""
    with pytest.raises(ValidationError, match="more than 256 paths"):
        File.model_validate({"type": "file", "path": "{a,b}" * 40})


@pytest.mark.parametrize("name", ["app[1]/x.log", "a*b.log", "x.{log,json}", "what?.log", "[ab]/{c}/[!d].log"])
@pytest.mark.parametrize("follow", [False, True])
def test_a_file_of_exactly_that_name(tmp_path: Path, name: str, follow: bool) -> None:
    """What looks like a pattern is the file's name where there is such a file, also when others would match."""
    path = put(tmp_path / name, "exact")
    for decoy in ("app1/x.log", "aXb.log", "x.log", "x.json", "whats.log", "a/{c}/e.log"):
        put(tmp_path / decoy, "decoy")
    source = opened(str(path), Flow(), follow=follow)
    assert source.list_parts() == [str(path)]
    assert values(drain(parts(source)[str(path)])[0]) == [b'{"id":"exact"}']


def test_a_name_with_brackets_through_a_rotation(tmp_path: Path) -> None:
    """Between a rename and a create it is the same name, not a pattern."""
    path = put(tmp_path / "app[1].log", "1")
    path.rename(tmp_path / "app[1].log.1")
    put(tmp_path / "app1.log", "other")
    assert opened(str(path), Flow(), follow=True).list_parts() == [str(path)]


def test_brackets_in_a_directory_and_a_pattern(tmp_path: Path) -> None:
    """A bracket is written as a set, and alternatives may each be exact."""
    put(tmp_path / "app[1]" / "x.log", "1")
    put(tmp_path / "app[1]" / "y.json", "2")
    assert everything(f"{tmp_path}/app[[]1]/*.{{log,json}}") == [b'{"id":"1"}', b'{"id":"2"}']
    assert everything(f"{tmp_path}/app[1]/{{x.log,y.json}}") == [b'{"id":"1"}', b'{"id":"2"}']


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leading ~ is the home directory; where none is known that is a finding."""
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path / "x.log", "1")
    assert everything("~/x.log") == [b'{"id":"1"}']
    with pytest.raises(ValidationError, match="no home directory is known for ~nobody-of-that-name"):
        File.model_validate({"type": "file", "path": "~nobody-of-that-name/x.log"})


def test_one_file_by_several_names(tmp_path: Path) -> None:
    """A file that a pattern reaches by symbolic links, hard links or a circle of directories is read once."""
    file = put(tmp_path / "service-a.log", "1")
    (tmp_path / "latest.log").symlink_to(file.name)
    os.link(file, tmp_path / "second-name.log")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "loop.log").symlink_to("loop.log")
    (tmp_path / "gone.log").symlink_to("nowhere.log")
    assert find_files(f"{tmp_path}/*.log") == [file]
    assert find_files(f"{tmp_path}/**/*.log") == [file]
    assert followed_files(f"{tmp_path}/*.log") == [file]
    known = [tmp_path / "second-name.log"]
    assert followed_files(f"{tmp_path}/*.log", known) == known


def test_a_live_name_that_is_a_link(tmp_path: Path) -> None:
    """Loggers that link the live name to a dated file are read under the live name, and each file once."""
    put(tmp_path / "app-2026-11-29.log", "1")
    put(tmp_path / "app-2026-11-30.log", "2")
    (tmp_path / "app.log").symlink_to("app-2026-11-30.log")
    assert followed_files(f"{tmp_path}/*.log") == [tmp_path / "app.log"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("none.log", "no file matches .*none.log; set `follow: true`"),
        ("app[1]/x.log", r"write \[\[\] for a bracket"),
        ("nowhere/*.log", "nowhere: No such file or directory"),
        ("directory", r"directory is a directory; write a pattern such as .*directory/\*.log"),
        ("pipe", "pipe is no regular file"),
    ],
)
def test_nothing_to_read(tmp_path: Path, path: str, words: str) -> None:
    """Without `follow` that is an error of its own, in words that tell what to write."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NothingToReadError, match=words):
        opened(str(tmp_path / path), Flow())


def test_waiting_is_told(tmp_path: Path) -> None:
    """A followed pattern that matches nothing says that it waits, once as an event and as an issue until it ends."""
    flow = Flow()
    source = opened(f"{tmp_path}/app[1]/x.log", flow, follow=True)
    watch = parts(source)[WATCH]
    drain(watch)
    drain(watch)
    assert [told["event"] for told in flow.told] == ["source.missing"]
    assert source.issues() == [flow.told[0]["reason"]]
    assert "is waited for" in source.issues()[0]
    put(tmp_path / "app[1]" / "x.log", "1")
    drain(watch)
    assert flow.restarts


def test_directories_that_cannot_be_listed(tmp_path: Path) -> None:
    """They are named. A link in a circle is one for every user."""
    put(tmp_path / "a" / "x.log", "1")
    (tmp_path / "b").symlink_to("b")
    assert unlistable(f"{tmp_path}/*/x.log") == []
    assert unlistable(f"{tmp_path}/b/*.log") == [f"{tmp_path}/b: Too many levels of symbolic links"]
    assert "Too many levels" in why_none(f"{tmp_path}/b/*.log")
    flow = Flow()
    source = opened(f"{tmp_path}/{{a,b}}/*.log", flow, follow=True)
    drain(parts(source)[WATCH])
    assert [told["event"] for told in flow.told] == ["source.error"]
    assert "Too many levels of symbolic links" in source.issues()[0]


def test_a_pipe_holds_up_nothing(tmp_path: Path) -> None:
    """A pipe that nobody writes to is told, and never waited for in an open."""
    path = tmp_path / "pipe.log"
    os.mkfifo(path)
    flow = Flow()
    source = opened(str(path), flow, follow=True)
    done = threading.Event()

    def look() -> None:
        drain(parts(source)[str(path)])
        done.set()

    threading.Thread(target=look, daemon=True).start()
    assert done.wait(30)
    assert "use `type: stdin`" in source.issues()[0]
    assert [told["event"] for told in flow.told] == ["source.error"]


@pytest.mark.parametrize("path", ["app[1]/none.log", "./*.{nothing,none}"])
def test_a_run_that_has_nothing_to_read_ends(tmp_path: Path, path: str) -> None:
    """The run ends with exit code 1 and says why, instead of trying again for ever."""
    flow = tmp_path / "flow.yaml"
    flow.write_text(
        f"name: t\nsource: {{type: file, path: '{path}'}}\n"
        "destinations: {out: {type: console, style: json}}\nstatus: {listen: '127.0.0.1:0'}\n"
    )
    done = subprocess.run([*COMMAND, "run", str(flow)], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [each["event"] for each in events if each["event"].startswith("flow.")] == ["flow.failed"]
    assert "no file matches" in done.stderr


def test_a_flow_reads_what_is_named_exactly(tmp_path: Path) -> None:
    """A whole run delivers the file in the directory with brackets, and an issue names the one that can't be read."""
    put(tmp_path / "app[1]" / "x.log", "1")
    flow = tmp_path / "flow.yaml"
    flow.write_text(
        "name: t\nsource: {type: file, path: './app[1]/x.log'}\n"
        "destinations: {out: {type: console, style: json}}\nstatus: {listen: '127.0.0.1:0'}\n"
    )
    done = subprocess.run([*COMMAND, "run", str(flow)], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "1"


def test_a_run_that_leaves_a_file_out_says_so(tmp_path: Path) -> None:
    """What can be read is delivered, and the exit code is 1, whoever looks only at that."""
    put(tmp_path / "a.log", "1")
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b'{"id":"2"}\n' * 5000)[:-20])
    flow = tmp_path / "flow.yaml"
    flow.write_text(
        "name: t\nsource: {type: file, path: './*.{log,log.gz}'}\n"
        "destinations: {out: {type: console, style: json}}\nstatus: {listen: '127.0.0.1:0'}\n"
    )
    done = subprocess.run([*COMMAND, "run", str(flow)], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert '{"id":"1"}' in done.stdout.splitlines()
    assert '"event":"source.gap"' in done.stderr
