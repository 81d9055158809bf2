"""What to do next in a partition: looked up in a list of files, nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import pytest

from flows.compaction.files import Partition, TableFile, in_order, partition_of
from flows.compaction.plan import Check, Drop, Finding, Rewrite, Step, next_step

DAY = date(2026, 1, 1)
PARTITION = Partition("7d", DAY)
EXPIRY = datetime(2026, 1, 9, tzinfo=UTC)
TARGET = 1000
DURING = datetime(2026, 1, 1, 12, tzinfo=UTC)
SETTLED, MISPLACED, HELD = Finding.SETTLED, Finding.MISPLACED, Finding.HELD


def file(name: str, size: int = 10, written: datetime = DURING, first: str = "") -> TableFile:
    """Return a file."""
    return TableFile(name, size, written.timestamp(), 1, first or name)


def several(count: int, size: int = 10, name: str = "f") -> list[TableFile]:
    """Return files of one size."""
    return [file(f"{name}{number:03}", size) for number in range(count)]


def step(
    files: list[TableFile], known: dict[str, Finding] | None = None, now: datetime = DURING, **more: bool
) -> Step | None:
    """Return the next step; every file is settled unless something else is known."""
    known = {each.path: SETTLED for each in files} if known is None else known
    return next_step(PARTITION, files, known, now, TARGET, **more)


def paths(files: Iterable[TableFile]) -> list[str]:
    """Return their paths."""
    return [each.path for each in files]


class TestExpiry:
    def test_the_moment(self) -> None:
        """A partition is dropped whole from the moment on when its last record may expire, and not before."""
        files = [file("a", TARGET), file("b", TARGET)]
        assert step(files, now=EXPIRY - timedelta(microseconds=1)) is None
        assert step(files, now=EXPIRY) == Drop(tuple(files))

    def test_nothing_is_written_for_it(self) -> None:
        """What expires is not merged before."""
        assert isinstance(step(several(50), now=EXPIRY), Drop)

    def test_never(self) -> None:
        """What is kept for ever stays."""
        forever = Partition("forever", DAY)
        assert next_step(forever, [file("a")], {"a": SETTLED}, datetime(9000, 1, 1, tzinfo=UTC), TARGET) is None

    def test_policies_are_asked_before(self) -> None:
        """A record expires only once the policies of today were asked: they may keep it longer."""
        a, b = file("a"), file("b")
        assert step([a, b], {"a": SETTLED}, EXPIRY) == Check((b,))
        assert step([a, b], {"a": SETTLED, "b": MISPLACED}, EXPIRY) == Rewrite((b,), frozenset("b"))
        assert step([a, b], {"a": SETTLED, "b": SETTLED}, EXPIRY) == Drop((a, b))

    def test_holds(self) -> None:
        """Where something may be held, files are rewritten without what isn't, once."""
        a, b = file("a"), file("b")
        assert step([a, b], now=EXPIRY, held=True) == Rewrite((a, b), frozenset())
        assert step([a, b], {"a": HELD, "b": SETTLED}, EXPIRY, held=True) == Rewrite((b,), frozenset())
        assert step([a], {"a": HELD}, EXPIRY, held=True) is None
        assert step([a], {"a": HELD}, EXPIRY, held=False) == Drop((a,))

    def test_classes_of_others(self) -> None:
        """What isn't a class of logweir is none of its business."""
        assert partition_of("7d", DAY) == PARTITION
        for odd in ("52w", "7 days", "", "0d", None):
            assert partition_of(odd, DAY) is None
        assert partition_of("7d", None) is None


class TestMerging:
    def test_a_day_that_is_written(self) -> None:
        """While a day is written, files of about one size are merged once there are eight of them."""
        assert step(several(7)) is None
        found = step(several(8))
        assert found == Rewrite(tuple(several(8)), frozenset())
        assert step(several(7) + several(7, 60, "g")) is None

    def test_a_finished_day(self) -> None:
        """A partition that nothing was added to for an hour has all of its small files merged."""
        later = DURING + timedelta(hours=1)
        assert step(several(2), now=later) == Rewrite(tuple(several(2)), frozenset())
        assert step(several(1), now=later) is None

    def test_the_target(self) -> None:
        """Merged files have about the target's size, and those that have it are left alone."""
        later = DURING + timedelta(hours=1)
        found = step(several(300), now=later)
        assert isinstance(found, Rewrite)
        assert paths(found.files) == paths(several(100))
        assert step(several(3, TARGET // 2), now=later) is None

    @pytest.mark.parametrize("count", [1, 7, 8, 9, 100, 1000])
    @pytest.mark.parametrize("quiet", [True, False])
    def test_it_ends(self, count: int, quiet: bool) -> None:
        """Merging comes to an end, few files are left, and each record was rewritten a few times."""
        now = DURING + timedelta(hours=1) if quiet else DURING
        files, rewritten = several(count), 0
        while (found := step(files, now=now)) is not None:
            assert isinstance(found, Rewrite)
            rewritten += sum(each.size for each in found.files)
            gone = {each.path for each in found.files}
            files = [each for each in files if each.path not in gone]
            files.append(file(min(gone), sum(each.size for each in found.files)))
        total = sum(each.size for each in files)
        assert total == count * 10
        assert rewritten <= 3 * total
        assert len(files) <= (2 * total / TARGET + 1 if quiet else 2 * total / TARGET + 21)

    def test_in_time(self) -> None:
        """Files are merged with those beside them in time, so that a merged file covers a short span."""
        files = [file(str(number), 100, first=f"2026-01-01T{number * 7 % 24:02}") for number in range(20)]
        found = step(files, now=DURING + timedelta(hours=1))
        assert isinstance(found, Rewrite)
        assert list(found.files) == in_order(files)[:10]

    def test_what_is_merged_is_checked_on_the_way(self) -> None:
        """Files that are merged are not read before, only to look whether their records are where they belong."""
        files = several(8)
        assert step(files, {}) == Rewrite(tuple(files), frozenset(paths(files)))
        alone = file("z", TARGET)
        assert step([*files, alone], {}) == Check((alone,))

    def test_not_asked_for(self) -> None:
        """Without merging files are only checked."""
        files = several(8)
        assert step(files, {}, merge=False) == Check(tuple(files))
        assert step(files, merge=False) is None


def test_what_moves_is_rewritten_in_pieces() -> None:
    """When policies have changed, files are rewritten as many at once as make up one of the target's size."""
    files = several(10, TARGET // 2)
    found = step(files, {each.path: MISPLACED for each in files})
    assert found == Rewrite(tuple(files[:2]), frozenset(paths(files[:2])))
