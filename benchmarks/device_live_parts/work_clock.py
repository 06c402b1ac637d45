"""A clock that other processes cannot stretch: the CPU time of this process, with idle time skipped.

While jobs are here the clock runs as fast as this process gets its core; when none is, it jumps to the next arrival.
With one worker thread, the run is then what it would be on a core of its own, but for caches that others disturb. The
process is pinned to one core, so its CPU time never runs faster than the wall.
"""

from __future__ import annotations

import os
import time
from typing import final

from penstock.clock import MonotonicClock
from penstock.serve.scheduled.thread_driver import ThreadDriver

SHORTEST_WAIT_US = 200
"""An arrival may be late by this much: else the last microseconds before it would be spent waking up."""


@final
class WorkClock:
    """CPU time of the process since its creation, plus what was skipped."""

    name = "CPU time of the process, idle time skipped"

    def __init__(self) -> None:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        self._skipped_us = -time.process_time_ns() // 1_000

    def now_us(self) -> int:
        return time.process_time_ns() // 1_000 + self._skipped_us

    def wait_until(self, moment_us: int, driver: ThreadDriver) -> None:
        """Return when the clock shows ``moment_us``; at once if the device is idle. Only the caller submits."""
        while (left_us := moment_us - self.now_us()) > 0:
            if driver.in_flight == 0:
                self._skipped_us += left_us
            else:
                driver.wait_until_idle(max(left_us, SHORTEST_WAIT_US) / 1e6)


@final
class WallClock:
    """The steady clock, for a quiet machine."""

    name = "wall clock"

    def __init__(self) -> None:
        self._clock = MonotonicClock()
        self._start_us = self._clock.now_us()

    def now_us(self) -> int:
        return self._clock.now_us() - self._start_us

    def wait_until(self, moment_us: int, driver: ThreadDriver) -> None:
        """Sleep until then."""
        left_us = moment_us - self.now_us()
        if left_us > 0:
            time.sleep(left_us / 1e6)


CLOCKS = {"cpu": WorkClock, "wall": WallClock}
