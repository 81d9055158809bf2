"""The integration tests' scenarios at length, with their figures: `make proof`."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import scenarios
from tests.examples import ENVIRONMENT, EXAMPLES, placed
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka
from tests.servers.opensearch import OpenSearch

pytestmark = [pytest.mark.proof, pytest.mark.kafka]

RECORDS = 1_000_000
FIRST_RECORD_SECONDS = 3.0
CHECK_SECONDS = 0.5


@pytest.fixture
def other() -> Iterator[FakeElastic]:
    """A second stand-in for Elasticsearch."""
    with FakeElastic() as server:
        yield server


def say(what: str) -> None:
    """Print a line of figures."""
    sys.stdout.write(f"\n  {what}")
    sys.stdout.flush()


@pytest.mark.opensearch
@pytest.mark.parametrize("rules", ["selective", "none"])
def test_a_million_records_are_accounted_for(kafka: Kafka, opensearch: OpenSearch, tmp_path: Path, rules: str) -> None:
    """A million records end in a real index, in the count of a rule or in the dead letter, none missing."""
    found = scenarios.account(kafka, opensearch, tmp_path, rules=rules, records=RECORDS, plant=1000)
    say(f"rules {rules}: {found.sent:,} read in {found.seconds:.1f} s = {found.delivered:,} delivered")
    for cause, count in [*found.dropped.items(), *found.dead.items()]:
        say(f"  + {count:,} {cause}")
    assert found.sent == found.delivered + sum(found.dropped.values()) + sum(found.dead.values())


@pytest.mark.opensearch
def test_twenty_kills_lose_nothing_in_a_real_index(kafka: Kafka, opensearch: OpenSearch, tmp_path: Path) -> None:
    """After twenty kills a real index holds every record once, and the ledger balances."""
    index = scenarios.new_name("crash")
    scenarios.make_index(opensearch, index)
    found = scenarios.crash(
        kafka,
        opensearch.url,
        index,
        tmp_path,
        progress=lambda: scenarios.sent_to(opensearch, index),
        found=lambda: scenarios.ids_in(opensearch, index),
        kills=20,
        rate=3000,
        longest=3.0,
    )
    _say_crashes(found, "a real index")


def test_twenty_kills_lose_nothing(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """After twenty kills a strict stand-in holds every record once, and the ledger balances."""
    found = scenarios.crash(
        kafka,
        elastic.url,
        "logs",
        tmp_path,
        progress=lambda: elastic.documents,
        found=lambda: scenarios.stored_in(elastic),
        kills=20,
        rate=3000,
        longest=2.0,
    )
    _say_crashes(found, "a strict stand-in")


def test_twenty_kills_of_two_workers_lose_nothing(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """A cluster of two workers survives twenty kills, of either of them or of the supervisor, as one worker does."""
    found = scenarios.crash(
        kafka,
        elastic.url,
        "logs",
        tmp_path,
        "--workers",
        "2",
        progress=lambda: elastic.documents,
        found=lambda: scenarios.stored_in(elastic),
        kills=20,
        rate=3000,
        longest=2.0,
    )
    _say_crashes(found, "two workers")


def _say_crashes(found: scenarios.Crashes, where: str) -> None:
    killed = f"{found.workers_killed} workers and {found.supervisors_killed} supervisors"
    say(f"{killed} killed in {found.seconds:.0f} s, {where}")
    say(f"{found.sent:,} read, {found.delivered:,} delivered, {found.again:,} of them sent again, 0 missing, 0 twice")


def test_twenty_stops_send_nothing_twice(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Twenty stops at random moments end with code 0, and no record is ever sent twice."""
    found = scenarios.stop_often(kafka, elastic, tmp_path, stops=20, rate=3000, longest=2.0)
    say(f"{found.stops} stops in {found.seconds:.0f} s, the slowest took {found.slowest:.2f} s")
    say(f"{found.sent:,} read and delivered, 0 sent twice")


def test_workers_come_and_go(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Two workers, then one, then two of which one is killed: the ledger holds it all, and nothing is lost."""
    for what, seconds in scenarios.scale(kafka, elastic, tmp_path, records=100_000).items():
        say(f"{what}: {seconds:.1f} s")


def test_the_group_commits_what_is_delivered(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """For half a minute the group is never ahead of what was delivered, and its offsets are enough to go on from."""
    looks = scenarios.commit(kafka, elastic, tmp_path, seconds=30, rate=3000)
    say(f"looked {looks} times: never ahead")


def test_a_flow_starts_quickly(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """From the command to the first record delivered it takes less than three seconds."""
    took = []
    for turn in range(5):
        elastic.forget()
        (directory := tmp_path / str(turn)).mkdir()
        took.append(scenarios.start_up(kafka, elastic, directory))
    say(f"first record after {statistics.median(took):.2f} s, {max(took):.2f} s at most, of {len(took)} starts")
    assert max(took) < FIRST_RECORD_SECONDS


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_check_answers_at_once(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`logweir check` answers within half a second."""
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    example = placed(example, tmp_path)
    took = sorted(scenarios.check_seconds(example) for _ in range(5))
    say(f"logweir check {example.name}: {statistics.median(took):.2f} s, {took[-1]:.2f} s at most")
    assert statistics.median(took) < CHECK_SECONDS


def test_an_outage_stays_where_it_is(kafka: Kafka, elastic: FakeElastic, other: FakeElastic, tmp_path: Path) -> None:
    """A destination keeps its pace beside one that is down for half a minute, which catches up once it is back."""
    found = scenarios.outage(kafka, elastic, other, tmp_path, seconds=30, rate=2000)
    median, most = statistics.median(found.behind), max(found.behind)
    say(f"down for 30 s at 2,000 records/s: the healthy one was {median:,.0f} records behind, {most:,} at most")
    say(f"the other had caught up {found.caught_up:.1f} s after its return; {found.sent:,} delivered to both")


def test_many_records_without_isolation(kafka: Kafka, elastic: FakeElastic, other: FakeElastic, tmp_path: Path) -> None:
    """One dataflow serves two destinations with a ledger of its own for each, also after a restart."""
    scenarios.together(kafka, elastic, other, tmp_path, records=50_000)
