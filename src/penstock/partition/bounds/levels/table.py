"""The table of c: what is proven about the blocks between each two levels, and how it passes to parts of levels."""

from __future__ import annotations

from math import inf

import numpy as np

from penstock.arrays import F64
from penstock.partition.bounds.levels.level import Level, LevelMaker, Members

NEW, RELAXED, SETTLED = 0, 1, 2
"""Of a pair: nothing was solved, the linear relaxation was, or its integer program proves nothing more."""

Key = tuple[int, int, int]
"""A device class, the level of the first boundary, the level of the second."""


class LevelTable:
    """``cost`` (classes, levels, levels): c of each pair. ``state``: the same shape.

    ``blocks``: what is before the two boundaries of a cheap block that is known for a pair.
    """

    def __init__(self, maker: LevelMaker, levels: list[Level], works: F64) -> None:
        """``works`` (classes, n) in the unit of the costs."""
        self._maker, self.levels = maker, levels
        shape = (len(works), len(levels), len(levels))
        self.cost, self.state = np.zeros(shape), np.full(shape, NEW, np.int8)
        self.blocks: dict[Key, tuple[Members, Members]] = {}
        self._least = _least_share(works, maker.measure)
        self._raise_by_work()

    def prove(self, key: Key, bound: float) -> None:
        """Note a lower bound on the blocks of a pair."""
        self.cost[key] = max(self.cost[key], bound)

    def _raise_by_work(self) -> None:
        """A block costs at least its work, none goes backwards, and paths need none that stays in its level."""
        low, high = (np.array([level.window[end] for level in self.levels]) for end in (0, 1))
        between = np.maximum(low[None, :] - high[:, None], 0.0)
        np.maximum(self.cost, self._least[:, None, None] * between, out=self.cost)
        self.cost[:, high[None, :] < low[:, None]] = inf
        self.cost[:, np.arange(len(low)), np.arange(len(low))] = inf

    def replace(self, parts: dict[int, list[Level]]) -> None:
        """Put ``parts`` in the place of the levels with those numbers. Pairs of parts inherit what is proven.

        A block that is known passes to the pair of parts that holds it. The other pairs are new.
        """
        children: list[list[int]] = []
        levels: list[Level] = []
        for index, level in enumerate(self.levels):
            own = parts.get(index, [level])
            children.append(list(range(len(levels), len(levels) + len(own))))
            levels += own
        # That paths need no step within a level says nothing about the steps between its parts.
        self.cost[:, np.arange(len(children)), np.arange(len(children))] = 0.0
        parent = np.repeat(np.arange(len(self.levels)), [len(each) for each in children])
        take = np.ix_(np.arange(len(self.cost)), parent, parent)
        self.cost, self.state = self.cost[take], self.state[take]
        fresh = np.isin(parent, list(parts))
        self.state[:, fresh[:, None] | fresh[None, :]] = NEW
        self.levels = levels
        self._pass_on(children, parts)
        self._raise_by_work()

    def _pass_on(self, children: list[list[int]], parts: dict[int, list[Level]]) -> None:
        blocks = self.blocks
        self.blocks = {}
        for (device, one, two), block in blocks.items():
            firsts, seconds = (
                self._holding(children[index], index in parts, before)
                for index, before in zip((one, two), block, strict=True)
            )
            for key in ((device, first, second) for first in firsts for second in seconds):
                self.blocks[key] = block
                self.state[key] = SETTLED

    def _holding(self, children: list[int], were_made: bool, before: Members) -> list[int]:
        if not were_made:
            return children
        return [index for index in children if self.levels[index].holds(before, self._maker.measure)]


def _least_share(works: F64, measure: F64) -> F64:
    """The least time of each class for a unit of the measure, (classes,)."""
    has = measure > 0
    return np.array([float((work[has] / measure[has]).min()) if has.any() else 0.0 for work in works])
