"""Servers that tests ask for by name. The real ones are started once a run, the stand-in once a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from tests.interop import table
from tests.servers.elastic import FakeElastic
from tests.servers.kafka import Kafka
from tests.servers.maven import ServersUnavailable
from tests.servers.opensearch import OpenSearch
from tests.servers.process import JavaServer
from tests.sinks.conformance import matrix
from tests.sinks.conformance.faults import Outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what this process has seen of the fault matrix to the one that prints, if that is another."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = [(*cell, *map(str, outcome)) for cell, outcome in matrix.SEEN.items()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a process has seen of the fault matrix."""
    for name, fault, word, detail in getattr(node, "workeroutput", {}).get("faults", ()):
        matrix.SEEN[name, fault] = Outcome(word, detail)


# How many examples a property gets. None has a deadline: how long one takes depends on what else the machine does.
settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile("proof", max_examples=1000, deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the profile, unless the command line does."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("quick")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the fault matrix and the table of servers, as far as this run has filled them."""
    if table.ROWS:
        terminalreporter.section("interoperation")
        for line in table.lines():
            terminalreporter.write_line(line)
    if matrix.SEEN:
        terminalreporter.section("fault matrix")
        for line in matrix.terminal():
            terminalreporter.write_line(line)


def start(server: JavaServer) -> None:
    """Start a server, for a short life; where there is none, what needs it is skipped."""
    server.brief = True
    try:
        server.start()
    except ServersUnavailable as error:
        # In CI it is a failure, or these tests would stop running unnoticed.
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka() -> Iterator[Kafka]:
    """A real broker. Tests share it, so each has topics and groups of its own, and none stops it."""
    server = Kafka()
    try:
        start(server)
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def opensearch() -> Iterator[OpenSearch]:
    """A real OpenSearch node. Tests share it, so each has indexes of its own, and none stops it.

    It turns away what goes beyond 6 MB in requests at a time, which is more than four senders have under way.
    """
    server = OpenSearch({"indexing_pressure.memory.limit": "6mb"})
    try:
        start(server)
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of moto, which stands in for Amazon. Tests share it, so what each makes has names of its own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@pytest.fixture
def elastic() -> Iterator[FakeElastic]:
    """A new stand-in for Elasticsearch."""
    with FakeElastic() as server:
        yield server
