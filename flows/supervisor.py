"""The supervisor: one dataflow for each destination, as processes of their own, restarted when they crash.

It reads no record itself. SIGTERM and SIGINT are passed on, so that every worker ends its sources, delivers what is in
flight and records its epoch; a second signal ends at once, and what was not recorded is sent again at the next start.
A changed flow file, or SIGHUP, brings other settings into force (flows/reload.py).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from flows.archiving import ARCHIVE
from flows.assigning import assign, groups, planned
from flows.cluster import Cluster
from flows.compaction.cluster import Compaction, wanted
from flows.config import Flow, LoadedFlow
from flows.counters import RunCounters
from flows.display import Display
from flows.drop_shares import DropShares, as_fields
from flows.flow_file import FlowFile
from flows.reload import Reload
from logweir.bounded_writer import BoundedWriter
from logweir.errors import LogweirError
from logweir.events import Events, left_out
from logweir.ledger import Ledger

_TICK_SECONDS = 0.1
_LAST_SECONDS = 2.0
"""How long the end waits for whoever reads stderr."""


def run(loaded: LoadedFlow, *, only: Sequence[str] | None = None, workers: int = 1, file: Path | None = None) -> int:
    """Run a flow until its sources end or it is stopped; return the exit code.

    Args:
        loaded: The flow.
        only: The destinations to deliver to; all enabled ones when None.
        workers: Processes for each dataflow.
        file: Where the flow stands, to be read again when it changes; None when it never does.
    """
    return Supervisor(loaded, only, workers, None if file is None else FlowFile(file)).run()


class Supervisor:
    """Starts the dataflows, restarts them, brings changed settings to them, stops them.

    Args:
        loaded: The flow.
        only: The destinations to deliver to; all enabled ones when None.
        workers: Processes for each dataflow.
        file: Where the flow stands.
    """

    def __init__(self, loaded: LoadedFlow, only: Sequence[str] | None, workers: int, file: FlowFile | None) -> None:
        self._only = only
        self._worker_count = workers
        self._stderr = BoundedWriter(sys.stderr, left_out)
        self._display = Display(loaded.flow, self._stderr)
        self._events = Events(self._stderr)
        self._reload = Reload(loaded, file, only, self._tell)
        self._name = loaded.flow.name
        self._started = time.time()
        self._clusters = self._first_clusters()
        self._leaving: list[Cluster] = []
        """Those of destinations that are not in the flow any more."""
        self._compaction: Compaction | None = self._compact(loaded.flow)
        self._shares = DropShares()
        self._counters = RunCounters()
        self._counters.of(self.report())
        self._signals = 0
        self._asked = False
        self._served = loaded.flow.status
        self._end_server: Callable[[], None] = lambda: None
        self._terminal = sys.stderr.isatty()
        """Whether somebody watches: when they close the terminal, the flow stops."""

    def run(self) -> int:
        """Return 0 once everything ended well, 1 when something did not."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, self._on_hangup)
        for cluster in self._clusters:
            cluster.start()
        if self._compaction is not None:
            self._compaction.start()
        self._serve()
        while self._tend():
            self._look()
            report = self.report()
            self._tell_shares(report)
            self._display.draw(report)
            time.sleep(_TICK_SECONDS)
        self._end_server()
        self._display.close(self.report())
        self._stderr.close(_LAST_SECONDS)
        return max((cluster.result for cluster in self._clusters), default=1)

    def report(self) -> dict[str, Any]:
        """Return the ledgers and figures of every destination, all workers added up."""
        return {name: each for cluster in self._clusters for name, each in cluster.report().items()}

    def status(self) -> dict[str, Any]:
        """Return the whole run's status as plain JSON."""
        from flows.status import whole

        found = whole(self._name, self.report(), self._started, self._reload.outcomes.to_dict(), self.archive())
        store = os.path.realpath(self._reload.flow.recovery.directory)
        return {**found, "recovery": store, "events_left_out": self._stderr.left_out}

    def archive(self) -> dict[str, Any] | None:
        """Return what the compaction has done, and what it has found in the archive; None where it doesn't run."""
        return None if self._compaction is None or self._compaction.is_over else self._compaction.report()

    def _first_clusters(self) -> list[Cluster]:
        """Return the dataflows. One whose recovery store can't be used is told and tried again, and stops no other.

        Raises:
            LogweirError: None has a store that can be used.
        """
        flow, clusters = self._reload.flow, []
        refused: list[LogweirError] = []
        for names in groups(flow, self._only):
            try:
                clusters.append(
                    Cluster(assign(flow, names, self._worker_count, self._tell), self._events, self._display)
                )
            except LogweirError as error:
                refused.append(error)
                clusters.append(Cluster(planned(flow, names, self._worker_count), self._events, self._display))
                clusters[-1].want(flow, names)
        if refused and len(refused) == len(clusters):
            raise refused[0]
        return clusters

    def _compact(self, flow: Flow) -> Compaction | None:
        if not wanted(flow) or ARCHIVE not in (self._only or [ARCHIVE]):
            return None
        return Compaction(flow, self._worker_count, self._tell, self._display.environment)

    def _tend(self) -> bool:
        """Look after every dataflow, also after those behind one that runs."""
        now = time.monotonic()
        if self._signals:
            # Those that began, or were wanted again, just as the signal came.
            for cluster in [*self._clusters, *self._leaving]:
                if not cluster.is_stopping:
                    cluster.stop(at_once=False)
        running = any([cluster.tend(now) for cluster in self._clusters])  # noqa: C419
        for cluster in [each for each in self._leaving if not each.tend(now)]:
            self._leaving.remove(cluster)
            for name, each in cluster.report().items():
                ledger = each["ledger"]
                self._tell(
                    "stream.removed",
                    "info",
                    stream=name,
                    read=ledger.read,
                    delivered=ledger.delivered,
                    in_flight=ledger.in_flight,
                )
        if self._compaction is not None:
            if not running and not self._leaving:
                # There is nothing left that would add to the archive.
                self._compaction.stop()
            running = self._compaction.tend(now) or running
        return running or bool(self._leaving)

    def _look(self) -> None:
        """Bring a changed flow file into force."""
        if self._signals:
            return
        asked, self._asked = self._asked, False
        now = time.monotonic()
        before = self._reload.flow
        if self._reload.look(now, asked=asked):
            after = self._reload.flow
            stayed = {name: rule_names(before, name) & rule_names(after, name) for name in after.outlets}
            self._shares.changed(_ledgers(self.report()), stayed)
            self._adopt()
        if not self._leaving and all(cluster.is_current for cluster in self._clusters) and self._reload.arrived(now):
            self._shares.arrived(now, _ledgers(self.report()))

    def _tell_shares(self, report: dict[str, Any]) -> None:
        """Tell once after a reload by how much the shares moved that rules drop."""
        for name, moved in self._shares.observe(time.monotonic(), _ledgers(report)).items():
            if moved:
                severity = "warn" if any(each.surprises for each in moved.values()) else "info"
                self._tell("config.effect", severity, stream=name, **as_fields(moved))

    def _adopt(self) -> None:
        """Let every dataflow run by the flow that was read last; those of destinations come and go with them."""
        flow = self._reload.flow
        present = {cluster.key: cluster for cluster in self._clusters}
        leaving = {cluster.key: cluster for cluster in self._leaving}
        self._clusters = []
        for names in groups(flow, self._only):
            key = names[0] if flow.isolation == "destination" else ""
            cluster = present.pop(key, None) or leaving.pop(key, None)
            if cluster is None:
                cluster = Cluster(planned(flow, names, self._worker_count), self._events, self._display)
                cluster.want(flow, names)
                cluster.start()
            else:
                cluster.want(flow, names)
            self._clusters.append(cluster)
        for cluster in present.values():
            cluster.stop(at_once=False)
        self._leaving = [*leaving.values(), *present.values()]
        self._adopt_compaction(flow)
        if flow.status != self._served:
            self._served = flow.status
            self._serve()

    def _adopt_compaction(self, flow: Flow) -> None:
        if self._compaction is None:
            self._compaction = self._compact(flow)
            if self._compaction is not None:
                self._compaction.start()
        elif wanted(flow):
            self._compaction.want(flow)
        else:
            self._compaction.stop()

    def _serve(self) -> None:
        """Serve the status where the settings say, and nowhere else any more."""
        # Imported once the workers are on their way, so that it doesn't delay the first record.
        from flows.metrics import registry_of
        from flows.server import serve

        self._end_server()
        registry = registry_of(lambda: self._counters.of(self.report()), self._reload.outcomes.to_dict, self.archive)
        self._end_server = serve(self._served, self.status, registry, self._events)

    def _tell(self, event: str, severity: str, **fields: Any) -> None:
        with self._display.aside():
            self._events.tell(event, severity, **fields)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._signals += 1
        for cluster in [*self._clusters, *self._leaving]:
            cluster.stop(at_once=self._signals > 1)
        if self._compaction is not None:
            self._compaction.stop(at_once=self._signals > 1)

    def _on_hangup(self, number: int, frame: FrameType | None) -> None:
        if self._terminal and not sys.stderr.isatty():
            # The terminal is closed, which is no wish to reload; there is nobody left to tell anything.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
            self._on_signal(number, frame)
        else:
            self._asked = True


def _ledgers(report: dict[str, Any]) -> dict[str, Ledger]:
    return {name: each["ledger"] for name, each in report.items()}


def rule_names(flow: Flow, name: str) -> set[str]:
    """Return the names of the rules that a destination's records meet; none of one that the flow doesn't have."""
    if name not in flow.outlets:
        return set()
    return {rule.name for rule in (*flow.shared_rules(name), *flow.own_rules(name)) if rule.enabled}
