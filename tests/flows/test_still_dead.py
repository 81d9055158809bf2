"""The figure of letters that are still dead, in a directory."""

from __future__ import annotations

from pathlib import Path

from flows.still_dead import InDirectory
from tests.flows.redrive_support import letter, redrive, to_elastic, write_flow, write_letters
from tests.flows.test_redrive import refuse
from tests.servers.elastic import FakeElastic


def test_zero_after_a_full_redrive(elastic: FakeElastic, tmp_path: Path) -> None:
    """What was sent isn't dead any more, what has failed again is; other destinations' letters don't count."""
    directory = tmp_path / "dead"
    counter = InDirectory(directory, "out")
    assert counter.count() == 0
    flow = write_flow(tmp_path, to_elastic(elastic.url))
    write_letters(directory, [letter(number) for number in range(20)])
    write_letters(directory, [letter(number) for number in range(3)], destination="other")
    assert counter.count() == 20
    write_letters(directory, [letter(number) for number in range(20, 30)], partition=1)
    write_letters(directory, [letter(30)])
    assert counter.count() == InDirectory(directory, "out").count() == 31
    redrive(flow, "--json", "--limit", "10")
    assert counter.count() == 21
    elastic.item_fault = refuse("r17")
    redrive(flow, "--json")
    assert counter.count() == 1
    elastic.item_fault = None
    redrive(flow, "--json")
    assert counter.count() == 0
