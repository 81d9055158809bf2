"""Dead letters in a directory, sent again: by the command, to a strict stand-in or to a file."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from flows.dead_letter_files import LetterFiles
from flows.dead_letters import Place, Wanted
from logweir.events import Events
from sinks.deadletter import DirectoryDeadLetters
from tests.flowing import Running
from tests.flows.redrive_support import (
    REFUSED,
    Redriving,
    dead,
    letter,
    record,
    redrive,
    to_elastic,
    write_flow,
    write_letters,
)
from tests.servers.elastic import FakeElastic, Fault


def ids(elastic: FakeElastic) -> set[str]:
    """Return the ids of the documents, after a look for improper requests."""
    assert elastic.violations == []
    return {identity for _, identity in elastic.docs}


def has(elastic: FakeElastic, count: int) -> bool:
    """Tell whether the stand-in has so many documents."""
    return len(elastic.docs) >= count


def refuse(*chosen: str) -> Any:
    """Return what makes the stand-in refuse these ids."""
    error = {"type": "mapper_parsing_exception", "reason": "the second reason"}
    return lambda identity, _doc: (400, error) if identity in chosen else None


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """Return the directory of the dead letters."""
    return tmp_path / "dead"


def test_as_a_user_would(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """What a flow has dead-lettered arrives once the destination is mended, under the ids that it always had."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    lines = [record(number) for number in range(20)] + [b'{"message":"without an id"}', b"no record"]
    source = tmp_path / "in.ndjson"
    source.write_bytes(b"\n".join(lines) + b"\n")
    error = {"type": "mapper_parsing_exception", "reason": "planted"}
    elastic.item_fault = lambda _identity, doc: (400, error) if b"r1" in doc or b"without" in doc else None
    with Running(flow) as running:
        running.process.wait(60)
    place = sum(map(len, lines[:20])) + 20
    (nameless,) = [each for each in dead(letters) if "without an id" in each["record"]]
    assert (nameless["offset"], len(dead(letters))) == (place, 13)

    said = redrive(flow, "--dry-run")
    assert said.code == 0
    assert said.out == f"out: 13 dead letters would be sent\n              12  {REFUSED}\n               1  not JSON\n"
    elastic.item_fault = None
    said = redrive(flow)
    assert said.code == 1
    assert said.out == (
        "out: 13 dead letters read\n              12  delivered\n               1  no record, put back: not JSON\n"
    )
    own = f"{nameless['topic']}-{nameless['partition']}-{place}"
    assert ids(elastic) == {f"r{number}" for number in range(20)} | {own}
    (left,) = dead(letters)
    assert (left["record"], left["cause"], left["attempts"]) == ("no record", "not JSON", 0)


def test_those_that_fail_again(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """Exactly what is refused again is dead afterwards, with the new reason and all attempts; and so once more."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    write_letters(letters, [letter(number, attempts=3) for number in range(150)])
    write_letters(letters, [letter(number) for number in range(150, 200)], partition=1)
    elastic.item_fault = refuse("r7", "r170")
    for attempts in (1, 2):
        said = redrive(flow, "--json")
        assert said.code == 1
        report = said.report
        assert report["failed"] == {REFUSED: 2}
        assert report["delivered"] == (198 if attempts == 1 else 0)
        assert sum(each["records"] for each in said.told("stream.failed")) == 2
        left = {orjson.loads(each["record"])["id"]: each for each in dead(letters)}
        # Where nothing else was taken, the engine tries one more than once before it gives it up.
        tried = {name: each["attempts"] for name, each in left.items()}
        assert tried.keys() == {"r7", "r170"}
        assert tried["r7"] >= 3 + attempts
        assert tried["r170"] >= 1 + attempts
        assert len(dead(letters)) == 2
        assert all(each["reason"].endswith("the second reason") for each in left.values())
        assert (left["r170"]["topic"], left["r170"]["partition"], left["r170"]["offset"]) == ("logs", 170 % 3, 170)
    assert len(ids(elastic)) == 198
    elastic.item_fault = None
    assert redrive(flow).code == 0
    assert len(ids(elastic)) == 200
    assert not list(letters.glob("*.*json"))
    assert sorted(elastic.creates.values())[:198] == [1] * 198


def test_nothing_is_dead(elastic: FakeElastic, tmp_path: Path) -> None:
    """Without a directory, and with an empty one, there is nothing to do, and nothing is made."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    for dry in ("--dry-run", "--json"):
        assert redrive(flow, dry).code == 0
    assert not (tmp_path / "dead").exists()
    (tmp_path / "dead").mkdir()
    assert redrive(flow).out == "out: 0 dead letters read\n               0  delivered\n"


def test_killed_again_and_again(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """A redrive that is killed goes on: each record is there once, none is missing, and those refused are dead."""
    flow = write_flow(tmp_path, to_elastic(elastic.url, concurrency=1), max_in_flight="10KB")
    write_letters(letters, [letter(number) for number in range(1000)])
    write_letters(letters, [letter(number) for number in range(1000, 1500)], partition=2)
    refused = [f"r{number}" for number in range(0, 1500, 100)]
    elastic.item_fault = refuse(*refused)
    elastic.fault = Fault(delay=0.05)
    positions = []
    for kill in range(3):
        goal = 250 * (kill + 1)
        with Redriving(flow, folder=tmp_path) as running:
            running.until(partial(has, elastic, goal), "some are delivered")
            running.kill()
        memory = letters / "out.redrive.json"
        positions.append(memory.read_bytes() if memory.exists() else b"")
    assert len(set(positions)) > 1
    elastic.fault = None
    said = redrive(flow, "--json")
    assert said.code == 1
    assert said.report["read"] < 1500
    assert ids(elastic) == {f"r{number}" for number in range(1500)} - set(refused)
    assert {orjson.loads(each["record"])["id"] for each in dead(letters)} == set(refused)


def test_killed_while_it_writes_a_file(tmp_path: Path, letters: Path) -> None:
    """A file as the destination has each record once, however often the redrive is killed."""
    flow = write_flow(tmp_path, {"type": "file", "path": str(tmp_path / "out.ndjson")})
    write_letters(letters, [letter(number) for number in range(60_000)])
    out = tmp_path / "out-9999.ndjson"
    for goal in (0, 2_000_000):

        def written(goal: int = goal) -> bool:
            return out.exists() and out.stat().st_size > goal

        with Redriving(flow, folder=tmp_path) as running:
            running.until(written, "some are written")
            running.kill()
    assert redrive(flow).code == 0
    found = Counter(orjson.loads(line)["id"] for line in out.read_bytes().splitlines())
    assert found == Counter(f"r{number}" for number in range(60_000))
    assert dead(letters) == []


def test_a_flow_that_resumes_takes_nothing_back(tmp_path: Path, letters: Path) -> None:
    """What was redriven to a file stays when the flow cuts its own file back to the last recorded size."""
    out = tmp_path / "out.ndjson"
    flow = write_flow(tmp_path, {"type": "file", "path": str(out)})
    (tmp_path / "in.ndjson").write_bytes(record(1) + b"\n")
    write_letters(letters, [letter(2)])
    for _ in range(2):
        with Running(flow) as running:
            running.process.wait(60)
        assert redrive(flow).code == 0
    assert out.read_bytes() == record(1) + b"\n"
    assert (tmp_path / "out-9999.ndjson").read_bytes() == record(2) + b"\n"


def test_lines_that_are_no_letters(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """A torn line and lines edited by hand are told with file and line, and stay; the letters around them arrive."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    path = write_letters(letters, [letter(1), letter(2)])
    whole = path.read_bytes()
    bad = [b'{"half":', b"[1]", whole.splitlines()[0].replace(b'"offset":1', b'"offset":"1"'), b"by hand"]
    path.write_bytes(whole + b"\n" + b"\n".join(bad[:3]) + b"\n" + whole.replace(b"r1", b"r3") + bad[3])
    for read in (4, 0):
        said = redrive(flow, "--json")
        assert (said.code, said.report["unreadable"], said.report["delivered"]) == (1, 4, read)
        told = {each["place"].rpartition(":")[2]: each["reason"] for each in said.told("redrive.unreadable")}
        assert all(each["place"].startswith(f"{path}:") for each in said.told("redrive.unreadable"))
        assert list(told) == (["4", "5", "6", "9"] if read else ["1", "2", "3", "4"])
        reasons = list(told.values())
        assert "not JSON" in reasons[0]
        assert reasons[1:3] == [
            "not an object; it is left where it is",
            "`offset` is missing or no whole number; it is left where it is",
        ]
        assert "no end" in reasons[3]
        assert path.read_bytes() == b"\n".join(bad)
    assert ids(elastic) == {"r1", "r2", "r3"}
    # The flow's next letter isn't glued to the torn line.
    write_letters(letters, [letter(4)])
    assert redrive(flow, "--json").report["delivered"] == 1
    assert path.read_bytes() == b"\n".join(bad) + b"\n"


def test_some_causes_alone(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """With --cause the letters of other causes stay dead, and are there for the next redrive."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    causes = ("too large", "retries exhausted", REFUSED)
    write_letters(letters, [letter(number, cause=causes[number % 3]) for number in range(90)])
    said = redrive(flow, "--cause", "too large", "--cause", "never heard of", "--json")
    assert (said.code, said.report["delivered"]) == (0, 30)
    assert said.report["other_causes"] == {"retries exhausted": 30, REFUSED: 30}
    assert Counter(each["cause"] for each in dead(letters)) == {"retries exhausted": 30, REFUSED: 30}
    # Stopped half way through one cause, all others must come whole, and the rest of the one.
    assert redrive(flow, "--cause", REFUSED, "--limit", "10", "--json").report["delivered"] == 10
    assert redrive(flow, "--dry-run", "--json").report["waiting"] == {"retries exhausted": 30, REFUSED: 20}
    assert redrive(flow, "--limit", "5").code == 0
    assert redrive(flow).code == 0
    assert len(ids(elastic)) == 90
    assert set(elastic.creates.values()) == {1}
    assert dead(letters) == []


def test_a_limit(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """With --limit so many are sent, and the next redrive goes on behind them."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    write_letters(letters, [letter(number) for number in range(25)])
    for sent in (10, 20, 25):
        said = redrive(flow, "--limit", "10")
        assert said.code == 0
        assert ("The limit is reached" in said.out) == (sent < 25)
        assert len(ids(elastic)) == sent
    assert set(elastic.creates.values()) == {1}


def test_a_dry_run_changes_nothing(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """--dry-run counts by cause, sends nothing and leaves every file as it is."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    path = write_letters(letters, [letter(number) for number in range(5)] + [letter(6, cause="too large")])
    before = path.read_bytes()
    said = redrive(flow, "--dry-run", "--json", "--cause", REFUSED)
    assert (said.code, said.report["waiting"], said.report["other_causes"]) == (0, {REFUSED: 5}, {"too large": 1})
    assert elastic.requests == 0
    assert path.read_bytes() == before
    assert list(letters.iterdir()) == [path]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_destination_that_holds(elastic: FakeElastic, tmp_path: Path, letters: Path, number: int) -> None:
    """With a refused credential it waits and says what to mend; a stop leaves every letter where it was."""
    flow = write_flow(tmp_path, to_elastic(elastic.url, api_key="planted-secret"), stop_timeout="1s")
    path = write_letters(letters, [letter(number) for number in range(100)])
    before = path.read_bytes()
    elastic.authorization = "ApiKey other"
    with Redriving(flow, folder=tmp_path) as running:
        running.until(lambda: elastic.statuses[401] > 2 and running.told("stream.health"), "it is held")
        second = redrive(flow, "--json")
        assert second.code == 1
        assert "another redrive of these dead letters is at work" in second.text
        said = running.stop(number)
    assert said.code == 1
    assert "check api_key" in said.told("stream.health")[0]["issue"]
    assert "planted-secret" not in str(said)
    assert (said.report["in_flight"], said.report["delivered"], said.report["stopped"]) == (100, 0, True)
    assert path.read_bytes() == before
    elastic.authorization = None
    said = redrive(flow, "--json")
    assert (said.code, said.report["delivered"]) == (0, 100)
    assert len(ids(elastic)) == 100


def test_a_stop_settles_what_is_in_flight(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """After SIGTERM nothing more is read, what is on its way is settled, and the next redrive goes on behind it."""
    flow = write_flow(tmp_path, to_elastic(elastic.url, concurrency=1), max_in_flight="10KB")
    write_letters(letters, [letter(number) for number in range(3000)])
    elastic.fault = Fault(delay=0.05)
    with Redriving(flow, folder=tmp_path) as running:
        running.until(lambda: len(elastic.docs) > 500, "some are delivered")
        said = running.stop(signal.SIGTERM)
    report = said.report
    assert (said.code, report["stopped"], report["in_flight"]) == (1, True, 0)
    assert report["delivered"] == len(elastic.docs) < 3000
    elastic.fault = None
    assert redrive(flow).code == 0
    assert len(ids(elastic)) == 3000
    assert set(elastic.creates.values()) == {1}


def test_beside_a_running_flow(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """While a flow goes on to write letters, redrives lose none of them, and none is torn."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    stopping = threading.Event()
    written = 0

    def write_always() -> None:
        nonlocal written
        out = DirectoryDeadLetters(letters, "out", 0)
        while not stopping.wait(0.001):
            out.write([letter(written), letter(written + 1)])
            written += 2
            if written % 50 == 0:
                out.flush()
        out.close()

    write_letters(letters, [letter(number) for number in range(100_000, 100_100)])
    writer = threading.Thread(target=write_always)
    writer.start()
    try:
        reports = [redrive(flow, "--json").report for _ in range(4)]
    finally:
        stopping.set()
        writer.join()
    reports.append(redrive(flow, "--json").report)
    assert sum(report["delivered"] for report in reports) == written + 100
    assert {report["unreadable"] for report in reports} == {0}
    assert len(ids(elastic)) == written + 100
    assert set(elastic.creates.values()) == {1}
    assert dead(letters) == []


def test_what_was_no_record(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """Once the source's format is mended, what was no record is one; the rules are asked, as they never were."""
    rules = [{"name": "No noise", "type": "regex", "action": "exclude", "field": "message", "pattern": "noise"}]
    written = [letter(0)]
    for number, text in enumerate((b"plain text", b"noise", b"\xff"), start=1):
        cause = "not UTF-8" if text == b"\xff" else "not JSON"
        written.append(letter(number, value=text, cause=cause, reason="once", attempts=0))
    # Refused by the destination, so it had passed the rules, and a line of text had become a record.
    wrapped = b'{"message":"noise that passed an older rule","timestamp":"2026-11-01T10:00:00.000Z"}'
    written.append(letter(9, value=wrapped))
    write_letters(letters, written)
    source = {"type": "file", "path": str(tmp_path / "in"), "format": "text"}
    flow = write_flow(tmp_path, to_elastic(elastic.url), source=source, rules=rules)
    said = redrive(flow, "--json")
    assert said.report["dropped"] == {"No noise": 1}
    assert said.report["not_records"] == {"not UTF-8": 1}
    documents = {identity: orjson.loads(doc) for (_, identity), doc in elastic.docs.items()}
    assert {identity: each["message"] for identity, each in documents.items()} == {
        "r0": "number 0",
        "logs-1-1": "plain text",
        "logs-0-9": "noise that passed an older rule",
    }
    (left,) = dead(letters)
    assert (left["record_base64"], left["reason"], left["attempts"]) == ("/w==", "once", 0)


def test_letters_of_others_are_left(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """A file that two destinations share by their names, or two flows, is only rid of this one's letters."""
    source = {"type": "kafka", "brokers": ["127.0.0.1:9"], "topics": ["logs"]}
    directory = {"directory": str(letters)}
    flow = write_flow(tmp_path, to_elastic(elastic.url), source=source, dead_letter=directory)
    write_letters(letters, [letter(1), letter(2, topic="other")], partition=1)
    write_letters(letters, [letter(3)], destination="out-1")
    said = redrive(flow, "--json")
    assert (said.code, said.report["delivered"], said.report["other_flows"]) == (0, 1, 1)
    assert ids(elastic) == {"r1"}
    assert [(each["destination"], each["offset"]) for each in dead(letters)] == [("out", 2), ("out-1", 3)]


def test_a_file_that_was_edited(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """When what was redriven of a file can't be told any more, all of it is sent again, and that is said."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    path = write_letters(letters, [letter(number) for number in range(30)])
    assert redrive(flow, "--limit", "10").code == 0
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[3:]))
    said = redrive(flow, "--json")
    assert said.told("redrive.changed")[0]["path"] == str(path)
    assert (said.report["delivered"], said.report["duplicates"]) == (27, 7)
    assert len(ids(elastic)) == 30


def test_a_crash_after_a_file_was_written_anew(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """When a redrive dies between writing a file anew and remembering that, what is left in it is still sent."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    causes = (REFUSED, "too large")
    path = write_letters(letters, [letter(number, cause=causes[number % 2]) for number in range(40)])
    files = LetterFiles(letters, Wanted("out", causes=frozenset({REFUSED})), Events())
    while files.read(500) is not None:
        pass
    files.record({"of": "the destination"})
    assert files._rewrite(files._files[0])
    files.close()
    assert len(path.read_bytes().splitlines()) == 20
    assert redrive(flow).code == 0
    assert ids(elastic) == {f"r{number}" for number in range(1, 40, 2)}


def test_a_position_that_cannot_be_read(elastic: FakeElastic, tmp_path: Path, letters: Path) -> None:
    """A damaged position is named with the remedy, and nothing is sent."""
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    write_letters(letters, [letter(1)])
    (letters / "out.redrive.json").write_text("{")
    said = redrive(flow)
    assert said.code == 1
    assert "out.redrive.json: can't be read" in said.text
    assert elastic.requests == 0


@pytest.mark.parametrize("arguments", [["--to", "ouf"], [], ["--to", "out", "--limit", "0"]])
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    """A destination that there isn't, or none, or a limit of zero is refused with exit code 2."""
    from click.testing import CliRunner

    from flows.cli import main

    flow = write_flow(tmp_path, {"type": "console"})
    result = CliRunner().invoke(main, ["redrive", str(flow), *arguments])
    assert result.exit_code == 2
    assert ("--to" if arguments[-1:] != ["0"] else "--limit") in result.stderr


def test_a_file_in_the_place_of_another(tmp_path: Path, letters: Path) -> None:
    """A flow's writer goes on in the file that is at its path, when a redrive or another program has put a new one."""
    out = DirectoryDeadLetters(letters, "out", 0)
    out.write([letter(1)])
    path = letters / "out.ndjson"
    path.rename(letters / "out.ndjson.1")
    out.write([letter(2)])
    path.unlink()
    out.write([letter(3)])
    out.close()
    assert [orjson.loads(line)["offset"] for line in path.read_bytes().splitlines()] == [3]


def test_what_is_read_is_bounded(letters: Path) -> None:
    """However large the letters are, a reading gives about a megabyte at once."""
    write_letters(letters, [letter(number, value=record(number, text="x" * 300_000)) for number in range(20)])
    files = LetterFiles(letters, Wanted("out"), Events())
    sizes = []
    while (reads := files.read(500)) is not None:
        sizes.append(len(reads))
    files.close()
    assert sum(sizes) == 20
    assert max(sizes) <= 4


def test_places() -> None:
    """A redrive of one cause moves on for it alone; one of all takes everybody along."""
    place = Place()
    some = Wanted("out", causes=frozenset({"a", "b"}))
    place.advance(100, {"a"})
    assert (place.start(some), place.start(Wanted("out")), place.end) == (0, 0, 100)
    assert place.is_settled("a", 99)
    assert not place.is_settled("a", 100)
    assert not place.is_settled("b", 0)
    place.advance(50, ())
    assert (place.start(some), place.causes) == (50, {"a": 100})
    place.advance(200, ())
    assert (place.start(some), place.causes, place.end) == (200, {}, 200)
