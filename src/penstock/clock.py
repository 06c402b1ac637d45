"""Time as something passed in: the server's clock is steady, a test's clock is set by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
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


@final
class SolvingClock:
    """Seconds that count as solving: all but those in which this process compiled kernels.

    Time limits and ``solve_seconds`` are by this clock, so that the first run on a machine finds the same plan as the
    second. ``now`` is for tests.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._excluded_s = 0.0
        self._stopped_at: float | None = None

    def seconds(self) -> float:
        """Seconds since an arbitrary origin; they stand still while the clock is stopped."""
        now = self._now() if self._stopped_at is None else self._stopped_at
        return now - self._excluded_s

    def excluded_seconds(self) -> float:
        """How long the clock has stood still in all."""
        return self._excluded_s

    def stop(self) -> None:
        """What follows does not count."""
        self._stopped_at = self._now()

    def go_on(self) -> None:
        """What follows counts again."""
        if self._stopped_at is not None:
            self._excluded_s += self._now() - self._stopped_at
            self._stopped_at = None


SOLVING = SolvingClock()


def solving_seconds() -> float:
    """Seconds of :data:`SOLVING`, the clock of this process."""
    return SOLVING.seconds()
