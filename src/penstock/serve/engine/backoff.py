"""How long to wait before a process that died is started again, and which are due."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator
from itertools import count
from typing import Generic, TypeVar, final

from penstock.units import NEVER_US, US_PER_S

T = TypeVar("T")

RESTART_US = 100_000
"""The first wait. It doubles with every start that fails."""
LONGEST_RESTART_US = 5 * US_PER_S
"""A process that dies again and again is started ever more slowly, but it is never given up."""
STABLE_US = 10 * US_PER_S
"""A process that was up so long starts again with the first wait. One that comes up and dies at once is a storm too."""


@final
class RestartDelays:
    """The waits of every process, by any key."""

    def __init__(self) -> None:
        self._failures: dict[Hashable, int] = {}

    def next_us(self, key: Hashable, was_up_us: int = 0) -> int:
        """The wait after one more failure of ``key``, which was up for ``was_up_us`` before."""
        failures = 0 if was_up_us >= STABLE_US else self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(RESTART_US << min(failures, 10), LONGEST_RESTART_US)


@final
class Restarts(Generic[T]):
    """What is to be started again, by time; of what is due at the same time, the first that was noted."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._order = count()

    @property
    def next_us(self) -> int:
        """When the first is due."""
        return self._heap[0][0] if self._heap else NEVER_US

    def later(self, item: T, at_us: int) -> None:
        """Start ``item`` at this time."""
        heapq.heappush(self._heap, (at_us, next(self._order), item))

    def due(self, now_us: Callable[[], int]) -> Iterator[T]:
        """Take out what is due, until nothing is."""
        while self._heap and self._heap[0][0] <= now_us():
            yield heapq.heappop(self._heap)[2]

    def clear(self) -> None:
        """Start nothing any more."""
        self._heap.clear()
