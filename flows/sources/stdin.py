"""Standard input as a source: one record a line, until it ends.

A pipe can't be read again: after a crash, what the flow had read and not delivered is gone, and a restart goes on with
whatever comes next. Where that matters, let the producer write a file or Kafka.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from typing import Any, Literal

from pydantic import Field

from flows.sources.base import RecordSource, SourceContext, SourcePartition, SourceSettings
from flows.sources.lines import Lines
from logweir.batch import Batch
from logweir.units import Bytes

_CHUNK_BYTES = 256 * 1024
_QUEUED_CHUNKS = 32
"""Read ahead of the flow, 8 MiB at most; beyond that the producer waits, as it would for any reader."""


class Stdin(SourceSettings):
    """Records from standard input."""

    repeatable = False

    type: Literal["stdin"] = Field("stdin", description="Lines of standard input.")
    max_record_bytes: Bytes = Field(
        16_000_000, gt=0, description="The most bytes of a line; the beginning of a larger one goes to the dead letter."
    )

    def open(self, context: SourceContext) -> StdinSource:
        """Return the source."""
        return StdinSource(context, self.max_record_bytes)


class StdinSource(RecordSource):
    """One partition, since there is one standard input.

    Args:
        context: What it needs to know of the flow.
        limit: The most bytes of a line.
        descriptor: What to read.
    """

    def __init__(self, context: SourceContext, limit: int, descriptor: int = 0) -> None:
        self._context = context
        self._limit = limit
        self._descriptor = descriptor

    def list_parts(self) -> list[str]:
        """Return the one part."""
        return ["stdin"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> StdinPartition:  # noqa: ARG002
        """Return the one partition, which begins to read."""
        return StdinPartition(self._context, self._limit, self._descriptor, resume_state or 0)


class StdinPartition(SourcePartition):
    """Hands out what a thread has read: a read of a pipe blocks, and a partition must not.

    Args:
        context: What it needs to know of the flow.
        limit: The most bytes of a line.
        descriptor: What to read.
        count: The lines read before a restart.
    """

    def __init__(self, context: SourceContext, limit: int, descriptor: int, count: int) -> None:
        super().__init__(context)
        self.lane = context.alignment.lane("stdin")
        # The start time as partition makes topic-partition-offset unique across runs, which all begin at offset 0.
        self._lines = Lines("stdin", limit, partition=int(time.time()))
        self._count = count
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_QUEUED_CHUNKS)
        self._ended = False
        self._closed = threading.Event()
        threading.Thread(target=self._fill, args=(descriptor,), name="stdin-reader", daemon=True).start()

    def read(self, room: int) -> list[Batch]:
        """Return the lines that have arrived."""
        if self._ended:
            raise StopIteration
        batches: list[Batch] = []
        while room > 0:
            try:
                chunk = self._chunks.get_nowait()
            except queue.Empty:
                break
            self._ended = chunk is None
            batch = self._lines.end() if chunk is None else self._lines.feed(chunk)
            if batch is not None:
                batches.append(batch)
                room -= batch.account.read_bytes
                self._count += batch.account.read
            if self._ended:
                break
        return batches

    def snapshot(self) -> int:
        """Return how many lines have been read. It tells how far the flow got; there is no way back to it."""
        return self._count

    def close(self) -> None:
        """Let the reader thread end with its next chunk."""
        self._closed.set()

    def _fill(self, descriptor: int) -> None:
        """Be the reader thread: it ends at the end of the input, or of the process."""
        while not self._closed.is_set():
            try:
                chunk: Any = os.read(descriptor, _CHUNK_BYTES)
            except OSError as error:
                self.context.events.tell("source.gap", "error", source="stdin", reason=f"read standard input: {error}")
                chunk = b""
            self._put(chunk or None)
            if not chunk:
                return

    def _put(self, chunk: bytes | None) -> None:
        while not self._closed.is_set():
            try:
                self._chunks.put(chunk, timeout=1)
            except queue.Full:
                continue
            return
