"""When a search must stop: its time is over, or the best result is near enough to the bound."""

from __future__ import annotations

from collections.abc import Callable

from penstock.clock import solving_seconds

Stop = Callable[[], bool]
"""A search calls it between steps. True ends the search."""


class Deadline:
    """A number of seconds of solving, counted from now."""

    def __init__(self, seconds: float, clock: Callable[[], float] = solving_seconds) -> None:
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
        """Whether the time is over."""
        return self._clock() >= self._end
