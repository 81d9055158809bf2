"""Changes of a flow file at length, with their figures: `make proof`."""

from __future__ import annotations

import signal
import statistics
import sys
from pathlib import Path

import pytest

from tests.feeding import Feed
from tests.flowing import Running, write_flow
from tests.reloading import crashing, under_load
from tests.scenarios import assert_all_there, new_name, stored_in
from tests.servers.elastic import FakeElastic, Fault
from tests.servers.kafka import Kafka

pytestmark = [pytest.mark.proof, pytest.mark.kafka]


def test_fifty_changes_lose_nothing(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """Of fifty changes forty are swapped, five take a restart and five are wrong; each record is accounted for."""
    found = under_load(kafka, elastic, tmp_path, changes=50, rate=3000)
    assert (found.swapped, found.restarted, found.refused) == (40, 5, 5)
    sys.stdout.write(
        f"\n  {found.sent:,} read = {found.delivered:,} delivered once + {sum(found.dropped.values()):,} dropped "
        f"{found.dropped}\n  {found.swapped} swapped, {found.restarted} restarted, {found.refused} refused; in force "
        f"after {statistics.median(found.seconds):.2f} s (median), {max(found.seconds):.2f} s at most\n"
    )


def test_crashes_during_changes(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """A worker that is killed while a change is on its way delays it, and loses nothing."""
    found = crashing(kafka, elastic, tmp_path, changes=10, rate=1000)
    sys.stdout.write(
        f"\n  {found.killed} killed: {found.sent:,} read, {found.delivered:,} delivered by the ledger; "
        f"{found.stored:,} are there, with those that an interrupted epoch had sent\n"
    )


def test_a_secret_that_was_rotated(kafka: Kafka, elastic: FakeElastic, tmp_path: Path) -> None:
    """A refused credential holds the stream; SIGHUP reads the file in which it stands, and all is delivered once."""
    secret = tmp_path / "secret"
    secret.write_text("old")
    with Feed(kafka, new_name("rotated")) as feed:
        search = {"url": elastic.url, "api_key": f"${{file:{secret}}}"}
        flow = write_flow(tmp_path, kafka, feed.topic, {"search": search}, stop_timeout="1s")
        elastic.fault = Fault(401)
        feed.send(500)
        with Running(flow) as running:
            running.until(lambda: any(each["issue"] for each in running.told("stream.health")), "it is refused")
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda: running.told("config.unchanged"), "nothing has changed")
            secret.write_text("new")
            elastic.fault = None
            running.process.send_signal(signal.SIGHUP)
            running.until(lambda: running.told("config.reloaded"), "it runs by the new one")
            (restarted,) = running.told("flow.restarted")
            assert restarted["reason"] == "changed: destinations.search.api_key"
            running.drain(kafka, feed.topic, f"{feed.topic}.search")
            assert running.stop() == 0
    assert_all_there(stored_in(elastic), feed)
