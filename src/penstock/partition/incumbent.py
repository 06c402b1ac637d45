"""The best partition found so far, which every search reads as its limit and improves."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from penstock.partition.incidence import Incidence
from penstock.partition.problem import PartitionProblem, bottleneck
from penstock.partition.slicing import ROUNDING, best_slicing

I64 = NDArray[np.int64]


class Incumbent:
    """Starts with everything in one block. ``block`` (n,) int64; ``found_by`` names the search behind it."""

    def __init__(self, problem: PartitionProblem, graph: Incidence, k: int) -> None:
        self.problem, self.graph, self.k = problem, graph, k
        self.block: I64 = np.zeros(problem.n_operators, np.int64)
        self.value = bottleneck(problem, self.block, k)
        self.found_by = "one block"

    def offer(self, block: I64, found_by: str) -> bool:
        """Keep ``block`` if it is better; whether it was."""
        value = bottleneck(self.problem, block, self.k)
        if value >= self.value * (1 - ROUNDING):
            return False
        self.block, self.value, self.found_by = block.copy(), value, found_by
        return True

    def offer_order(self, order: I64, found_by: str) -> bool:
        """Keep the best slicing of ``order`` if it is better; whether it was."""
        sliced = best_slicing(self.graph, order, self.k, below=self.value * (1 - ROUNDING))
        return sliced is not None and self.offer(sliced.blocks(order), found_by)

    def is_within(self, bound: float, until_gap: float) -> Callable[[], bool]:
        """A question: is the best found within ``until_gap`` of ``bound``?"""
        return lambda: self.value - bound <= until_gap * self.value
