"""Time as something passed in: the server's clock is steady, a test's clock is set by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, final


class Clock(Protocol):
    """Anything that tells a time that never goes backwards."""

    def now_us(self) -> int:
        """Microseconds since an arbitrary origin."""
        ...


@final
class MonotonicClock:
    """The machine's steady clock; the same origin in every process of one host."""

    def now_us(self) -> int:
        """Microseconds of ``CLOCK_MONOTONIC``."""
        return time.monotonic_ns() // 1_000


@final
class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now_us: int = 0) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        """The time last set."""
        return self._now_us

    def advance(self, duration_us: int) -> None:
        """Move forward by ``duration_us >= 0``."""
        if duration_us < 0:
            raise ValueError(f"duration_us (={duration_us}) must be >= 0: a steady clock never goes back.")
        self._now_us += duration_us


WAITS = Path("/proc/self/schedstat")
"""What Linux counts of this process's first thread, in nanoseconds: how long it ran, how long it waited to run."""


def waited_seconds(path: Path = WAITS) -> float:
    """How long this process was ready to run while the processors did other work; 0 where the system does not say."""
    try:
        return int(path.read_bytes().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


@final
class SolvingClock:
    """Seconds that count as solving: all but those in which this process compiled kernels or waited for a processor.

    Time limits and ``solve_seconds`` are by this clock. So the first run on a machine finds the same plan as the
    second, and a busy machine finds the plan that it would find alone, only later. While threads or child processes
    work for the first thread, that one sleeps, and the clock runs on. ``now`` and ``waited`` are for tests.
    """

    def __init__(
        self,
        now: Callable[[], float] = time.perf_counter,
        waited: Callable[[], float] = waited_seconds,
    ) -> None:
        self._now = now
        self._waited = waited
        self._began, self._waited_before = now(), waited()
        self._excluded_s = 0.0
        self._stopped_at: float | None = None

    def seconds(self) -> float:
        """Seconds since an arbitrary origin; they stand still while the clock is stopped."""
        now = self._now() - self._waited() if self._stopped_at is None else self._stopped_at
        return now - self._excluded_s

    def excluded_seconds(self) -> float:
        """How long the clock was stopped in all."""
        return self._excluded_s

    def stop(self) -> None:
        """What follows does not count."""
        self._stopped_at = self._now() - self._waited()

    def go_on(self) -> None:
        """What follows counts again."""
        if self._stopped_at is not None:
            self._excluded_s += self._now() - self._waited() - self._stopped_at
            self._stopped_at = None

    def pace(self) -> float:
        """Seconds by the wall for each second that this process was not kept waiting, so far: at least 1."""
        passed = self._now() - self._began
        ran = passed - (self._waited() - self._waited_before)
        return max(passed / ran, 1.0) if ran > 0.0 else 1.0


SOLVING = SolvingClock()


def solving_seconds() -> float:
    """Seconds of :data:`SOLVING`, the clock of this process."""
    return SOLVING.seconds()
