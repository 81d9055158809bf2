"""The time window that a destination accepts: what lies outside is counted as a cause of its own, or set aside."""

from __future__ import annotations

from datetime import datetime

from logweir.batch import Batch, Rejected
from logweir.times import rfc3339

TOO_OLD = "too old for the destination"
TOO_NEW = "too new for the destination"


class TimeWindow:
    """What a destination takes as it is: records of `past` seconds ago to `future` seconds ahead.

    Args:
        past: Seconds.
        future: Seconds.
        refuse: Whether what lies outside is set aside; else it is only counted.
    """

    def __init__(self, past: float, future: float, *, refuse: bool) -> None:
        self._past = past
        self._future = future
        self._refuse = refuse

    def screen(self, batch: Batch, now: float) -> dict[str, int]:
        """Return how many records lie outside, by cause, or move them to the account's rejected ones.

        Args:
            batch: What is about to be encoded.
            now: Epoch seconds.
        """
        if self._all_inside(batch.times, now):
            return {}
        outside: dict[int, str] = {}
        for index, time in enumerate(batch.times):
            seconds = datetime.fromisoformat(time).timestamp()
            if not now - self._past <= seconds <= now + self._future:
                outside[index] = TOO_OLD if seconds < now else TOO_NEW
        if self._refuse and outside:
            said = f"the destination takes {self._past / 3600:g} h back to {self._future / 3600:g} h ahead"
            set_aside(batch, {at: (cause, f"{batch.times[at]}: {said}") for at, cause in outside.items()})
            return {}
        causes = list(outside.values())
        return {cause: causes.count(cause) for cause in dict.fromkeys(causes)}

    def _all_inside(self, times: list[str], now: float) -> bool:
        """Tell whether all lie inside, by comparing text: times in UTC sort as they follow, to the second."""
        oldest, newest = rfc3339(now - self._past + 1), rfc3339(now + self._future - 1)
        return not times or (oldest <= min(times) and max(times) <= newest)


def set_aside(batch: Batch, reasons: dict[int, tuple[str, str]]) -> None:
    """Move records to the account's rejected ones.

    Args:
        batch: Where they are taken from.
        reasons: index -> (short fixed cause, detail).
    """
    batch.account.rejected += [
        Rejected(batch.values[index], batch.offsets[index], cause, detail) for index, (cause, detail) in reasons.items()
    ]
    batch.keep([index not in reasons for index in range(len(batch))])
