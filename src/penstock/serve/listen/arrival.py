"""When what is read now had arrived, if the loop is behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TURN_US = 2_000
"""The loop's own time is in milliseconds. It says more than the clock only if it is further back than this."""


def arrived_us(loop: asyncio.AbstractEventLoop, now_us: Callable[[], int]) -> int:
    """The time by ``now_us`` at which bytes that are read now were there, at the latest.

    A loop that is behind reads late what has waited in the socket. uvloop's time is that of the poll which found
    the bytes there, so that the wait for this turn of the loop counts.
    """
    now = now_us()
    polled_us = int(loop.time() * 1e6)
    return now if now - polled_us < TURN_US else polled_us + TURN_US // 2
