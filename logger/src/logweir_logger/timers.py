"""Timers: how long something takes, and on request what memory and CPU."""

from __future__ import annotations

import os
import time
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, cast

from logweir_logger.levels import ERROR, WARN

if TYPE_CHECKING:
    from logweir_logger.kinds import Kinds

F = TypeVar("F", bound=Callable[..., Any])

_STATM = "/proc/self/statm"


class Timer:
    """Measures a block (`with`, `async with`) or each call of a function (as a decorator), and logs it at its end.

    What raises is logged as failed, at level error with the exception, which goes on its way.

    Not made directly: `logger.timer` does.
    """

    __slots__ = (
        "_category",
        "_cpu",
        "_cpu_started",
        "_level",
        "_logger",
        "_memory",
        "_memory_started",
        "_started",
        "duration",
        "metadata",
        "name",
    )

    def __init__(
        self,
        logger: Kinds,
        name: str,
        level: int,
        metadata: dict[str, Any] | None,
        category: str | None,
        *,
        memory: bool,
        cpu: bool,
    ) -> None:
        self._logger = logger
        self._level = level
        self._category = category
        self._memory = memory
        self._cpu = cpu
        self.name = name
        self.metadata: dict[str, Any] = metadata if metadata is not None else {}
        """What the record is to say as well; it can be added to until the end."""
        self.duration: float | None = None
        """Milliseconds, once it has ended."""
        self.start()

    def start(self) -> None:
        """Begin to measure: now."""
        self.duration = None
        self._memory_started = resident() if self._memory else None
        self._cpu_started = time.process_time() if self._cpu else 0.0
        self._started = time.perf_counter()

    def stop(self, error: BaseException | None = None) -> float:
        """End it, log it, and return the milliseconds. The second time nothing is logged."""
        if self.duration is not None:
            return self.duration
        seconds = time.perf_counter() - self._started
        self.duration = duration = round(seconds * 1000, 3)
        performance: dict[str, Any] = {"duration": duration}
        if self._memory_started is not None:
            performance["memory"] = (resident() or 0) - self._memory_started
        if self._cpu:
            used = time.process_time() - self._cpu_started
            performance["cpu"] = round(100 * used / seconds, 1) if seconds > 0 else 0.0
        level, outcome = self._level, "completed"
        if isinstance(error, Exception):
            level, outcome = max(level, ERROR), "failed"
        elif error is not None:
            # A task that is cancelled, a generator that is closed, Ctrl-C.
            level, outcome = max(level, WARN), "cancelled"
        self._logger.log_at(level, f"{self.name} {outcome}", self.metadata or None, performance, self._category, error)
        return duration

    def __enter__(self) -> Timer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(value)

    async def __aenter__(self) -> Timer:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(value)

    def __call__(self, function: F) -> F:
        """Return the function such that each call is measured; an async one until its coroutine has ended."""
        import inspect

        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            msg = f"a timer can't decorate {function.__qualname__}, a generator; use `with` inside of it"
            raise TypeError(msg)
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def measured_async(*args: Any, **kwargs: Any) -> Any:
                with self._another():
                    return await function(*args, **kwargs)

            return cast("F", measured_async)

        @wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            with self._another():
                return function(*args, **kwargs)

        return cast("F", measured)

    def _another(self) -> Timer:
        return Timer(
            self._logger,
            self.name,
            self._level,
            dict(self.metadata),
            self._category,
            memory=self._memory,
            cpu=self._cpu,
        )


def resident() -> Optional[int]:
    """Return the bytes of memory that this process occupies, None where the system doesn't tell."""
    try:
        with open(_STATM, "rb") as statm:  # noqa: PTH123  # pathlib isn't worth its import here
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
