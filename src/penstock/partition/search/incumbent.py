"""The best partition found so far. Every search uses it as its limit and improves it."""

from __future__ import annotations

import numpy as np

from penstock.arrays import I64
from penstock.partition.incidence import Incidence
from penstock.partition.problem import PartitionProblem, bottleneck
from penstock.partition.search.slicing import ROUNDING, best_slicing


class Incumbent:
    """Starts with everything in one block. ``block`` (n,) int64. ``found_by`` names the search that found it."""

    def __init__(self, problem: PartitionProblem, graph: Incidence, k: int) -> None:
        self.problem, self.graph, self.k = problem, graph, k
        self.block: I64 = np.zeros(problem.n_operators, np.int64)
        self.value = bottleneck(problem, self.block, k)
        self.found_by = "one block"

    def offer(self, block: I64, found_by: str) -> bool:
        """Keep ``block`` if it is better. Return whether it was."""
        value = bottleneck(self.problem, block, self.k)
        if value >= self.value * (1 - ROUNDING):
            return False
        self.block, self.value, self.found_by = block.copy(), value, found_by
        return True

    def offer_order(self, order: I64, found_by: str) -> bool:
        """Keep the best slicing of ``order`` if it is better. Return whether it was."""
        sliced = best_slicing(self.graph, order, self.k, below=self.value * (1 - ROUNDING))
        return sliced is not None and self.offer(sliced.blocks(order), found_by)
