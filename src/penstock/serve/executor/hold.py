"""Wait until a moment, so that a worker that emulates a device is busy for exactly the time of the table."""

from __future__ import annotations

import time

from penstock.clock import Clock

SHORTEST_SLEEP_US = 30
"""A sleep takes 50 us and more, however short it is meant to be. So a rest below this is waited for awake."""


def hold_until(clock: Clock, moment_us: int) -> None:
    """Return no earlier than ``moment_us``. The clock is read again after each sleep."""
    while (remaining_us := moment_us - clock.now_us()) > 0:
        if remaining_us > SHORTEST_SLEEP_US:
            time.sleep(remaining_us * 1e-6)
