"""The connections of the status server, bounded in number, in time and in size.

A client may send its request a byte at a time, or not read the answer. So a request has one deadline, from its first
byte to the last of its answer, and where there are as many connections as may be, a new one takes the place of the one
that has been waited for longest. A check of health sends all it has to say at once, and so is never that one.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 64
REQUEST_SECONDS = 5.0
"""From the connection, or from the first byte of a further request, to the end of its answer."""
IDLE_SECONDS = 5
"""Between two requests of one connection."""
HEADER_BYTES = 16_384


class Bounded(H11Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base has it
        """Take a connection in; the one that was waited for longest goes, if there are too many."""
        super().connection_made(transport)
        self._idle = False
        self._deadline: asyncio.TimerHandle | None = None
        self._begin()
        others = [each for each in self.connections if isinstance(each, Bounded) and each is not self]
        if len(others) >= CONNECTIONS:
            min(others, key=lambda each: each._since).abort()  # noqa: SLF001  another of this class

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request; that of a next one begins its time."""
        if self._idle:
            self._begin()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Begin the time of what comes next: the rest of the answer to be read, or another request."""
        self._begin()
        self._idle = True
        super().on_response_complete()

    def abort(self) -> None:
        """Close it at once."""
        self._end()
        self.transport.abort()

    def _begin(self) -> None:
        self._end()
        self._idle = False
        self._since = self.loop.time()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self.abort)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
