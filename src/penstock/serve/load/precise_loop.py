"""A loop for senders: its timers are right to microseconds, with any number of connections."""

from __future__ import annotations

import asyncio
import select
import selectors
import sys

if sys.platform == "linux":

    class _PreciseSelector(selectors.EpollSelector):
        """``epoll`` counts in milliseconds and rounds up, so each request would leave half a millisecond late on
        average, and latency counts that. ``select`` counts in microseconds, but takes no descriptor above 1,023. So
        it waits for one descriptor, epoll's own, which is readable if any of the others is ready.
        """

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is None or timeout > 0:
                select.select([self.fileno()], [], [], timeout)
            return super().select(0)


def precise_loop() -> asyncio.AbstractEventLoop:
    """A new loop. Its own descriptor must be below 1,024, so make it before the connections."""
    # Elsewhere the default is kqueue, which counts in nanoseconds.
    return asyncio.SelectorEventLoop(
        _PreciseSelector() if sys.platform == "linux" else selectors.DefaultSelector()
    )
