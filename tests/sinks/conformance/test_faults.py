"""The fault matrix: every destination under every fault, and well again afterwards."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from logweir.errors import DestinationError
from tests.servers.tls import Authority
from tests.sinks.cloud_support import Engine, engine
from tests.sinks.conformance import matrix
from tests.sinks.conformance.faults import (
    ALL_REFUSED,
    FAULTS,
    ONE_REFUSED,
    POISONED,
    SILENT,
    SLOW,
    SOME_BUSY,
    TOLD_TO_WAIT,
    TOO_LARGE,
    Fault,
    Outcome,
    Word,
    read,
)
from tests.sinks.conformance.site import MANY, MORE, TOLD_SECONDS, HttpSite, Site
from tests.sinks.conformance.sites import SITES, each_site

AT_ONCE = {TOO_LARGE, TOLD_TO_WAIT, *POISONED, SOME_BUSY, SLOW}
"""Faults that are over by themselves."""
AT_A_TIME = 6
SHORT_SECONDS = 0.25
_ENOUGH = 4 * MORE
"""Requests by which every record was tried alone, and after that again."""
SOON_SECONDS = 0.02
ENDS: Word = "ends the flow"
ONCE = re.findall(
    r"^\| \[`(\w+)`\].*\| is (?:there|shown) once", (matrix.ROOT / "docs/destinations.md").read_text(), re.MULTILINE
)
"""Destinations whose page promises that a repetition is there once."""

each_fault = pytest.mark.parametrize("fault", FAULTS, ids=str)


Cells = dict[tuple[str, Fault], Future[Outcome]]


@pytest.fixture(scope="module")
def cells(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cells]:
    """The cells that were chosen: they run beside each other, since they wait more than they work; Kafka's in turn."""
    chosen = [vars(item)["callspec"].params for item in request.session.items if item.path == request.path]
    places = [(each["name"], each["fault"]) for each in chosen if "fault" in each]
    places = [(name, fault) for name, fault in places if fault not in SITES[name].absent]
    authority = Authority(tmp_path_factory.mktemp("authority"))
    found: Cells = {}
    with ThreadPoolExecutor(1) as alone, ThreadPoolExecutor(AT_A_TIME) as pool, pytest.MonkeyPatch.context() as patch:

        def submit(name: str, fault: Fault) -> None:
            site = SITES[name]
            real = request.getfixturevalue(site.needs) if site.needs else None
            folder = tmp_path_factory.mktemp("cell")
            found[name, fault] = (alone if site.needs else pool).submit(cell, site, fault, folder, real, authority)

        patch.setattr("sinks.splunk.FIRST_POLL_SECONDS", SOON_SECONDS)
        for variable in ("SSL_CERT_FILE", "AWS_CA_BUNDLE"):
            patch.setenv(variable, os.fspath(authority.path))
        # Whatever is made meanwhile has little patience, so nothing else is.
        with pytest.MonkeyPatch.context() as short:
            for module in ("sinks.http", "sinks.aws"):
                short.setattr(f"{module}.ANSWER_SECONDS", SHORT_SECONDS)
            silent = [place for place in places if place[1] is SILENT and not SITES[place[0]].needs]
            for place in silent:
                submit(*place)
            wait(found[place] for place in silent)
        # Last, since it takes a while until a real server is there. Without it the test itself skips.
        others = [place for place in places if place not in silent]
        for place in sorted(others, key=lambda place: SITES[place[0]].needs):
            with suppress(pytest.skip.Exception):
                submit(*place)
        yield found
        for executor in (alone, pool):
            executor.shutdown(cancel_futures=True)


@each_fault
@each_site
def test_cell(name: str, fault: Fault, cells: Cells, request: pytest.FixtureRequest) -> None:
    """A fault loses nothing, tells no secret, and has the outcome that the page promises."""
    site = SITES[name]
    if fault in site.absent:
        outcome = Outcome("n.a.", site.absent[fault])
    else:
        if site.needs:
            request.getfixturevalue(site.needs)
        outcome = cells[name, fault].result()
    promised = matrix.note(name, fault, outcome)
    assert not promised, (
        f"{matrix.PAGE} says `{promised}`, not `{outcome}`; `python -m tests.sinks.conformance` writes it"
    )


def cell(kind: type[Site], fault: Fault, folder: Path, real: Any, authority: Authority) -> Outcome:
    """Return what becomes of the records under a fault."""
    with kind(folder, fault, real, authority) as site:
        outcome = weathered(site, fault, folder)
        assert outcome.word == site.words.get(fault, fault.word)
    return outcome


def weathered(site: Site, fault: Fault, folder: Path) -> Outcome:
    """Deliver before, during and after a fault, and return what became of the records."""
    settings, batch = site.settings(), site.batch(fault)
    with engine(settings, folder, flush_interval=SOON_SECONDS) as run:
        site.opened(run)
        if fault is not ALL_REFUSED:
            run.deliver(site.record(0))
        before, told, arrived = run.delivery.stats.retries, len(run.told), len(site.arrivals())
        site.begin(fault)
        run.write(*batch)
        if site.words.get(fault) == ENDS:
            return _begun_again(site, fault, run, batch)
        if fault not in AT_ONCE:
            run.until(lambda: _met(site, run, fault, before))
            site.end(fault)
        run.deliver()
        assert site.met() or fault.way in {"", "refused"}
        if fault in AT_ONCE:
            site.end(fault)
        shown = run.said() + repr((settings, run.destination)) + str(settings)
    assert not [secret for secret in site.secrets() if secret in shown]
    if fault is TOLD_TO_WAIT:
        refused, again = site.arrivals()[arrived : arrived + 2]
        assert again - refused >= TOLD_SECONDS
    letters = run.letters()
    most = _whole(site, fault, [orjson.loads(letter["record"])["n"] for letter in letters])
    outcome = read(run.told[told:], [letter["cause"] for letter in letters], most)
    if site.patient and outcome.word == "delivered" and fault is not SLOW:
        return Outcome("retried")
    return outcome


def _begun_again(site: Site, fault: Fault, run: Engine, batch: list[bytes]) -> Outcome:
    """Deliver as the next start does it: what no epoch has recorded is given again."""
    with pytest.raises(DestinationError) as ended:
        run.deliver()
    site.end(fault)
    with engine(site.settings(), site.folder) as again:
        site.opened(again)
        again.deliver(*batch)
        _whole(site, fault, [])
    return Outcome(ENDS, str(ended.value))


def _whole(site: Site, fault: Fault, dead: list[int]) -> int:
    """Check that every record is there but the one at fault; return how often one is there at most."""
    found = Counter(map(site.number, site.taken()))
    refused = [3] if fault in POISONED else []
    assert dead == (list(range(1, MANY + 1)) if fault is ONE_REFUSED and site.unnamed else refused)
    expected = range(1, MORE + 1) if fault is ALL_REFUSED else range(MANY + 1)
    assert found.keys() == {*expected} - {*refused}
    assert site.violations() == []
    most = max(found.values())
    assert most == 1 or site.kind not in ONCE
    return most


def _met(site: Site, run: Engine, fault: Fault, before: int) -> Any:
    if fault is ALL_REFUSED:
        # Twenty have to be refused alone before it is known.
        return run.delivery.status()["issue"] and run.delivery.stats.requests > _ENOUGH
    if site.words.get(fault, fault.word) == "held":
        return run.delivery.status()["issue"]
    # Where the destination itself waits or repeats, the engine need not learn of it.
    enough = 1 if site.patient else 2
    return run.delivery.stats.retries >= before + enough or ((site.patient or fault in site.words) and site.met())


@pytest.mark.parametrize("name", [name for name, site in SITES.items() if issubclass(site, HttpSite)])
@pytest.mark.parametrize("status", [200, 400, 403, 500])
def test_an_answer_that_repeats_the_request(name: str, status: int, tmp_path: Path) -> None:
    """A receiver, or a proxy, that shows what it was sent brings no secret into a message."""
    kind = SITES[name]
    assert issubclass(kind, HttpSite)
    with kind(tmp_path) as site:
        settings = site.settings()
        site.echo(status)
        with engine(settings, tmp_path, flush_interval=SOON_SECONDS) as run:
            run.write(site.record(0))
            run.until(
                lambda: (
                    run.delivery.stats.requests >= 2 or run.letters() or not run.delivery.status()["in_flight_records"]
                )
            )
            found = run.destination.probe()
            assert not [secret for secret in site.secrets() if secret in run.said() + repr(found)]
