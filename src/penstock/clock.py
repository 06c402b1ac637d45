"""Time as something passed in: the server's clock is steady, a test's clock is set by hand."""

from __future__ import annotations

import time
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
