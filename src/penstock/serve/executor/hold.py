"""Waiting until a moment: a worker that emulates a device is busy for exactly the table's time."""

from __future__ import annotations

import time

from penstock.clock import Clock


def hold_until(clock: Clock, moment_us: int) -> None:
    """Return no earlier than ``moment_us``: the deadline is absolute, and checked again on each wake."""
    while (remaining_us := moment_us - clock.now_us()) > 0:
        time.sleep(remaining_us * 1e-6)
