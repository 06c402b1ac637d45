"""Waiting for a GPU: asleep for most of what a run usually takes, then awake for its last part.

A thread that the driver wakes goes on 0.1 to 0.3 ms after the device is done (on one H200's host, by
``benchmarks/gpu.py``), and for so long the device has nothing to do. A thread that asks all the time loses nothing, but
takes a core. Between the two: sleep until shortly before the usual end, ask until shortly behind it, and leave the
rest to the driver. So a wait takes at most three times :data:`WATCH_S` of a core, however long the run is.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, final

WATCH_S = 250e-6
"""The thread is awake from so long before the usual end, which is what a timer may be late, to twice that behind it."""

DRIVER_S = 300e-6
"""What a thread that the driver wakes may be late: the run itself was shorter by that."""

REMEMBERED = 4
"""The usual time is the least of so many runs: sleeping too long costs more than asking too long."""


class Event(Protocol):
    """A place in a stream, as torch has it."""

    def query(self) -> bool:
        """Whether the device got there."""
        ...

    def synchronize(self) -> object:
        """Return once it did."""
        ...


@final
class Waiters:
    """How many threads of a process wait for a device."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Inside, this thread counts."""
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1

    @property
    def are_several(self) -> bool:
        """Whether somebody else waits too."""
        return self._count > 1


_OF_THIS_PROCESS = Waiters()


@final
class DeviceWait:
    """The waits for one kind of run, which all take about as long.

    As long as several threads of the process wait, they leave it to the driver: threads that ask take each other's
    turn at Python's lock, and the device has work in any case.
    """

    def __init__(
        self,
        *,
        waiters: Waiters = _OF_THIS_PROCESS,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._waiters, self._clock, self._sleep = waiters, clock, sleep
        self._took_s: deque[float] = deque(maxlen=REMEMBERED)
        self._overslept = 0

    def until(self, event: Event) -> None:
        """Return when ``event`` is reached. Raises what the driver raises for a failed run."""
        begin_s = self._clock()
        with self._waiters.one_more():
            took_s = self._waited(event, begin_s, min(self._took_s, default=0.0))
        self._took_s.append(max(took_s, 0.0))

    def _waited(self, event: Event, begin_s: float, usual_s: float) -> float:
        """How long the run took, as far as that is known."""
        if usual_s > WATCH_S and not self._waiters.are_several:
            self._sleep(usual_s - WATCH_S)
            if event.query():
                # It ended before, nobody knows when: wake up earlier next time, and soon much earlier.
                self._overslept += 1
                return usual_s - WATCH_S * float(2 ** (self._overslept - 1))
        self._overslept = 0
        while not event.query():
            if self._waiters.are_several or self._clock() - begin_s > usual_s + 2 * WATCH_S:
                event.synchronize()
                return self._clock() - begin_s - DRIVER_S
            self._sleep(0.0)  # Python's lock, and the core if somebody waits for it, go to others
        return self._clock() - begin_s
