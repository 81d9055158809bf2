"""The answer to a search: records from the newest on, and with `--follow` those that come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from flows.search.newest import PAGE_BYTES, Key, Newest, Row
from flows.search.query import Query
from flows.search.table import Place, Snapshot, TableFile, added, snapshot
from logweir.errors import LogweirError

POLL_SECONDS = 1.0
"""Between two looks for new commits; the archive has one a minute, or sooner where there is much."""
_LOOK_EVERY = 60
"""Polls in vain, after which it is looked whether the log still has what is waited for."""
_ATTEMPTS = 5
"""Times in a row that a file is missing before it is an error. Each time, the table is read anew."""


class Search:
    """Asks one table.

    Args:
        store: Where the table is.
        query: What is asked for.
    """

    def __init__(self, store: Place, query: Query) -> None:
        self._store = store
        self._query = query
        self._table: Snapshot = snapshot(store)
        self.missed = 0
        """Commits whose files were gone before `follow` had read them."""

    def newest(self, limit: int) -> Iterator[Row]:
        """Give so many records at most, the newest first.

        What is compacted meanwhile is found all the same: where a file is gone, the table is read anew.

        Raises:
            Exception: Whatever pyarrow or deltalake raises where it can't read.
        """
        newest: Newest | None = None
        before: Key | None = None
        left, missing = limit, 0
        while left:
            try:
                if newest is None:
                    newest = Newest(self._table.opener, self._table.files, self._query)
                page, more = newest.page(left, before)
            except FileNotFoundError as error:
                missing += 1
                if missing == _ATTEMPTS:
                    msg = f"{self._store.place}: the table's log names a file that isn't there: {error}"
                    raise LogweirError(msg) from error
                self._table, newest = snapshot(self._store), None
                before = before and before.anywhere()
                continue
            missing = 0
            yield from page
            left -= len(page)
            if not more:
                return
            before = page[-1].key

    def follow(self, limit: int, stopped: Callable[[], bool] = lambda: False) -> Iterator[Row | None]:
        """Give the newest records, the oldest of them first, and then those of each commit as it comes.

        Args:
            limit: How many of those that are there already.
            stopped: Whether to end.

        Yields:
            Records; None where all that there is has been given, and it is waited.

        Raises:
            Exception: Whatever pyarrow or deltalake raises where it can't read.
        """
        yield from reversed(list(self.newest(limit)))
        version, polls = self._table.version, 0
        while True:
            files = added(self._table.opener, version + 1)
            if files is not None:
                version, polls = version + 1, 0
                yield from self._of_commit(files)
                continue
            yield None
            if stopped():
                return
            time.sleep(POLL_SECONDS)
            polls += 1
            if polls % _LOOK_EVERY == 0:
                self._look_behind(version)

    def _look_behind(self, version: int) -> None:
        """Make sure that it isn't waited for a commit that was there and is gone from the log."""
        latest = snapshot(self._store).version
        if latest > version and added(self._table.opener, version + 1) is None:
            msg = (
                f"commits {version + 1} to {latest} are gone from the archive's log before they were read: start again"
            )
            raise LogweirError(msg)

    def _of_commit(self, files: list[TableFile]) -> Iterator[Row]:
        """Give a commit's records, the oldest first; a very large one in parts, the newest part first."""
        held: list[Row] = []
        size = 0
        before: Key | None = None
        while True:
            try:
                page, more = Newest(self._table.opener, files, self._query).page(1 << 62, before)
            except FileNotFoundError:
                # Expired, erased or compacted long ago: this reader has been away for a while.
                self.missed += 1
                page, more = [], False
            held += page
            size += sum(len(row.raw) for row in page)
            if not more or size > PAGE_BYTES:
                yield from reversed(held)
                held, size = [], 0
            if not more:
                return
            before = page[-1].key
