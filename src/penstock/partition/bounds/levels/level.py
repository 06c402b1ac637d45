"""A level: the boundaries whose measure is in a window, and that agree on the side of some operators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64
from penstock.kernels import compiled
from penstock.partition.bounds.levels.ancestry import Ancestry
from penstock.partition.bounds.levels.pair_arrays import OPEN

Window = tuple[float, float]
Sides = NDArray[np.int8]
Members = NDArray[np.bool_]

_ROUNDING = 1e-9
"""Windows are wider by this part of the whole measure, because sums are rounded."""


@dataclass(frozen=True)
class Level:
    """Boundaries whose measure is in ``window``. ``sides`` (n,): 1 for operators before all of them, 0 for those after
    all of them, otherwise :data:`.pair_arrays.OPEN`."""

    window: Window
    sides: Sides

    @property
    def width(self) -> float:
        """Of the window."""
        return self.window[1] - self.window[0]

    def holds(self, before: Members, measure: F64) -> bool:
        """Whether the boundary after the operators ``before`` (n,) is in this level."""
        here = float(measure @ before)
        agrees = (self.sides == OPEN) | (self.sides == before)
        return self.window[0] <= here <= self.window[1] and bool(agrees.all())


class LevelMaker:
    """Makes the levels of one graph with one measure (n,)."""

    def __init__(self, tree: Ancestry, measure: F64) -> None:
        self.tree, self.measure = tree, measure
        self.total = float(measure.sum())
        self.margin = _ROUNDING * self.total

    def nothing(self) -> Level:
        """The boundary before all operators."""
        return Level((-self.margin, self.margin), np.zeros(len(self.measure), np.int8))

    def everything(self) -> Level:
        """The boundary after all operators."""
        window = self.total - self.margin, self.total + self.margin
        return Level(window, np.ones(len(self.measure), np.int8))

    def level(self, low: float, high: float, sides: Sides | None = None) -> Level | None:
        """The boundaries whose measure is from ``low`` to ``high`` and that agree with ``sides``. None: there are none.

        If an operator and its ancestors exceed the window, the operator is after. If too little is left without it and
        its descendants, it is before. The window becomes as narrow as the sides allow.
        """
        window = low - self.margin, high + self.margin
        new = np.full(len(self.measure), OPEN, np.int8) if sides is None else sides.copy()
        after = self.tree.before > window[1]
        before = self.total - self.tree.after < window[0]
        if np.any((new == 1) & after) or np.any((new == 0) & before):
            return None
        new[after] = 0
        new[before] = 1
        least = float(self.measure[new == 1].sum())
        most = least + float(self.measure[new == OPEN].sum())
        if least > window[1] or most < window[0]:
            return None
        return Level((max(window[0], least - self.margin), min(window[1], most + self.margin)), new)

    def halves(self, level: Level, at: float) -> list[Level]:
        """The boundaries of ``level`` whose measure is at most ``at``, and those at least."""
        low, high = level.window[0] + self.margin, level.window[1] - self.margin
        found = (self.level(low, at, level.sides), self.level(at, high, level.sides))
        return [each for each in found if each is not None]

    def sides_of(self, level: Level, operator: int) -> list[Level]:
        """The boundaries of ``level`` after ``operator``, and those before it."""
        low, high = level.window[0] + self.margin, level.window[1] - self.margin
        found = []
        for side in (1, 0):
            sides = level.sides.copy()
            sides[operator] = side
            if _close(sides, self.tree.makers, self.tree.users):
                found.append(self.level(low, high, sides))
        return [each for each in found if each is not None]


@compiled
def _close(sides, makers, users):  # type: ignore[no-untyped-def]
    """Put what follows from ``sides`` into them: what needs a later operator is later. False if they contradict."""
    for edge in range(len(users)):
        if sides[makers[edge]] == 0:
            if sides[users[edge]] == 1:
                return False
            sides[users[edge]] = 0
    for edge in range(len(users) - 1, -1, -1):
        if sides[users[edge]] == 1:
            if sides[makers[edge]] == 0:
                return False
            sides[makers[edge]] = 1
    return True
