"""Wait until a moment, so that a worker that emulates a device is busy for exactly the time of the table."""

from __future__ import annotations

import time

from penstock.clock import Clock


def hold_until(clock: Clock, moment_us: int) -> None:
    """Return no earlier than ``moment_us``. The clock is read again after each sleep."""
    while (remaining_us := moment_us - clock.now_us()) > 0:
        time.sleep(remaining_us * 1e-6)
