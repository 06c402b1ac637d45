"""How long the stages of a type take, learned while they run.

``length = (length + observed) / 2`` per stage, from release to the last notice of its end: an exponential average that
follows a device that slows down (Paella, SOSP 2023, section 5). A job keeps the lengths of its arrival (a
snapshot), so that its place in the order does not move while it waits. A type with a stage that was never observed is
*unknown*: its jobs get a remaining time of -1, so an order by remaining time runs and measures them first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

UNKNOWN_US = -1.0


@final
class StageTimes:
    """The lengths of one type's stages. ``learn=False`` keeps the given ones for ever."""

    def __init__(self, stages: int, known_us: Sequence[float] | None = None, *, learn: bool = True) -> None:
        self._lengths: list[float] = (
            [UNKNOWN_US] * stages if known_us is None else [float(us) for us in known_us]
        )
        self._learn = learn or known_us is None
        self._snapshot: tuple[float, ...] | None = None

    def observe(self, stage: int, observed_us: float) -> None:
        """``stage`` took ``observed_us >= 0`` from release to end."""
        if self._learn:
            before = self._lengths[stage]
            self._lengths[stage] = observed_us if before < 0 else (before + observed_us) / 2
            self._snapshot = None

    def length_us(self, stage: int) -> float:
        """The expected time of ``stage``; -1 if it was never observed."""
        return self._lengths[stage]

    def snapshot(self) -> tuple[float, ...]:
        """For every stage, the expected time of it and all later ones; all -1 if any stage is unknown."""
        if self._snapshot is None:
            self._snapshot = self._remaining()
        return self._snapshot

    def _remaining(self) -> tuple[float, ...]:
        if min(self._lengths) < 0:
            return (UNKNOWN_US,) * len(self._lengths)
        total = 0.0
        remaining = []
        for length in reversed(self._lengths):
            total += length
            remaining.append(total)
        return tuple(reversed(remaining))
