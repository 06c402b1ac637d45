"""A device as one number: how much jobs slow each other down.

``n`` jobs at once each run at ``1 / (1 + a (n - 1))`` of their speed alone. ``a = 0``: they do not disturb each
other. ``a = 1``: they only take turns, and copies side by side gain nothing. Measured values: 0.26 for eight
classifiers on a GV100; about 1 on an L4 or T4 (see ``docs/device.md``). On a processor with ``lanes`` cores
that each run one job, more jobs than lanes share the lanes evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from penstock.errors import BadInputError


@final
@dataclass(frozen=True)
class Interference:
    """``a`` in [0, 1] and, for a processor, the number of ``lanes``. Raises :class:`BadInputError` out of range."""

    a: float
    lanes: int | None = None

    def __post_init__(self) -> None:
        """Refuse figures that describe no device."""
        if not 0 <= self.a <= 1:
            raise BadInputError(f"a (={self.a}) must lie in [0, 1]: 0 is no interference, 1 is taking turns.")
        if self.lanes is not None and self.lanes < 1:
            raise BadInputError(f"lanes (={self.lanes}) must be >= 1, or None if jobs do not run on cores.")

    def speed(self, running: int) -> float:
        """The speed of each of ``running >= 1`` jobs, as a share of its speed alone."""
        if self.lanes is None or running <= self.lanes:
            return 1.0 / (1.0 + self.a * (running - 1))
        return self.lanes / running / (1.0 + self.a * (self.lanes - 1))

    def capacity(self, width: int) -> float:
        """Work done in a unit of time with ``width`` jobs at once; 1 is one job alone."""
        return width * self.speed(width)
