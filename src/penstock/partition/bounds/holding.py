"""The holding bound: every operator is in some block, so each operator's cheapest possible block gives a bound.

Theorem. Let h(v) be the least cost(M) over all L | M | R with L and L + M closed under predecessors and v in M. The
block of v in any partition costs at least h(v). So max h(v) is a lower bound for any k. It is strong if large
tensors surround an operator, as in the first layers of vision models. There it is better than all bounds that use the
average over blocks.
This bound is ours. :mod:`.near` computes a lower bound on h(v).
"""

from __future__ import annotations

import numpy as np

from penstock.partition.bounds.near import NearProbe, alone, neighbours_of
from penstock.partition.budget import Stop
from penstock.partition.problem import PartitionProblem


def holding_bound(problem: PartitionProblem, stop: Stop) -> float:
    """The bound, in the problem's unit. An operator that alone costs no more than the best bound cannot raise it."""
    neighbours, own = neighbours_of(problem), alone(problem)
    best = 0.0
    for operator in np.argsort(-own).tolist():
        if own[operator] <= best or stop():
            break
        scale = float(own[operator])
        best = max(best, NearProbe(problem, operator, neighbours, scale).held() * scale)
    return best
