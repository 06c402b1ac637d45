"""When a search must stop: time is up, or the best found is near enough to the bound."""

from __future__ import annotations

import time
from collections.abc import Callable

Stop = Callable[[], bool]
"""Asked between steps; True ends the search."""


class Deadline:
    """Seconds from now on a monotonic clock."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()
        self._end = self._start + seconds

    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def left_s(self) -> float:
        """Seconds left, never negative."""
        return max(self._end - self._clock(), 0.0)

    def part(self, share: float) -> Deadline:
        """A deadline after ``share`` of the time that is left."""
        return Deadline(self.left_s() * share, self._clock)

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._clock() >= self._end
